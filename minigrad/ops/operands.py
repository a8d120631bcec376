"""What an operation makes of its arguments: scalars and arrays become tensors, mixed types meet as in PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.core import TensorBase, make_tensor
from minigrad.op import Op, Sample, no_tensor, register

__all__ = [
    "DEFAULT_DTYPE",
    "NUMERIC",
    "Operand",
    "as_float",
    "as_tensor",
    "cast",
    "check_counts",
    "operands",
    "same_float",
    "shape_of",
]

#: What a function takes where a number will do as well as a tensor.
NUMERIC = (TensorBase, float, int, np.ndarray, np.generic)
Operand = TensorBase | float | int | bool | np.ndarray[Any, Any] | np.generic

DEFAULT_DTYPE: np.dtype[Any] = np.dtype(np.float32)
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def as_tensor(x: Operand) -> TensorBase:
    """The tensor itself, or a constant made of a number or an array (an array keeps its type and its memory)."""
    if isinstance(x, TensorBase):
        return x
    if isinstance(x, float):
        return make_tensor(np.asarray(x, DEFAULT_DTYPE))
    if isinstance(x, (np.ndarray, np.generic, int, bool)):
        return make_tensor(np.asarray(x))
    raise TypeError(f"expected a tensor, an array or a number, got {type(x).__name__}")


def operands(a: Operand, b: Operand) -> tuple[TensorBase, TensorBase]:
    """Two operands as tensors of one type.

    A number takes the tensor's type unless it is of a higher kind (bool < int < float < complex); so does a tensor
    without axes beside one that has axes. Otherwise numpy's promotion holds, except that an integer beside a float
    does not widen the float.
    """
    if isinstance(a, TensorBase) and isinstance(b, TensorBase):
        if a.array.dtype == b.array.dtype:
            return a, b
        dtype = _promoted(a.array, b.array)
        return _cast(a, dtype), _cast(b, dtype)
    if isinstance(a, TensorBase) and isinstance(b, (bool, int, float)):
        return _beside(a, b)
    if isinstance(b, TensorBase) and isinstance(a, (bool, int, float)):
        second, first = _beside(b, a)
        return first, second
    return operands(as_tensor(a), as_tensor(b))


def as_float(x: TensorBase) -> TensorBase:
    """Integers and booleans as the default floating-point type, for functions that leave the integers."""
    return x if x.array.dtype.kind in "fc" else _cast(x, DEFAULT_DTYPE)


def same_float(name: str, **tensors: TensorBase | None) -> None:
    """Hold arguments to one floating-point type, for kernels that write what they are given; TypeError names them all."""
    known = None
    for x in tensors.values():  # a plain loop for the usual case, which layers go through in every step
        if x is None:
            continue
        if not isinstance(x, TensorBase):
            break
        dtype = x.array.dtype
        if known is None:
            known = dtype
        elif dtype is not known:
            break
    else:
        if known is None or known.kind == "f":
            return
    if not all(x is None or isinstance(x, TensorBase) for x in tensors.values()):
        raise no_tensor(name, **{key: x for key, x in tensors.items() if x is not None})
    given = {key: x.array.dtype for key, x in tensors.items() if x is not None}
    if len(set(given.values())) > 1 or any(dtype.kind != "f" for dtype in given.values()):
        shown = ", ".join(f"{key} {dtype}" for key, dtype in given.items())
        raise TypeError(f"{name}: {shown}; expected floating point, of one type: convert with .float() or .to(dtype)")


def check_counts(name: str, **counts: Any) -> None:
    """Refuse settings that count something: TypeError for what is no whole number, ValueError below 0."""
    for key, count in counts.items():
        try:
            fits = operator.index(count) >= 0
        except TypeError:
            hint = " (// divides to one)" if isinstance(count, float) else ""
            raise TypeError(f"{name}: {key} = {count!r}; expected a whole number{hint}") from None
        if not fits:
            raise ValueError(f"{name}: {key} = {count!r}; expected 0 or more")


def shape_of(*shape: Any) -> tuple[int, ...]:
    """A shape given as one sequence or as separate integers."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    return tuple(map(operator.index, shape))


def _beside(x: TensorBase, number: float) -> tuple[TensorBase, TensorBase]:
    dtype = x.array.dtype
    kind = "b" if isinstance(number, bool) else "i" if isinstance(number, int) else "f"
    if _RANK[kind] > _RANK[dtype.kind]:
        dtype = np.dtype(np.int64) if kind == "i" else DEFAULT_DTYPE
        x = _cast(x, dtype)
    elif kind == "i" and dtype.kind in "ui" and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        dtype = np.dtype(np.int64)  # the number does not fit the narrow type
        x = _cast(x, dtype)
    return x, make_tensor(np.asarray(number, dtype))


def _promoted(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.dtype[Any]:
    rank_a, rank_b = _RANK[a.dtype.kind], _RANK[b.dtype.kind]
    if (a.ndim > 0) != (b.ndim > 0):
        wide, narrow = (a, b) if a.ndim else (b, a)
        if _RANK[wide.dtype.kind] >= _RANK[narrow.dtype.kind]:
            dtype: np.dtype[Any] = wide.dtype
            return dtype
    if rank_a != rank_b and max(rank_a, rank_b) >= 2:
        higher: np.dtype[Any] = a.dtype if rank_a > rank_b else b.dtype
        return higher
    return np.result_type(a.dtype, b.dtype)


def _cast(x: TensorBase, dtype: np.dtype[Any]) -> TensorBase:
    return x if x.array.dtype == dtype else cast(x, dtype=dtype)


def _cast_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3)),), {"dtype": np.dtype(np.float64)})
    yield Sample((rng.normal(size=(0, 2)),), {"dtype": np.dtype(np.float64)}, why="no elements")


cast = register(
    Op(
        "cast",
        lambda x, *, dtype: x.astype(dtype),
        lambda x, *, dtype: x,
        vjp={"x": lambda g: g},  # the engine brings every cotangent back to its input's type
        reference=lambda x, *, dtype: np.array(x.tolist(), dtype).reshape(x.shape),
        samples=_cast_samples,
        family="movement",
        onnx="Cast",
        doc="The same numbers in another type.",
    )
)
