"""Indexing, gathering and scattering. Where an index names an element twice, its gradients add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.op import Op, Sample, register
from minigrad.ops.arithmetic import where
from minigrad.ops.become import BecomeMethods
from minigrad.ops.movement import normal_axis
from minigrad.ops.operands import Operand, as_tensor, cast

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["chunk", "gather", "index_select", "masked_fill", "scatter_add", "split", "unbind"]


def _plain(index: Any) -> Any:
    """An index as numpy takes it: tensors and lists as arrays."""
    if isinstance(index, tuple):
        return tuple(_plain(part) for part in index)
    if isinstance(index, (TensorBase, np.ndarray)):
        return np.array(index.array if isinstance(index, TensorBase) else index)  # of our own: backward needs it as it was
    if isinstance(index, list):
        return np.asarray(index) if index else np.empty(0, np.int64)
    return index


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)


def _indexed_shape(x: Shape, *, index: Any) -> Shape:
    try:
        return tuple(np.broadcast_to(True, x)[index].shape)
    except IndexError as error:
        raise ShapeError(f"getitem: indexing a tensor of shape {list(x)}: {error}") from error


def _taken(x: Array, *, index: Any) -> Array:
    """A view where the index allows one, also of a single element."""
    if _is_basic(index) and Ellipsis not in (parts := index if isinstance(index, tuple) else (index,)):
        return np.asarray(x[(*parts, ...)])
    return np.asarray(x[index])


def _scattered(x: Array, *, index: Any, shape: Shape) -> Array:
    out = np.zeros(shape, x.dtype)
    if _is_basic(index):
        out[index] = x
    else:
        np.add.at(out, index, x)
    return out


def _scatter_shape(x: Shape, *, index: Any, shape: Shape) -> Shape:
    if _indexed_shape(shape, index=index) != x:
        raise ShapeError(f"scatter: {list(x)} does not fit the index into {list(shape)}")
    return shape


_INDICES: tuple[tuple[Shape, Any], ...] = (
    ((4, 3), 1),
    ((4, 3), (slice(1, None, 2), -1)),
    ((4, 3), (Ellipsis, None, slice(None, None, -1))),
    ((4, 3), np.array([2, 0, 2, 2])),
    ((4, 3), (np.array([[0, 3], [3, 0]]), np.array([1, 1]))),
    ((2, 2), np.array([[True, False], [True, True]])),
    ((4, 3), np.empty(0, np.int64)),
)


def _getitem_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, index in _INDICES:
        yield Sample((rng.normal(size=shape),), {"index": index})


def _scatter_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, index in _INDICES:
        yield Sample((rng.normal(size=np.zeros(shape)[index].shape),), {"index": index, "shape": shape})


def _places(shape: Shape, index: Any) -> Array:
    """For each indexed element its place in row order."""
    return np.asarray(np.arange(int(np.prod(shape))).reshape(shape)[index])


def _scatter_reference(x: Array, *, index: Any, shape: Shape) -> Array:
    places = _places(shape, index).ravel()
    return np.bincount(places, x.ravel(), int(np.prod(shape))).reshape(shape).astype(x.dtype)


_getitem = register(
    Op(
        "getitem",
        _taken,
        _indexed_shape,
        {"x": lambda g, *, index, shapes: _scatter(g, index=index, shape=shapes[0])},
        lambda x, *, index: x.ravel()[_places(x.shape, index)],
        _getitem_samples,
        family="indexing",
        view=True,
        onnx="GatherND",
    )
)
_scatter: Op = register(
    Op(
        "scatter",
        _scattered,
        _scatter_shape,
        {"x": lambda g, *, index: _getitem(g, index=index)},
        _scatter_reference,
        _scatter_samples,
        family="indexing",
        onnx="ScatterND",
    )
)


def _assigned(x: Array, value: Array, *, index: Any) -> Array:
    out = x.copy()
    out[index] = value
    return out


def _assigned_shape(x: Shape, value: Shape, *, index: Any) -> Shape:
    place = _indexed_shape(x, index=index)
    try:
        np.broadcast_to(np.broadcast_to(True, value), place)
    except ValueError as error:
        raise ShapeError(f"assigning shape {list(value)} to an index of shape {list(place)}") from error
    return x


def _setitem_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(4, 3)), rng.normal(size=3)), {"index": 1})
    yield Sample((rng.normal(size=(4, 3)), rng.normal(size=(2, 1))), {"index": (slice(0, 4, 2), slice(1, 3))})
    yield Sample((rng.normal(size=(4, 3)), rng.normal(size=())), {"index": np.array([3, 0])})


def _setitem_reference(x: Array, value: Array, *, index: Any) -> Array:
    places = _places(x.shape, index)
    out = dict(enumerate(x.ravel().tolist()))
    out.update(zip(places.ravel().tolist(), np.broadcast_to(value, places.shape).ravel().tolist(), strict=True))
    return np.array(list(out.values()), x.dtype).reshape(x.shape)


_setitem: Op = register(
    Op(
        "setitem",
        _assigned,
        _assigned_shape,
        {
            "x": lambda g, *, index: _setitem(g, make_tensor(np.zeros((), g.dtype)), index=index),
            "value": lambda g, *, index, shapes: _getitem(g, index=index).sum_to(shapes[1]),
        },
        _setitem_reference,
        _setitem_samples,
        family="indexing",
    )
)


# ------------------------------------------------------------------------------------------------ along an axis


def _gather_shape(x: Shape, index: Shape, *, dim: int) -> Shape:
    if len(x) != len(index) or any(i > n for axis, (n, i) in enumerate(zip(x, index, strict=True)) if axis != dim):
        raise ShapeError(
            f"gather along dim {dim}: index of shape {list(index)} for a tensor of shape {list(x)}; the index must have "
            "as many axes and, but for that one, no longer ones"
        )
    return index


def _grid(index: Array, dim: int) -> tuple[Array, ...]:
    """Indices of each element, with `index` in place of its position along `dim`."""
    grid: list[Array] = list(np.indices(index.shape, sparse=True))
    grid[dim] = index
    return tuple(grid)


def _gather_forward(x: Array, index: Array, *, dim: int) -> Array:
    _gather_shape(x.shape, index.shape, dim=dim)
    _check_places(index, x.shape[dim], dim)
    return np.asarray(x[_grid(index, dim)])


def _check_places(index: Array, length: int, dim: int) -> None:
    if index.dtype.kind not in "ui":
        raise IndexError(f"an index of type {index.dtype}; integers expected")
    if index.size and not (index.min() >= 0 and index.max() < length):
        raise IndexError(f"index values from {index.min()} to {index.max()}; dim {dim} has length {length}")


def _gather_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(3, 4)), np.array([[0, 3, 3], [1, 1, 0]])), {"dim": 1})
    yield Sample((rng.normal(size=(3, 4)), np.array([[2, 2, 0, 1]])), {"dim": 0})


def _scatter_add_forward(x: Array, index: Array, src: Array, *, dim: int) -> Array:
    _gather_shape(x.shape, index.shape, dim=dim)
    _check_places(index, x.shape[dim], dim)
    out = x.copy()
    np.add.at(out, _grid(index, dim), src[tuple(slice(n) for n in index.shape)])
    return out


def _scatter_add_reference(x: Array, index: Array, src: Array, *, dim: int) -> Array:
    out = x.copy()
    for place in np.ndindex(index.shape):
        out[(*place[:dim], index[place], *place[dim + 1 :])] += src[place]
    return out


def _gather_reference(x: Array, index: Array, *, dim: int) -> Array:
    found = [x[(*place[:dim], index[place], *place[dim + 1 :])] for place in np.ndindex(index.shape)]
    return np.array(found).reshape(index.shape)


def _scatter_add_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for gathered in _gather_samples(rng):
        x, index = gathered.inputs
        yield Sample((x, index, rng.normal(size=index.shape)), gathered.params)


def _gather_pull(g: Tensor, index: Tensor, *, shapes: tuple[Shape, ...], dim: int) -> Tensor:
    return _scatter_add(make_tensor(np.zeros(shapes[0], g.dtype)), index, g, dim=dim)


_gather = register(
    Op(
        "gather",
        _gather_forward,
        _gather_shape,
        {"x": _gather_pull},
        _gather_reference,
        _gather_samples,
        family="indexing",
        onnx="GatherElements",
    )
)
_scatter_add = register(
    Op(
        "scatter_add",
        _scatter_add_forward,
        lambda x, index, src, *, dim: x,
        {"x": lambda g: g, "src": lambda g, index, *, dim: _gather(g, index, dim=dim)},
        _scatter_add_reference,
        _scatter_add_samples,
        family="indexing",
        onnx="ScatterElements",
    )
)


def gather(input: TensorBase, dim: int, index: TensorBase) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for ``dim=0``, and so on; the gradients of an element taken twice add up."""
    return _gather(input, as_tensor(index), dim=normal_axis("gather", dim, input.ndim))


def scatter_add(input: TensorBase, dim: int, index: TensorBase, src: TensorBase) -> Tensor:
    """A copy with ``out[index[i][j]][j] += src[i][j]`` for ``dim=0``, and so on."""
    if src.shape != index.shape:
        raise ShapeError(f"scatter_add: src of shape {list(src.shape)} for an index of shape {list(index.shape)}")
    return _scatter_add(input, index, src, dim=normal_axis("scatter_add", dim, input.ndim))


def index_select(input: TensorBase, dim: int, index: TensorBase) -> Tensor:
    """The slices along `dim` that a vector of indices names."""
    return _getitem(input, index=(slice(None),) * normal_axis("index_select", dim, input.ndim) + (_plain(index),))


def masked_fill(input: TensorBase, mask: Operand, value: float) -> Tensor:
    """`value` where the mask holds."""
    return where(mask, value, input)


def split(tensor: TensorBase, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along an axis: of one size (the last may be shorter), or of the sizes given."""
    if not tensor.ndim:
        raise ShapeError("split: a tensor without axes can't be split")
    axis = normal_axis("split", dim, tensor.ndim)
    n = tensor.shape[axis]
    if isinstance(split_size, Sequence):
        sizes = list(split_size)
    elif split_size < 1:
        raise ValueError(f"split: split_size {split_size}; expected 1 or more")
    else:
        sizes = [min(split_size, n - start) for start in range(0, max(n, 1), split_size)]
    if sum(sizes) != n or any(size < 0 for size in sizes):
        raise ShapeError(f"split: sizes {sizes} add up to {sum(sizes)}; dim {dim} has length {n}")
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * axis
    return tuple(_getitem(tensor, index=(*before, slice(e - s, e))) for s, e in zip(sizes, ends, strict=True))


def chunk(input: TensorBase, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most that many pieces of equal length along an axis, the last perhaps shorter."""
    if chunks < 1:
        raise ValueError(f"chunk: chunks {chunks}; expected 1 or more")
    n = input.shape[normal_axis("chunk", dim, input.ndim)] if input.ndim else 1
    return split(input, -(-n // chunks) if n else [0] * chunks, dim)


def unbind(input: TensorBase, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it."""
    if not input.ndim:
        raise TypeError("unbind: a tensor without axes can't be taken apart, nor iterated over")
    before = (slice(None),) * normal_axis("unbind", dim, input.ndim)
    return tuple(_getitem(input, index=(*before, i)) for i in range(input.shape[dim]))


class IndexMethods(BecomeMethods):
    """Indexing a tensor, and changing it in place."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Tensor:
        return _getitem(self, index=_plain(index))

    def __setitem__(self, index: Any, value: Operand) -> None:
        if isinstance(value, (bool, int, float)):
            value = np.asarray(value, self.dtype)  # a number is rounded once, to this tensor's type
        source, plain = cast(as_tensor(value), dtype=self.dtype), _plain(index)
        if isinstance(value, TensorBase) and self._written_through(value, plain):
            self.recorded = self.cell[0]
        self.become(_setitem(self, source, index=plain))

    def _written_through(self, value: TensorBase, index: Any) -> bool:
        """Whether `value` is this tensor's own part, just changed in place and nothing else: what ``x[i] += y`` assigns."""
        if value.cell is not self.cell or value.recorded != self.cell[0] or self.recorded + 1 != self.cell[0]:
            return False
        # A part that was taken after a recorded change has a view's node, and more may have changed than it shows.
        if self.cell[1] == self.cell[0] and (value.node is None or value.node.op.view):
            return False
        own, given = _taken(self.array, index=index).__array_interface__, value.array.__array_interface__
        return all(own[key] == given[key] for key in ("data", "shape", "strides"))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(unbind(self))

    def gather(self, dim: int, index: TensorBase) -> Tensor:
        """Elements along `dim` that an index of as many axes names."""
        return gather(self, dim, index)

    def scatter_add(self, dim: int, index: TensorBase, src: TensorBase) -> Tensor:
        """A copy with `src` added at the places that the index names."""
        return scatter_add(self, dim, index, src)

    def index_select(self, dim: int, index: TensorBase) -> Tensor:
        """Slices along `dim`."""
        return index_select(self, dim, index)

    def masked_fill(self, mask: Operand, value: float) -> Tensor:
        """`value` where the mask holds."""
        return masked_fill(self, mask, value)

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces along an axis."""
        return split(self, split_size, dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most that many equal pieces along an axis."""
        return chunk(self, chunks, dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along an axis."""
        return unbind(self, dim)
