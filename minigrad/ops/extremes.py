"""Where the largest and the smallest are: argmax and argmin, and max and min along an axis, built of them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.op import Op, Sample, register
from minigrad.ops.arithmetic import maximum, minimum
from minigrad.ops.index import gather
from minigrad.ops.movement import normal_axis, reshape, unsqueeze
from minigrad.ops.reduce import NumpysNames, amax, amin, by_numpys_names

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["argmax", "argmin", "max", "min"]


def _arg_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3, 4)),), {"dim": 1})
    yield Sample((np.array([1.0, 3.0, 3.0]),), {"dim": 0}, why="the first of a tie")


def _arg(name: str, forward: Any, better: Callable[[Any, Any], Any], onnx: str) -> Op:
    def reference(x: Array, *, dim: int) -> Array:
        rows = np.moveaxis(x, dim, -1)
        found = [better(range(len(row)), row) for row in rows.reshape(-1, rows.shape[-1]).tolist()]
        return np.array(found).reshape(rows.shape[:-1])

    return register(
        Op(
            name,
            lambda x, *, dim: np.asarray(forward(x, axis=dim)),
            lambda x, *, dim: (*x[:dim], *x[dim + 1 :]),
            reference=reference,
            samples=_arg_samples,
            family="reduction",
            onnx=onnx,
        )
    )


_argmax = _arg("argmax", np.argmax, lambda places, row: builtins.max(places, key=row.__getitem__), "ArgMax")
_argmin = _arg("argmin", np.argmin, lambda places, row: builtins.min(places, key=row.__getitem__), "ArgMin")


class Extreme(NamedTuple):
    """Values and where they were found."""

    values: Tensor
    indices: Tensor


def _where_extreme(name: str, op: Op, input: TensorBase, dim: int | None, keepdim: bool) -> Tensor:
    flat = dim is None or input.ndim == 0
    at = normal_axis(name, 0 if dim is None else dim, input.ndim)
    if (input.numel() if flat else input.shape[at]) == 0:
        raise ShapeError(f"{name}: a tensor of shape {list(input.shape)} has no elements to choose from")
    x, axis = (reshape(input, (input.numel(),)), 0) if flat else (input, at)
    found = op(x, dim=axis)
    return unsqueeze(found, axis) if keepdim and not flat else found


def argmax(input: TensorBase, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The index of the largest (of all in row order, or along `dim`); the first of a tie."""
    if names:
        dim, keepdim = by_numpys_names("argmax", dim, keepdim, names)
    return _where_extreme("argmax", _argmax, input, dim, keepdim)


def argmin(input: TensorBase, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The index of the smallest (of all in row order, or along `dim`); the first of a tie."""
    if names:
        dim, keepdim = by_numpys_names("argmin", dim, keepdim, names)
    return _where_extreme("argmin", _argmin, input, dim, keepdim)


def _extreme(name: str, op: Op, input: TensorBase, dim: int, keepdim: bool) -> Extreme:
    indices = _where_extreme(name, op, input, dim, keepdim=True)
    values = gather(input, dim, indices) if input.ndim else reshape(input, ())
    if not keepdim and input.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return Extreme(values, indices)


def max(input: TensorBase, dim: int | TensorBase | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Any:
    """The largest of all, or ``(values, indices)`` along `dim`: there the first of a tie takes the gradient.

    A tensor in place of `dim` gives the elementwise `maximum`.
    """
    if names:
        dim, keepdim = by_numpys_names("max", dim, keepdim, names)
    if isinstance(dim, TensorBase):
        return maximum(input, dim)
    return amax(input) if dim is None else _extreme("max", _argmax, input, dim, keepdim)


def min(input: TensorBase, dim: int | TensorBase | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Any:
    """The smallest of all, or ``(values, indices)`` along `dim`: there the first of a tie takes the gradient.

    A tensor in place of `dim` gives the elementwise `minimum`.
    """
    if names:
        dim, keepdim = by_numpys_names("min", dim, keepdim, names)
    if isinstance(dim, TensorBase):
        return minimum(input, dim)
    return amin(input) if dim is None else _extreme("min", _argmin, input, dim, keepdim)


class ExtremeMethods(TensorBase):
    """Extremes of a tensor and where they are."""

    __slots__ = ()

    def argmax(self, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The index of the largest, of all or along `dim`."""
        return argmax(self, dim, keepdim, **names)

    def argmin(self, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The index of the smallest, of all or along `dim`."""
        return argmin(self, dim, keepdim, **names)

    def max(self, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Any:
        """The largest of all, or ``(values, indices)`` along `dim`."""
        return max(self, dim, keepdim, **names)

    def min(self, dim: int | None = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Any:
        """The smallest of all, or ``(values, indices)`` along `dim`."""
        return min(self, dim, keepdim, **names)
