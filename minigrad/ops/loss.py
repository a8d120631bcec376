"""The losses: cross-entropy, negative log-likelihood, mean squared error."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import softmax as kernels
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, arrays_too, no_tensor, register
from minigrad.ops.arithmetic import mul, square, sub, where
from minigrad.ops.index import gather
from minigrad.ops.movement import expand, movedim, reshape, unsqueeze
from minigrad.ops.operands import as_float
from minigrad.ops.softmax import log_softmax, softmax, softmax_backward

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["cross_entropy", "mse_loss", "nll_loss"]


# ------------------------------------------------------------------------------------------------ cross-entropy


@functools.lru_cache(maxsize=1024)
def _loss_shape(input: Shape, target: Shape, weight: Shape, *, reduction: str, **_: Any) -> Shape:
    if len(input) != 2 or target != input[:1] or weight != input[1:]:
        raise ShapeError(
            f"cross_entropy: logits {list(input)}, targets {list(target)}, class weights {list(weight)}; "
            "expected (N, C), (N) and (C)"
        )
    return target if reduction == "none" else ()


def _loss(input: Array, target: Array, weight: Array, *, ignore_index: int, label_smoothing: float, reduction: str) -> Array:
    _loss_shape(input.shape, target.shape, weight.shape, reduction=reduction)
    losses = np.empty(target.shape, input.dtype)
    logits = input if input.flags.c_contiguous else np.ascontiguousarray(input)
    total = np.empty(2)
    stranger = kernels.cross_entropy(losses, total, logits, target, weight, ignore_index, label_smoothing)
    if stranger >= 0:
        classes = input.shape[1]
        raise ValueError(
            f"target {int(target[stranger])} (row {stranger}) is no class: there are {classes}, from 0 to {classes - 1}"
        )
    if reduction == "none":
        return losses
    return np.asarray(total[0] if reduction == "sum" else total[0] / total[1], input.dtype)


def _loss_backward(
    g: Array,
    input: Array,
    target: Array,
    weight: Array,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Array:
    out = empty(input.shape, input.dtype)
    logits = input if input.flags.c_contiguous else np.ascontiguousarray(input)
    kernels.cross_entropy_backward(
        out, g.reshape(-1), logits, target, weight, ignore_index, label_smoothing, reduction == "mean"
    )
    return out


def _goal(target: Array, weight: Array, ignore_index: int, label_smoothing: float) -> Array:
    """The weights with which each row's negative log-probabilities enter its loss, (N, C)."""
    kept = target != ignore_index
    one_hot = np.eye(len(weight))[np.where(kept, target, 0)]
    goal = ((1 - label_smoothing) * one_hot + label_smoothing / len(weight)) * weight
    return np.asarray((goal * kept[:, None]).astype(weight.dtype))


def _share_of_rows(target: Array, weight: Array, ignore_index: int, reduction: str) -> float:
    """What each row's loss counts in the whole."""
    whole = _whole(target, weight, ignore_index) if reduction == "mean" and len(target) else 1.0
    return 1 / whole if whole else 0.0  # no row counts


def _softmax(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _reference_loss(
    x: Array, target: Array, weight: Array, *, ignore_index: int, label_smoothing: float, reduction: str
) -> Array:
    rows = -(_goal(target, weight, ignore_index, label_smoothing) * np.log(_softmax(x))).sum(axis=1)
    if reduction == "none":
        return np.asarray(rows)
    whole = weight[target[target != ignore_index]].sum() if reduction == "mean" else 1.0
    return np.asarray(np.divide(rows.sum(), whole))


def _reference_loss_backward(
    g: Array, x: Array, target: Array, weight: Array, *, ignore_index: int, label_smoothing: float, reduction: str
) -> Array:
    goal = _goal(target, weight, ignore_index, label_smoothing)
    rows = _softmax(x) * goal.sum(axis=1, keepdims=True) - goal
    whole = weight[target[target != ignore_index]].sum() if reduction == "mean" else 1.0
    return np.asarray(np.reshape(g, (-1, 1)) / whole * rows)


def _loss_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for ignore_index, smoothing, reduction in (
        (-100, 0.0, "none"),
        (1, 0.0, "none"),
        (-100, 0.2, "none"),
        (1, 0.2, "mean"),
        (0, 0.1, "sum"),
    ):
        settings = {"ignore_index": ignore_index, "label_smoothing": smoothing, "reduction": reduction}
        yield Sample((rng.normal(size=(4, 3)), np.array([0, 2, 1, 2]), rng.uniform(0.5, 2, 3)), settings)
    settings = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "sum"}
    yield Sample((np.empty((0, 3)), np.empty(0, np.int64), np.ones(3)), settings, why="no rows")


def _loss_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for sample in _loss_samples(rng):
        shape = _loss_shape(*(x.shape for x in sample.inputs), **sample.params)
        yield Sample((rng.normal(size=shape), *sample.inputs), sample.params)


def _second_by_g(h: Tensor, input: Tensor, target: Tensor, weight: Tensor, *, params: dict[str, Any]) -> Tensor:
    reduction = params["reduction"]
    goal = make_tensor(_goal(target.array, weight.array, params["ignore_index"], params["label_smoothing"]))
    rows = (h * (softmax(input, 1) * goal.sum(1, keepdim=True) - goal)).sum(1)
    share = _share_of_rows(target.array, weight.array, params["ignore_index"], reduction)
    return rows if reduction == "none" else rows.sum() * share


def _second_by_input(h: Tensor, g: Tensor, input: Tensor, target: Tensor, weight: Tensor, *, params: dict[str, Any]) -> Tensor:
    goal = make_tensor(_goal(target.array, weight.array, params["ignore_index"], params["label_smoothing"]))
    share = _share_of_rows(target.array, weight.array, params["ignore_index"], params["reduction"])
    return softmax_backward(h, softmax(input, 1), dim=1) * (reshape(g, (-1, 1)) * share * goal.sum(1, keepdim=True))


_cross_entropy = register(
    Op(
        "cross_entropy",
        _loss,
        _loss_shape,
        {
            "input": arrays_too(
                lambda g, input, target, weight, *, params: _cross_entropy_backward(g, input, target, weight, **params)
            )
        },
        _reference_loss,
        _loss_samples,
        flops=lambda out, x, *_, **__: 4 * math.prod(x),
        family="loss",
        onnx="SoftmaxCrossEntropyLoss",
        doc="The cross-entropy of logits (N, C) and class indices (N), with class weights (C): of each row, their sum or mean.",
    )
)
_cross_entropy_backward: Op = register(
    Op(
        "cross_entropy_backward",
        _loss_backward,
        lambda g, input, *_, **__: input,
        {"g": _second_by_g, "input": _second_by_input},
        _reference_loss_backward,
        _loss_backward_samples,
        flops=lambda out, *_, **__: 4 * math.prod(out),
        family="loss",
        doc="The gradient of cross_entropy by its logits.",
    )
)


def _share_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((4,), (2, 3), (0,)):
        yield Sample((rng.normal(size=shape),), {"whole": 2.5})


_share = register(
    Op(
        "share",
        lambda losses, *, whole: np.asarray(np.true_divide(losses.sum(), losses.dtype.type(whole))),
        lambda losses, *, whole: (),
        {"losses": lambda g, *, shapes, whole: expand(g / whole, shapes[0])},
        lambda losses, *, whole: np.asarray(math.fsum(losses.ravel()) / whole),
        _share_samples,
        flops=lambda out, losses, **_: math.prod(losses),
        family="loss",
        doc="The rows' losses added up, over the weight of all rows that count.",
    )
)


def cross_entropy(
    input: TensorBase,
    target: TensorBase,
    weight: TensorBase | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of logits (N, C, ...) or (C) and targets: class indices (N, ...), or probabilities.

    With `weight` (C), 'mean' divides by the weights of the targets, as in PyTorch; rows with `ignore_index` don't count.
    Raises TypeError for what is no tensor and for indices that are no integers, ShapeError for shapes that don't fit,
    ValueError for a class index out of range or an unknown reduction.
    """
    _check_tensors("cross_entropy", input, target, weight)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing} must lie from 0 to 1")
    axis = _class_axis("cross_entropy", input)
    weights = weight if weight is not None else _ones(input.shape[axis], input.dtype)
    if target.dtype.kind not in "iub":
        return _soft_cross_entropy(input, target, weights, reduction, label_smoothing)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction {reduction!r}; there are 'mean', 'sum' and 'none'")
    classes = _classes("cross_entropy", input.shape, target.shape, weights.shape)
    logits = as_float(input)
    if input.ndim != 2:
        logits = movedim(logits, 1, -1).reshape(-1, classes) if input.ndim > 1 else unsqueeze(logits, 0)
    out = _cross_entropy(
        logits, _flat(target), weights, ignore_index=ignore_index, label_smoothing=float(label_smoothing), reduction=reduction
    )
    return out if reduction != "none" or input.ndim == 2 else reshape(out, target.shape)


def _check_tensors(name: str, input: object, target: object, weight: object = None) -> None:
    if not (isinstance(input, TensorBase) and isinstance(target, TensorBase)):
        raise no_tensor(name, input=input, target=target)
    if weight is not None and not isinstance(weight, TensorBase):
        raise no_tensor(name, weight=weight)


def _class_axis(name: str, input: TensorBase) -> int:
    if input.array.ndim == 0:
        raise ShapeError(f"{name}: logits need a class axis, got a tensor without axes")
    return 1 if input.array.ndim > 1 else 0


def _no_indices(name: str, input: TensorBase, target: TensorBase) -> str:
    """What is wrong with targets that are neither class indices nor, where there may be such, probabilities."""
    wanted = [input.shape[0], *input.shape[2:]] if input.ndim > 1 else []
    told = (
        f"{name}: input {input.dtype} {list(input.shape)}, target {target.dtype} {list(target.shape)}; expected class indices"
    )
    soft = f", or probabilities {list(input.shape)}" if name == "cross_entropy" else ""
    return f"{told}, integers {wanted} (convert with .long()){soft}"


def _flat(target: TensorBase) -> Tensor:
    """Class indices as kernels take them: int64, in one row. They share the target's memory, and so its count of changes."""
    array = target.array
    if array.ndim == 1 and array.dtype == np.int64 and array.flags.c_contiguous:
        return target._self()
    flat = np.ascontiguousarray(array, np.int64).reshape(-1)
    return make_tensor(flat, cell=target.cell if np.may_share_memory(flat, array) else None)


def _whole(targets: Array, weights: Array, ignore_index: int) -> float:
    """What 'mean' divides by: the class weights of the rows that count."""
    wide = weights.astype(np.float32) if weights.dtype == np.float16 else weights  # no kernel has half precision
    return float(kernels.weight_of(targets, wide, ignore_index))


@functools.lru_cache(maxsize=1024)
def _classes(name: str, input: Shape, target: Shape, weights: Shape) -> int:
    """The number of classes, once targets and class weights are found to fit."""
    classes = input[1 if len(input) > 1 else 0]
    if weights != (classes,):
        raise ShapeError(
            f"{name}: class weights of shape {list(weights)} for logits of shape {list(input)}; [{classes}] would fit"
        )
    wanted = (input[0], *input[2:]) if len(input) > 1 else ()
    if target != wanted:
        raise ShapeError(
            f"{name}: logits of shape {list(input)} want targets of shape {list(wanted)} (class indices), got {list(target)}"
        )
    return classes


def _check_classes(name: str, flat: Array, classes: int, ignore_index: int) -> None:
    at = kernels.first_stranger(flat, classes, ignore_index)
    if at >= 0:
        raise ValueError(f"{name}: target {int(flat[at])} is no class: there are {classes}, from 0 to {classes - 1}")


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Tensor:
    return make_tensor(np.ones(count, dtype))  # nobody else sees it


def _soft_cross_entropy(
    input: TensorBase, target: TensorBase, weight: TensorBase, reduction: str, label_smoothing: float
) -> Tensor:
    if target.shape != input.shape or target.dtype.kind != "f":
        wrong = ShapeError if target.dtype.kind == "f" and target.ndim == input.ndim else TypeError
        raise wrong(_no_indices("cross_entropy", input, target))
    axis = 1 if input.ndim > 1 else 0
    classes = input.shape[axis]
    goal = mul(target, 1 - label_smoothing) + label_smoothing / classes
    scaled = goal * reshape(weight, (classes, *(1,) * (input.ndim - 1 - axis)))
    losses = -(scaled * log_softmax(input, axis)).sum(axis)
    if reduction == "mean":
        return losses.sum() / (losses.numel() or math.nan)
    return _reduce("cross_entropy", losses, reduction)


def nll_loss(
    input: TensorBase,
    target: TensorBase,
    weight: TensorBase | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of log-probabilities (N, C, ...) or (C) and class indices (N, ...).

    Raises as `cross_entropy` does.
    """
    _check_tensors("nll_loss", input, target, weight)
    if target.dtype.kind not in "iub":
        raise TypeError(_no_indices("nll_loss", input, target))
    axis = _class_axis("nll_loss", input)
    weights = weight if weight is not None else _ones(input.shape[axis], input.dtype)
    classes = _classes("nll_loss", input.shape, target.shape, weights.shape)
    flat = _flat(target).array
    _check_classes("nll_loss", flat, classes, ignore_index)
    labels = flat.reshape(target.shape)
    kept = labels != ignore_index
    safe = np.where(kept, labels, 0)
    picked = gather(input, axis, make_tensor(np.expand_dims(safe, axis))).squeeze(axis)
    row_weights = make_tensor(np.asarray(weights.array[safe] * kept))
    losses = where(make_tensor(kept), -picked * row_weights, 0.0)
    if reduction == "mean":
        return _share(losses, whole=_whole(flat, weights.array, ignore_index))
    return _reduce("nll_loss", losses, reduction)


def mse_loss(input: TensorBase, target: TensorBase, reduction: str = "mean") -> Tensor:
    """The mean squared difference; the shapes must be equal, since broadcasting here is nearly always a mistake.

    Raises TypeError for what is no tensor, ShapeError for other shapes.
    """
    _check_tensors("mse_loss", input, target)
    if input.shape != target.shape:
        raise ShapeError(f"mse_loss: input {list(input.shape)} and target {list(target.shape)} must have equal shapes")
    return _reduce("mse_loss", square(sub(input, target)), reduction)


_REDUCTIONS = ("mean", "sum", "none")


def _reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"{name}: reduction {reduction!r}; there are 'mean', 'sum' and 'none'")
