"""Softmax and the losses: cross-entropy, negative log-likelihood, mean squared error."""

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
from minigrad.op import Op, Sample, register
from minigrad.ops.arithmetic import mul, square, sub, where
from minigrad.ops.functions import exp
from minigrad.ops.index import gather
from minigrad.ops.movement import expand, movedim, normal_axis, reshape, unsqueeze
from minigrad.ops.operands import as_float

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["cross_entropy", "log_softmax", "mse_loss", "nll_loss", "softmax"]


def _rows(kernel: Any, dim: int, *arrays: Array) -> Array:
    """Run a kernel over rows, the axis `dim` being each row's."""
    if not arrays[0].ndim:
        return _rows(kernel, 0, *(a.reshape(1) for a in arrays)).reshape(())
    moved = [np.moveaxis(a, dim, -1) for a in arrays]
    out: Array = empty(moved[0].shape, arrays[0].dtype)
    width = out.shape[-1]
    if out.size:
        kernel(out.reshape(-1, width), *(np.ascontiguousarray(a).reshape(-1, width) for a in moved))
    return np.moveaxis(out, -1, dim)


def _same(x: Shape, *_: Shape, dim: int) -> Shape:
    return x


def _row_op(name: str, kernel: Any, vjp: Any, reference: Any, inputs: int, onnx: str | None = None) -> Op:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for shape, dim in (((2, 3, 4), 1), ((5,), 0), ((0, 3), 1), ((3, 1), 1)):
            arrays = [rng.normal(size=shape) for _ in range(inputs)]
            yield Sample(tuple(arrays), {"dim": dim})

    forward = (lambda x, *, dim: _rows(kernel, dim, x)) if inputs == 1 else (lambda g, y, *, dim: _rows(kernel, dim, g, y))
    return register(
        Op(
            name,
            forward,
            _same,
            vjp,
            reference,
            samples,
            flops=lambda out, *_, **__: 5 * math.prod(out),
            family="loss",
            onnx=onnx,
        )
    )


def _reference_softmax(x: Array, *, dim: int) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=dim, keepdims=True))


_softmax = _row_op(
    "softmax",
    kernels.softmax,
    {"x": lambda g, out, *, dim: _softmax_backward(g, out, dim=dim)},
    _reference_softmax,
    inputs=1,
    onnx="Softmax",
)
_softmax_backward: Op = _row_op(
    "softmax_backward",
    kernels.softmax_backward,
    {
        "g": lambda h, y, *, dim: _softmax_backward(h, y, dim=dim),  # the Jacobian is symmetric
        "y": lambda h, g, y, *, dim: h * (g - (g * y).sum(dim, keepdim=True)) - g * (h * y).sum(dim, keepdim=True),
    },
    lambda g, y, *, dim: y * g - y * np.sum(y * g, axis=dim, keepdims=True),
    inputs=2,
)
_log_softmax = _row_op(
    "log_softmax",
    kernels.log_softmax,
    {"x": lambda g, out, *, dim: _log_softmax_backward(g, out, dim=dim)},
    lambda x, *, dim: np.log(_reference_softmax(x, dim=dim)),
    inputs=1,
    onnx="LogSoftmax",
)
_log_softmax_backward: Op = _row_op(
    "log_softmax_backward",
    kernels.log_softmax_backward,
    {
        "g": lambda h, y, *, dim: h - (h * exp(y)).sum(dim, keepdim=True),
        "y": lambda h, g, y, *, dim: -h * exp(y) * g.sum(dim, keepdim=True),
    },
    lambda g, y, *, dim: g - np.exp(y) * np.sum(g, axis=dim, keepdims=True),
    inputs=2,
)


def softmax(input: TensorBase, dim: int) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `dim`, without overflow."""
    return _softmax(as_float(input), dim=normal_axis("softmax", dim, input.ndim))


def log_softmax(input: TensorBase, dim: int) -> Tensor:
    """``log(softmax(x))`` along `dim`, without overflow."""
    return _log_softmax(as_float(input), dim=normal_axis("log_softmax", dim, input.ndim))


# ------------------------------------------------------------------------------------------------ cross-entropy


def _row_losses_shape(input: Shape, target: Shape, weight: Shape, **_: Any) -> Shape:
    if len(input) != 2 or target != input[:1] or weight != input[1:]:
        raise ShapeError(
            f"cross_entropy: logits {list(input)}, targets {list(target)}, class weights {list(weight)}; "
            "expected (N, C), (N) and (C)"
        )
    return target


def _row_losses(input: Array, target: Array, weight: Array, *, ignore_index: int, label_smoothing: float) -> Array:
    losses = empty(_row_losses_shape(input.shape, target.shape, weight.shape), input.dtype)
    arrays = (np.ascontiguousarray(a) for a in (input, target, weight))
    kernels.cross_entropy(losses, *arrays, ignore_index, float(label_smoothing))
    return losses


def _row_losses_backward(
    g: Array, input: Array, target: Array, weight: Array, *, ignore_index: int, label_smoothing: float
) -> Array:
    out = empty(input.shape, input.dtype)
    arrays = (np.ascontiguousarray(a) for a in (g, input, target, weight))
    kernels.cross_entropy_backward(out, *arrays, ignore_index, float(label_smoothing))
    return out


def _goal(target: Array, weight: Array, ignore_index: int, label_smoothing: float) -> Array:
    """The weights with which each row's negative log-probabilities enter its loss, (N, C)."""
    kept = target != ignore_index
    one_hot = np.eye(len(weight))[np.where(kept, target, 0)]
    goal = ((1 - label_smoothing) * one_hot + label_smoothing / len(weight)) * weight
    return np.asarray((goal * kept[:, None]).astype(weight.dtype))


def _reference_losses(x: Array, target: Array, weight: Array, **settings: Any) -> Array:
    return np.asarray(-(_goal(target, weight, **settings) * np.log(_reference_softmax(x, dim=1))).sum(axis=1))


def _reference_losses_backward(g: Array, x: Array, target: Array, weight: Array, **settings: Any) -> Array:
    goal = _goal(target, weight, **settings)
    return np.asarray(g[:, None] * (_reference_softmax(x, dim=1) * goal.sum(axis=1, keepdims=True) - goal))


def _loss_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for ignore_index, smoothing in ((-100, 0.0), (1, 0.0), (-100, 0.2)):
        settings = {"ignore_index": ignore_index, "label_smoothing": smoothing}
        yield Sample((rng.normal(size=(4, 3)), np.array([0, 2, 1, 2]), rng.uniform(0.5, 2, 3)), settings)
    yield Sample((np.empty((0, 3)), np.empty(0, np.int64), np.ones(3)), settings, why="no rows")


def _loss_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for sample in _loss_samples(rng):
        yield Sample((rng.normal(size=len(sample.inputs[0])), *sample.inputs), sample.params)


def _second_by_g(
    h: Tensor, input: Tensor, target: Tensor, weight: Tensor, *, ignore_index: int, label_smoothing: float
) -> Tensor:
    goal = make_tensor(_goal(target.array, weight.array, ignore_index, label_smoothing))
    return (h * (softmax(input, 1) * goal.sum(1, keepdim=True) - goal)).sum(1)


def _second_by_input(
    h: Tensor, g: Tensor, input: Tensor, target: Tensor, weight: Tensor, *, ignore_index: int, label_smoothing: float
) -> Tensor:
    goal = make_tensor(_goal(target.array, weight.array, ignore_index, label_smoothing))
    return _softmax_backward(h, softmax(input, 1), dim=1) * (g.unsqueeze(1) * goal.sum(1, keepdim=True))


_cross_entropy = register(
    Op(
        "cross_entropy",
        _row_losses,
        _row_losses_shape,
        {
            "input": lambda g, input, target, weight, *, ignore_index, label_smoothing: _cross_entropy_backward(
                g, input, target, weight, ignore_index=ignore_index, label_smoothing=label_smoothing
            )
        },
        _reference_losses,
        _loss_samples,
        flops=lambda out, x, *_, **__: 4 * math.prod(x),
        family="loss",
        onnx="SoftmaxCrossEntropyLoss",
        doc="Each row's cross-entropy (N) of logits (N, C) and class indices (N), with class weights (C).",
    )
)
_cross_entropy_backward: Op = register(
    Op(
        "cross_entropy_backward",
        _row_losses_backward,
        lambda g, input, *_, **__: input,
        {"g": _second_by_g, "input": _second_by_input},
        _reference_losses_backward,
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
    Raises ShapeError for shapes that don't fit, ValueError for a class index out of range or an unknown reduction.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing} must lie from 0 to 1")
    if input.ndim == 0:
        raise ShapeError("cross_entropy: logits need a class axis, got a tensor without axes")
    weights = weight if weight is not None else make_tensor(_ones(input.shape[1 if input.ndim > 1 else 0], input.dtype))
    if target.dtype.kind == "f":
        return _soft_cross_entropy(input, target, weights, reduction, label_smoothing)
    classes = _check_classes("cross_entropy", input, target, weights, ignore_index)
    logits = as_float(input)
    if input.ndim != 2:
        logits = movedim(logits, 1, -1).reshape(-1, classes) if input.ndim > 1 else unsqueeze(logits, 0)
    flat = np.ascontiguousarray(target.array, np.int64).reshape(-1)
    rows = make_tensor(flat, cell=target.cell if np.may_share_memory(flat, target.array) else None)
    losses = _cross_entropy(logits, rows, weights, ignore_index=ignore_index, label_smoothing=label_smoothing)
    if reduction == "mean":
        return _share(losses, whole=_whole(rows.array, weights.array, ignore_index))
    return _reduce("cross_entropy", losses.reshape(target.shape), reduction)


def _whole(targets: Array, weights: Array, ignore_index: int) -> float:
    """What 'mean' divides by: the class weights of the rows that count."""
    wide = weights.astype(np.float32) if weights.dtype == np.float16 else weights  # no kernel has half precision
    return float(kernels.weight_of(targets, wide, ignore_index))


def _check_classes(name: str, input: TensorBase, target: TensorBase, weights: TensorBase, ignore_index: int) -> int:
    """The number of classes, once targets and class weights are found to fit."""
    classes = input.shape[1 if input.ndim > 1 else 0]
    if weights.shape != (classes,):
        raise ShapeError(
            f"{name}: class weights of shape {list(weights.shape)} for logits of shape {list(input.shape)}; "
            f"[{classes}] would fit"
        )
    wanted = (input.shape[0], *input.shape[2:]) if input.ndim > 1 else ()
    if target.shape != wanted:
        raise ShapeError(
            f"{name}: logits of shape {list(input.shape)} want targets of shape {list(wanted)} (class indices), "
            f"got {list(target.shape)}"
        )
    flat = np.ascontiguousarray(target.array).reshape(-1)
    at = kernels.first_stranger(flat, classes, ignore_index)
    if at >= 0:
        raise ValueError(f"{name}: target {int(flat[at])} is no class: there are {classes}, from 0 to {classes - 1}")
    return classes


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Array:
    return np.ones(count, dtype)  # nobody else sees it


def _soft_cross_entropy(
    input: TensorBase, target: TensorBase, weight: TensorBase, reduction: str, label_smoothing: float
) -> Tensor:
    if target.shape != input.shape:
        raise ShapeError(f"cross_entropy: probabilities {list(target.shape)} for logits {list(input.shape)}: must be equal")
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
    """The negative log-likelihood of log-probabilities (N, C, ...) or (C) and class indices (N, ...)."""
    axis = 1 if input.ndim > 1 else 0
    weights = weight if weight is not None else make_tensor(np.ones(input.shape[axis], input.dtype))
    _check_classes("nll_loss", input, target, weights, ignore_index)
    kept = target.array != ignore_index
    safe = np.where(kept, target.array, 0)
    picked = gather(input, axis, make_tensor(np.expand_dims(safe, axis))).squeeze(axis)
    row_weights = make_tensor(np.asarray(weights.array[safe] * kept))
    losses = where(make_tensor(kept), -picked * row_weights, 0.0)
    if reduction == "mean":
        return _share(losses, whole=_whole(target.array.reshape(-1), weights.array, ignore_index))
    return _reduce("nll_loss", losses, reduction)


def mse_loss(input: TensorBase, target: TensorBase, reduction: str = "mean") -> Tensor:
    """The mean squared difference; the shapes must be equal, since broadcasting here is nearly always a mistake."""
    if input.shape != target.shape:
        raise ShapeError(f"mse_loss: input {list(input.shape)} and target {list(target.shape)} must have equal shapes")
    return _reduce("mse_loss", square(sub(input, target)), reduction)


def _reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"{name}: reduction {reduction!r}; there are 'mean', 'sum' and 'none'")


class LossMethods(TensorBase):
    """Softmax of a tensor."""

    __slots__ = ()

    def softmax(self, dim: int) -> Tensor:
        """``exp(x) / sum(exp(x))`` along `dim`."""
        return softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        """``log(softmax(x))`` along `dim`."""
        return log_softmax(self, dim)
