"""Reductions: sums, means, products, extremes, and what is built of them."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import reduce as kernels
from minigrad.op import Op, Sample, register
from minigrad.ops.movement import expand, normal_axis, reshape, unsqueeze
from minigrad.ops.operands import as_float, cast

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "mean",
    "prod",
    "sum",
    "sum_to",
]

Dims = int | Sequence[int] | None


class NumpysNames(TypedDict, total=False):
    """What numpy calls `dim` and `keepdim`, and what its functions pass along when they are given a tensor."""

    axis: Dims
    keepdims: bool
    dtype: None
    out: None


def by_numpys_names(name: str, dim: Any, keepdim: bool, given: Mapping[str, Any]) -> tuple[Any, bool]:
    """`dim` and `keepdim`, where they may come under numpy's names; TypeError for anything else."""
    for key, value in given.items():
        if key == "axis" and dim is None:
            dim = value
        elif key == "keepdims":
            keepdim = value
        elif key not in ("dtype", "out") or value is not None:
            raise TypeError(f"{name}: {key}={value!r} beside dim={dim!r}; it takes dim and keepdim, or axis and keepdims")
    return dim, keepdim


def axes_of(name: str, dim: Dims, ndim: int) -> Shape:
    return _named_axes(name, () if dim is None else tuple(dim) if isinstance(dim, (tuple, Sequence)) else (dim,), ndim)


@functools.lru_cache(maxsize=1024)
def _named_axes(name: str, named: tuple[int, ...], ndim: int) -> Shape:
    """All axes for none; otherwise those named, counted from the front, each once."""
    if not named:
        return tuple(range(ndim))
    axes = tuple(normal_axis(name, d, ndim) for d in named)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: dim {list(named)} names an axis twice")
    return axes if ndim else ()


def reduced_shape(x: Shape, *, dims: Shape, keepdim: bool) -> Shape:
    return tuple(1 if i in dims else n for i, n in enumerate(x) if keepdim or i not in dims)


def spread(g: Tensor, shape: Shape, dims: Shape) -> Tensor:
    """A reduced tensor back over the axes that were reduced."""
    kept = reduced_shape(shape, dims=dims, keepdim=True)
    return expand(g if g.shape == kept else reshape(g, kept), shape)


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, dims, keepdim in (
        ((2, 3, 4), (1,), False),
        ((2, 3, 4), (0, 2), True),
        ((3,), (0,), False),
        ((), (), False),
    ):
        yield Sample((rng.permutation(math.prod(shape)).reshape(shape) * 0.3 - 1.1,), {"dims": dims, "keepdim": keepdim})


def _sum_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _samples(rng)
    for shape, dims in (((70, 2, 30), (0, 2)), ((70, 2, 5, 6), (0, 3)), ((70, 60), (0,)), ((2, 3, 700), (0, 2))):
        yield Sample((rng.normal(size=shape),), {"dims": dims, "keepdim": False}, why="as large as kernels take")
    yield Sample((rng.normal(size=(0, 3)),), {"dims": (0,), "keepdim": False}, why="nothing to reduce")


def _folded(start: float, step: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    """A reference: a Python loop over the elements, folding each into its place in the output."""

    def reference(x: Array, *, dims: Shape, keepdim: bool) -> Array:
        out = np.full(reduced_shape(x.shape, dims=dims, keepdim=True), start, x.dtype)
        for index in np.ndindex(x.shape):
            place = tuple(0 if i in dims else n for i, n in enumerate(index))
            out[place] = step(out[place], x[index])
        return out.reshape(reduced_shape(x.shape, dims=dims, keepdim=keepdim))

    return reference


def _reduction(name: str, forward: Any, reference: Any, vjp: Any, samples: Any = _samples, onnx: str | None = None) -> Op:
    return register(
        Op(
            name,
            lambda x, *, dims, keepdim: np.asarray(forward(x, axis=dims, keepdims=keepdim)),
            reduced_shape,
            vjp,
            reference,
            samples,
            flops=lambda out, x, **_: math.prod(x),
            family="reduction",
            onnx=onnx,
        )
    )


def _counting(function: Any) -> Any:
    """Booleans and integers of any width are taken together as int64."""

    def counting(x: Array, axis: Shape, keepdims: bool) -> Any:
        kind = x.dtype
        return function(x, axis, np.int64 if kind.kind in "bui" else kind, None, keepdims)

    return counting


_plain_sum = _counting(np.add.reduce)  # what np.sum comes down to
#: Fewer numbers are numpy's: of more it loses some, adding rows one after the other in their own type, and it takes longer.
_LARGE = 1 << 10


@functools.lru_cache(maxsize=1024)
def _stretch(x: Shape, axis: Shape) -> tuple[int, int, int] | None:
    """The lengths before, of and behind the axes that stay, if these are neighbours and not the first."""
    kept = [i for i in range(len(x)) if i not in axis]
    if not axis or not kept or not kept[0] or kept[-1] - kept[0] >= len(kept):
        return None
    return math.prod(x[: kept[0]]), math.prod(x[kept[0] : kept[-1] + 1]), math.prod(x[kept[-1] + 1 :])


def _sum_forward(x: Array, axis: Shape, keepdims: bool) -> Array:
    if x.size < _LARGE or x.dtype.char not in "fd":
        return _plain_sum(x, axis, keepdims)  # type: ignore[no-any-return]
    out = _careful_sum(x, axis)
    return out if x.ndim - len(axis) == 1 and not keepdims else out.reshape(reduced_shape(x.shape, dims=axis, keepdim=keepdims))


def _careful_sum(x: Array, axis: Shape) -> Array:
    """The sums over many numbers, in row order: in chains so short that rounding stays small, whatever lies how in memory."""
    times = 1
    for i in axis:
        if x.strides[i] == 0:  # one number, repeated, as in the cotangent of a mean: no need to copy it so often
            times *= x.shape[i]
            x = x[(slice(None),) * i + (slice(1),)]
    x = np.ascontiguousarray(x)
    if stretch := _stretch(x.shape, axis):
        out = np.empty(stretch[1], x.dtype)
        if stretch[2] == 1:
            kernels.sum_rows(out, x.reshape(stretch[:2]))
        else:
            kernels.sum_lines(out, x.reshape(stretch))
    else:  # numpy's sum along what lies side by side is pairwise
        kept = [i for i in range(x.ndim) if i not in axis]
        rows = np.ascontiguousarray(x.transpose(*kept, *axis)).reshape(math.prod(x.shape[i] for i in kept), -1)
        out = np.add.reduce(rows, axis=1)
    return out if times == 1 else np.multiply(out, times, out=out)


sum_over = _reduction(
    "sum",
    _sum_forward,
    _folded(0, lambda a, b: a + b),
    {"x": lambda g, *, shapes, dims: spread(g, shapes[0], dims)},
    _sum_samples,
    "ReduceSum",
)


def _mean_pull(g: Tensor, *, shapes: tuple[Shape, ...], dims: Shape) -> Tensor:
    return spread(g / math.prod(shapes[0][d] for d in dims), shapes[0], dims)


def _mean_forward(x: Array, axis: Shape, keepdims: bool) -> Array:
    count = math.prod(x.shape[d] for d in axis)
    return np.asarray(np.true_divide(_sum_forward(x, axis, keepdims), x.dtype.type(count)))


_mean = _reduction(
    "mean",
    _mean_forward,
    lambda x, *, dims, keepdim: np.asarray(np.average(x, axis=dims, keepdims=keepdim)),
    {"x": _mean_pull},
    onnx="ReduceMean",
)


def _extreme_pull(g: Tensor, x: Tensor, out: Tensor, *, dims: Shape) -> Tensor:
    ties = cast(x == spread(out, x.shape, dims), dtype=x.dtype)
    return spread(g, x.shape, dims) * ties / spread(sum_over(ties, dims=dims, keepdim=False), x.shape, dims)


def _tied(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _samples(rng)
    x = np.array([[2.0, 2.0, 2.0, 2.0]])
    yield Sample((x,), {"dims": (1,), "keepdim": False}, kink={"x": np.full((1, 4), 0.25)}, why="a tie is shared evenly")


_amax = _reduction("amax", np.max, _folded(-np.inf, builtins.max), {"x": _extreme_pull}, _tied, "ReduceMax")
_amin = _reduction("amin", np.min, _folded(np.inf, builtins.min), {"x": _extreme_pull}, _tied, "ReduceMin")


def _prod_pull(g: Tensor, x: Tensor, *, dims: Shape) -> Tensor:
    """For each element the product of the others, taken over a square with ones on its diagonal: right at zeros too."""
    kept = tuple(i for i in range(x.ndim) if i not in dims)
    order = kept + dims
    n = math.prod(x.shape[i] for i in dims)
    rows = x.permute(order).reshape((*(x.shape[i] for i in kept), n))
    eye = np.eye(n, dtype=bool)
    square = unsqueeze(rows, -2).expand((*rows.shape[:-1], n, n))
    others = _prod(square.masked_fill(eye, 1.0), dims=(square.ndim - 1,), keepdim=False)
    back = others.reshape(tuple(x.shape[i] for i in order)).permute(tuple(np.argsort(order).tolist()))
    return spread(g, x.shape, dims) * back


def _prod_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _samples(rng)
    yield Sample((rng.normal(size=(0, 3)),), {"dims": (0,), "keepdim": False}, why="nothing to reduce")
    yield Sample((np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]),), {"dims": (1,), "keepdim": False}, why="zeros")


_prod = _reduction("prod", _counting(np.prod), _folded(1, lambda a, b: a * b), {"x": _prod_pull}, _prod_samples, "ReduceProd")
_all = _reduction("all", np.all, lambda x, *, dims, keepdim: np.min(x != 0, axis=dims, keepdims=keepdim), {})
_any = _reduction("any", np.any, lambda x, *, dims, keepdim: np.max(x != 0, axis=dims, keepdims=keepdim), {})


def _over(op: Op, input: TensorBase, dim: Dims, keepdim: bool, names: NumpysNames) -> Tensor:
    if names:
        dim, keepdim = by_numpys_names(op.name, dim, keepdim, names)
    return op(input, dims=axes_of(op.name, dim, input.ndim), keepdim=keepdim)


def sum(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The sum over all axes or over `dim`; of nothing, 0. Booleans and integers are summed as int64."""
    return _over(sum_over, input, dim, keepdim, names)


def mean(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The mean over all axes or over `dim`; of nothing, NaN."""
    return _over(_mean, as_float(input), dim, keepdim, names)


def prod(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The product over all axes or over `dim`."""
    return _over(_prod, input, dim, keepdim, names)


def amax(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The largest over all axes or over `dim`; the gradient of a tie is shared evenly."""
    return _over(_amax, input, dim, keepdim, names)


def amin(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """The smallest over all axes or over `dim`; the gradient of a tie is shared evenly."""
    return _over(_amin, input, dim, keepdim, names)


def all(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """Whether every element is true."""
    return _over(_all, input, dim, keepdim, names)


def any(input: TensorBase, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
    """Whether some element is true."""
    return _over(_any, input, dim, keepdim, names)


def sum_to(input: TensorBase, shape: Shape) -> Tensor:
    """Summed to a shape that broadcasts to this one: what undoes a broadcast."""
    dims, keepdim = _surplus(input.shape, tuple(shape))
    if dims is None:
        return reshape(input, shape)
    out = sum_over(input, dims=dims, keepdim=keepdim)
    return out if out.shape == shape else reshape(out, shape)


@functools.lru_cache(maxsize=1024)
def _surplus(own: Shape, shape: Shape) -> tuple[Shape | None, bool]:
    """The axes to sum over, or None where, as in a batch of one, there is nothing to add; and whether they stay."""
    lead = len(own) - len(shape)
    dims = tuple(i for i, n in enumerate(own) if i < lead or (n != 1 and shape[i - lead] == 1))
    return (None if math.prod(own[d] for d in dims) == 1 else dims), not lead


class ReduceMethods(TensorBase):
    """Reductions of a tensor."""

    __slots__ = ()

    def sum_to(self, shape: Shape) -> Tensor:
        """Summed to a shape that broadcasts to this one."""
        return sum_to(self, shape)

    def sum(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The sum, over all axes or over `dim`."""
        return sum(self, dim, keepdim, **names)

    def mean(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The mean, over all axes or over `dim`."""
        return mean(self, dim, keepdim, **names)

    def prod(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The product, over all axes or over `dim`."""
        return prod(self, dim, keepdim, **names)

    def amax(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The largest, ties sharing the gradient, over all axes or over `dim`."""
        return amax(self, dim, keepdim, **names)

    def amin(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """The smallest, ties sharing the gradient, over all axes or over `dim`."""
        return amin(self, dim, keepdim, **names)

    def all(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """Whether every element is true, over all axes or over `dim`."""
        return all(self, dim, keepdim, **names)

    def any(self, dim: Dims = None, keepdim: bool = False, **names: Unpack[NumpysNames]) -> Tensor:
        """Whether some element is true, over all axes or over `dim`."""
        return any(self, dim, keepdim, **names)
