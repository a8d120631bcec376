"""Making tensors: from numbers, filled, counted, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.core import TensorBase
from minigrad.errors import ShapeError
from minigrad.ops.operands import DEFAULT_DTYPE, shape_of
from minigrad.random import generator
from minigrad.tensor import Tensor

__all__ = [
    "arange",
    "empty",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
]

DType = npt.DTypeLike | None

_NUMBERS = "biufc"


def tensor(data: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of the numbers.

    Arrays keep their type; Python floats become float32, integers int64. Raises GradientError for a gradient of integers,
    ShapeError for ragged lists, TypeError for what is no number.
    """
    if isinstance(data, TensorBase):
        data = data.array
    try:
        array = np.array(data, dtype=dtype)
    except ValueError:
        _check_lengths(data)
        raise
    _check_kind("tensor", array.dtype, data)
    if dtype is None and array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)):
        array = array.astype(DEFAULT_DTYPE)
    return Tensor(array, requires_grad)


def from_numpy(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on the array's own memory. Raises TypeError for what is no array, or one of no numbers."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: a {type(array).__name__} given; expected a numpy array (minigrad.tensor copies the rest)")
    _check_kind("from_numpy", array.dtype, array)
    return Tensor(array)


def zeros(*size: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All 0."""
    return Tensor(np.zeros(shape_of(*size), dtype or DEFAULT_DTYPE), requires_grad)


def ones(*size: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All 1."""
    return Tensor(np.ones(shape_of(*size), dtype or DEFAULT_DTYPE), requires_grad)


def empty(*size: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Not filled: whatever the memory held."""
    return Tensor(np.empty(shape_of(*size), dtype or DEFAULT_DTYPE), requires_grad)


def full(size: Any, fill_value: float, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All `fill_value`; a Python number says the type as in `tensor`."""
    kind = tensor(fill_value).dtype if dtype is None else dtype
    return Tensor(np.full(shape_of(size), fill_value, kind), requires_grad)


def zeros_like(input: TensorBase, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All 0, in the other's shape and type."""
    return Tensor(np.zeros(input.shape, dtype or input.dtype), requires_grad)


def ones_like(input: TensorBase, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All 1, in the other's shape and type."""
    return Tensor(np.ones(input.shape, dtype or input.dtype), requires_grad)


def full_like(input: TensorBase, fill_value: float, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """All `fill_value`, in the other's shape and type."""
    return Tensor(np.full(input.shape, fill_value, dtype or input.dtype), requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, dtype: DType = None) -> Tensor:
    """From `start` (0 if only one number is given) up to and without `end`: int64 if all are integers, else float32."""
    first, last = (0, start) if end is None else (start, end)
    whole = all(isinstance(n, (int, np.integer)) for n in (first, last, step))
    return Tensor(np.arange(first, last, step).astype(dtype or (np.int64 if whole else DEFAULT_DTYPE)))


def linspace(start: float, end: float, steps: int, dtype: DType = None) -> Tensor:
    """`steps` numbers evenly from `start` to `end`, both included."""
    return Tensor(np.linspace(start, end, steps, dtype=dtype or DEFAULT_DTYPE))


def eye(n: int, m: int | None = None, dtype: DType = None) -> Tensor:
    """1 on the diagonal, else 0."""
    return Tensor(np.eye(n, m, dtype=dtype or DEFAULT_DTYPE))


def rand(*size: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Uniform over [0, 1)."""
    return Tensor(_drawn(generator().random, size, dtype), requires_grad)


def randn(*size: Any, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Normal with mean 0 and variance 1."""
    return Tensor(_drawn(generator().standard_normal, size, dtype), requires_grad)


def randn_like(input: TensorBase, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Normal, in the other's shape and type."""
    return randn(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def randint(low: int, high: Any, size: Any = None, dtype: DType = None) -> Tensor:
    """Integers from `low` up to and without `high`; ``randint(high, size)`` begins at 0."""
    if size is None:
        low, high, size = 0, low, high
    return Tensor(np.asarray(generator().integers(low, high, shape_of(size))).astype(dtype or np.int64))


def randperm(n: int) -> Tensor:
    """The integers below `n` in random order."""
    return Tensor(generator().permutation(n))


def _drawn(draw: Any, size: tuple[Any, ...], dtype: DType) -> npt.NDArray[Any]:
    wanted = np.dtype(dtype or DEFAULT_DTYPE)
    own = wanted if wanted in (np.float32, np.float64) else np.dtype(np.float64)
    return np.asarray(draw(shape_of(*size), dtype=own)).astype(wanted, copy=False)


def _check_lengths(data: Any) -> None:
    """Raise ShapeError for nested lists of different lengths, at the first level where there are any."""
    level = [("data", data)]
    while level:
        lengths = [f"{len(part)} long" if _branches(part) else "a number" for _, part in level]
        odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
        if odd:
            places = ", ".join(f"{level[i][0]} is {lengths[i]}" for i in (0, odd))
            raise ShapeError(f"tensor: the nested lists are ragged: {places}; all of one level must be equally long")
        level = [(f"{place}[{i}]", inner) for place, part in level if _branches(part) for i, inner in enumerate(part)]


def _branches(data: Any) -> bool:
    return isinstance(data, (list, tuple)) or (isinstance(data, (np.ndarray, TensorBase)) and data.ndim > 0)


def _check_kind(name: str, dtype: np.dtype[Any], data: Any) -> None:
    """Raise TypeError for a type that is none of numbers, naming the first thing in `data` that is to blame."""
    if dtype.kind in _NUMBERS:
        return
    culprit = next((leaf for leaf in _leaves(data) if np.asarray(leaf).dtype.kind not in _NUMBERS), data)
    fits = "a number, nested lists of numbers, an array or a tensor" if name == "tensor" else "an array of numbers"
    told = f"{culprit!r:.60} ({type(culprit).__name__}) as {dtype}"
    raise TypeError(f"{name}: {told} is no number that a tensor can hold; expected {fits}")


def _leaves(data: Any) -> Iterator[Any]:
    if not _branches(data):
        yield data
        return
    for part in data:
        yield from _leaves(part)
