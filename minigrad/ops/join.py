"""Joining tensors: along an axis they have, or along a new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.op import Op, Sample, register
from minigrad.ops.movement import normal_axis, unsqueeze
from minigrad.ops.operands import operands

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["cat", "concat", "stack"]


def _cat_shape(*shapes: Shape, dim: int) -> Shape:
    first = shapes[0]
    for position, shape in enumerate(shapes):
        if len(shape) != len(first) or any(a != b for i, (a, b) in enumerate(zip(first, shape, strict=True)) if i != dim):
            raise ShapeError(
                f"cat along dim {dim}: tensor {position} has shape {list(shape)}, tensor 0 {list(first)}; "
                f"all lengths but that of dim {dim} must agree"
            )
    return (*first[:dim], sum(shape[dim] for shape in shapes), *first[dim + 1 :])


def _cat_pull(g: Tensor, *, shapes: tuple[Shape, ...], needs: tuple[bool, ...], dim: int) -> tuple[Tensor | None, ...]:
    ends = np.cumsum([shape[dim] for shape in shapes]).tolist()
    before = (slice(None),) * dim
    return tuple(
        g[(*before, slice(end - shape[dim], end))] if need else None
        for end, shape, need in zip(ends, shapes, needs, strict=True)
    )


def _cat_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(1, 3))), {"dim": 0})
    yield Sample(tuple(rng.normal(size=(2, n, 2)) for n in (1, 0, 3)), {"dim": 1}, why="three, one of them empty")


_cat = register(
    Op(
        "cat",
        lambda *inputs, dim: np.concatenate(inputs, axis=dim),
        _cat_shape,
        {"inputs": _cat_pull},
        lambda *inputs, dim: np.moveaxis(np.array([row for x in inputs for row in np.moveaxis(x, dim, 0)]), 0, dim),
        _cat_samples,
        family="movement",
        onnx="Concat",
    )
)


def cat(tensors: Sequence[TensorBase], dim: int = 0) -> Tensor:
    """Joined along an axis that they have; all other lengths must agree."""
    _check_several("cat", tensors)
    if not tensors[0].ndim:
        raise ShapeError("cat: tensors without axes can't be joined along one; use stack")
    axis = normal_axis("cat", dim, tensors[0].ndim)
    widest = tensors[0]
    for tensor in tensors[1:]:
        widest = operands(widest, tensor)[0]
    return _cat(*(operands(tensor, widest)[0] for tensor in tensors), dim=axis)


concat = cat


def _check_several(name: str, tensors: object) -> None:
    if isinstance(tensors, TensorBase) or not hasattr(tensors, "__getitem__"):
        raise TypeError(
            f"{name}: tensors is a {type(tensors).__name__}; expected a list or tuple of tensors, as in {name}((a, b))"
        )
    if not tensors:
        raise ShapeError(f"{name}: no tensors to join")


def stack(tensors: Sequence[TensorBase], dim: int = 0) -> Tensor:
    """Joined along a new axis; the shapes must be equal."""
    _check_several("stack", tensors)
    if len({tensor.shape for tensor in tensors}) > 1:
        raise ShapeError(f"stack: shapes must be equal, got {[list(tensor.shape) for tensor in tensors]}")
    axis = normal_axis("stack", dim, tensors[0].ndim + 1)
    return cat([unsqueeze(tensor, axis) for tensor in tensors], axis)
