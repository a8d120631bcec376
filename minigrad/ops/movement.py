"""Operations that move numbers without changing them: reshape, permute, expand, flip, pad."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.elementwise import broadcast_shape
from minigrad.ops.operands import shape_of

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
    "expand",
    "flatten",
    "flip",
    "movedim",
    "normal_axis",
    "pad",
    "permute",
    "ravel",
    "reshape",
    "squeeze",
    "transpose",
    "unsqueeze",
]


def normal_axis(name: str, dim: int, ndim: int) -> int:
    """The axis counted from the front; ShapeError if there is none such."""
    axis, axes = operator.index(dim), max(ndim, 1)  # a tensor without axes is taken for one of one, as in PyTorch
    if not -axes <= axis < axes:
        raise ShapeError(f"{name}: dim {dim} for a tensor of {ndim} axes; it must lie from {-axes} to {axes - 1}")
    return axis % axes


# ------------------------------------------------------------------------------------------------ reshape


def _reshape_shape(x: Shape, *, shape: Shape) -> Shape:
    size = math.prod(x)
    if shape.count(-1) > 1:
        raise ShapeError(f"reshape: only one length of {list(shape)} can be left open (-1)")
    known = math.prod(n for n in shape if n != -1)
    if any(n < -1 for n in shape):
        raise ShapeError(f"reshape: {list(shape)} has a negative length; one may be -1, the others count from 0")
    fits = size == known if -1 not in shape else bool(known) and size % known == 0
    if not fits:
        raise ShapeError(f"reshape: a tensor of shape {list(x)} ({size} elements) does not fit {list(shape)}")
    return tuple(size // known if n == -1 else n for n in shape)


def _reshape_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 6)),), {"shape": (3, -1)})
    yield Sample((rng.normal(size=(1, 1)),), {"shape": ()})
    yield Sample((rng.normal(size=(0, 3)),), {"shape": (3, 0)}, why="no elements")


_reshape = register(
    Op(
        "reshape",
        lambda x, *, shape: x.reshape(shape),
        _reshape_shape,
        {"x": arrays_too(lambda g, *, shapes: g.reshape(shapes[0]))},
        lambda x, *, shape: np.array(x.ravel().tolist()).reshape(shape),
        _reshape_samples,
        family="movement",
        view=True,
        onnx="Reshape",
    )
)


def reshape(input: TensorBase, *shape: Any) -> Tensor:
    """The same numbers in another shape, in row order; one length may be -1. A view where the memory allows it."""
    return _reshape(input, shape=shape_of(*shape))


def flatten(input: TensorBase, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from `start_dim` to `end_dim` as one."""
    return _reshape(input, shape=_flattened(input.shape, start_dim, end_dim))


@functools.lru_cache(maxsize=1024)
def _flattened(shape: Shape, start_dim: int, end_dim: int) -> Shape:
    start, end = (normal_axis("flatten", dim, len(shape)) for dim in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} for shape {list(shape)}")
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def ravel(input: TensorBase) -> Tensor:
    """All numbers along one axis."""
    return reshape(input, (input.numel(),))


def squeeze(input: TensorBase, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes of length 1, or without those of `dim` that have length 1."""
    dims = range(input.ndim) if dim is None else dim if isinstance(dim, Sequence) else (dim,)
    drop = {normal_axis("squeeze", d, input.ndim) for d in dims}
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in drop))


def unsqueeze(input: TensorBase, dim: int) -> Tensor:
    """With a new axis of length 1 before `dim`."""
    at = normal_axis("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:at], 1, *input.shape[at:]))


# ------------------------------------------------------------------------------------------------ permute


def _permute_shape(x: Shape, *, dims: Shape) -> Shape:
    if sorted(dims) != list(range(len(x))):
        raise ShapeError(f"permute: dims {list(dims)} must name each axis of shape {list(x)} once")
    return tuple(x[d] for d in dims)


def _permute_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3, 4)),), {"dims": (2, 0, 1)})
    yield Sample((rng.normal(size=()),), {"dims": ()})


_permute = register(
    Op(
        "permute",
        lambda x, *, dims: x.transpose(dims),
        _permute_shape,
        {"x": lambda g, *, dims: permute(g, tuple(int(i) for i in np.argsort(dims)))},
        lambda x, *, dims: np.einsum(x, list(range(x.ndim)), list(dims)),
        _permute_samples,
        family="movement",
        view=True,
        onnx="Transpose",
    )
)


def permute(input: TensorBase, *dims: Any) -> Tensor:
    """The axes in another order; a view."""
    return _permute(input, dims=tuple(normal_axis("permute", d, input.ndim) for d in shape_of(*dims)))


def transpose(input: TensorBase, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged; a view."""
    dims = list(range(input.ndim))
    a, b = normal_axis("transpose", dim0, input.ndim), normal_axis("transpose", dim1, input.ndim)
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return _permute(input, dims=tuple(dims))


def movedim(input: TensorBase, source: int, destination: int) -> Tensor:
    """One axis moved to another place, the others in their order; a view."""
    dims = list(range(input.ndim))
    axis = dims.pop(normal_axis("movedim", source, input.ndim))
    dims.insert(normal_axis("movedim", destination, input.ndim), axis)
    return _permute(input, dims=tuple(dims))


# ------------------------------------------------------------------------------------------------ expand, flip


def _expand_shape(x: Shape, *, shape: Shape) -> Shape:
    if broadcast_shape("expand", x, shape) != shape:
        raise ShapeError(f"expand: shape {list(x)} does not broadcast to {list(shape)}")
    return shape


def _expand_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)})
    yield Sample((rng.normal(size=()),), {"shape": (2,)})
    yield Sample((rng.normal(size=(1, 2)),), {"shape": (0, 2)}, why="no elements")


_expand = register(
    Op(
        "expand",
        lambda x, *, shape: np.broadcast_to(x, shape) if x.shape != shape else x[...],  # what is not wider can be written to
        _expand_shape,
        {"x": lambda g: g},  # the engine sums back over broadcast axes
        lambda x, *, shape: x + np.zeros(shape, x.dtype),
        _expand_samples,
        family="movement",
        broadcasts=True,
        view=True,
        onnx="Expand",
    )
)


def expand(input: TensorBase, *shape: Any) -> Tensor:
    """Axes of length 1 (and new leading axes) repeated to `shape`, -1 keeping a length; a view that can't be written."""
    wanted = shape_of(*shape)
    own = (-1,) * (len(wanted) - input.ndim) + input.shape
    if len(wanted) < input.ndim:
        raise ShapeError(f"expand: shape {list(wanted)} has fewer axes than the tensor, {list(input.shape)}")
    return _expand(input, shape=tuple(o if n == -1 else n for n, o in zip(wanted, own, strict=True)))


def _flip_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3)),), {"dims": (0,)})
    yield Sample((rng.normal(size=(2, 3)),), {"dims": (0, 1)})


_flip: Op = register(
    Op(
        "flip",
        lambda x, *, dims: np.flip(x, dims).copy(),
        lambda x, *, dims: x,
        {"x": arrays_too(lambda g, *, dims: _flip(g, dims=dims))},
        lambda x, *, dims: x[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(x.ndim))],
        _flip_samples,
        family="movement",
    )
)


def flip(input: TensorBase, *dims: Any) -> Tensor:
    """The order along these axes reversed; a copy."""
    return _flip(input, dims=tuple(normal_axis("flip", d, input.ndim) for d in shape_of(*dims)))


# ------------------------------------------------------------------------------------------------ pad


def _pad_forward(x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    cropped = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))]
    return np.pad(cropped, [(max(a, 0), max(b, 0)) for a, b in widths], constant_values=value)


def _pad_shape(x: Shape, *, widths: tuple[tuple[int, int], ...], value: float) -> Shape:
    out = tuple(n + a + b for n, (a, b) in zip(x, widths, strict=True))
    if any(n < 0 for n in out):
        raise ShapeError(f"pad: widths {widths} take more from shape {list(x)} than it has")
    return out


def _pad_reference(x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    out = np.full(_pad_shape(x.shape, widths=widths, value=value), value, x.dtype)
    for index in np.ndindex(out.shape):
        source = tuple(i - a for i, (a, _) in zip(index, widths, strict=True))
        if all(0 <= i < n for i, n in zip(source, x.shape, strict=True)):
            out[index] = x[source]
    return out


def _pad_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3)),), {"widths": ((0, 0), (1, 2)), "value": 0.0})
    yield Sample((rng.normal(size=(3, 4)),), {"widths": ((-1, 2), (1, -2)), "value": 1.5}, why="negative widths crop")


_pad: Op = register(
    Op(
        "pad",
        _pad_forward,
        _pad_shape,
        {"x": arrays_too(lambda g, *, widths: _pad(g, widths=tuple((-a, -b) for a, b in widths), value=0.0))},
        _pad_reference,
        _pad_samples,
        family="movement",
        onnx="Pad",
    )
)


def pad(input: TensorBase, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Padded with `value`: `pad` holds (before, after) for the last axis, then for the one before it; negative crops.

    Raises ValueError for a mode other than 'constant', ShapeError for widths that don't fit.
    """
    if mode != "constant":
        raise ValueError(f"pad: mode {mode!r}; 'constant' is what there is")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {len(pad)} widths for shape {list(input.shape)}; give (before, after) pairs")
    pairs = [(int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=True)]
    widths = tuple([(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1])
    return _pad(input, widths=widths, value=value)


class MovementMethods(TensorBase):
    """Moving the numbers of a tensor."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Tensor:
        """The same numbers in another shape; one length may be -1."""
        return reshape(self, *shape)

    def view(self, *shape: Any) -> Tensor:
        """The same numbers in another shape (a copy where numpy can't make a view)."""
        return reshape(self, *shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes from `start_dim` to `end_dim` as one."""
        return flatten(self, start_dim, end_dim)

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """Without axes of length 1."""
        return squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of length 1 before `dim`."""
        return unsqueeze(self, dim)

    def permute(self, *dims: Any) -> Tensor:
        """The axes in another order."""
        return permute(self, *dims)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes exchanged."""
        return transpose(self, dim0, dim1)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return permute(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return transpose(self, -2, -1)

    def expand(self, *shape: Any) -> Tensor:
        """Axes of length 1 repeated to `shape`."""
        return expand(self, *shape)

    def expand_as(self, other: TensorBase) -> Tensor:
        """Expanded to the other's shape."""
        return expand(self, other.shape)

    def flip(self, *dims: Any) -> Tensor:
        """The order along these axes reversed."""
        return flip(self, *dims)
