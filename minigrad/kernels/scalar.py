"""Functions of single numbers that the compiler can turn into vector instructions, where the C library's would be called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late

__all__ = ["exp", "maximum"]

_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
#: exp(r) = 1 + r + r^2 (1/2 + r/6 + ...) on |r| <= ln(2) / 2, the coefficients of Cephes' expf (S. Moshier).
_C5, _C4, _C3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C2, _C1, _C0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_ONE, _SMALLEST, _LEAST = np.float32(1), np.float32(-87.336544), np.float32(-126)


def _exp_of_float32(x):  # type: ignore[no-untyped-def]
    """``exp(x)`` for x up to 88, within 2 units in the last place; 0 where it would be denormal; NaN stays."""
    n = np.float32(np.rint(x * _LOG2E))
    n = n if n > _LEAST else _LEAST  # a NaN is no whole number
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_C5 * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r + _C0
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^n, by its exponent's bits
    value = (p * (r * r) + r + _ONE) * power
    return np.float32(0) if x < _SMALLEST else value


def _compiled_exp() -> Any:
    extending, types, scalar = late("numba.extending"), late("numba").types, late("numba").njit(_exp_of_float32)

    def chosen(x):  # type: ignore[no-untyped-def]
        """By the number's type."""

    @extending.overload(chosen)
    def choose(x):  # type: ignore[no-untyped-def]
        return (lambda x: scalar(x)) if x == types.float32 else (lambda x: math.exp(x))

    return chosen


def _compiled_maximum() -> Any:
    cgutils, ir = late("numba.core.cgutils"), late("llvmlite.ir")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        name = f"llvm.maximum.{'f32' if isinstance(kind, ir.FloatType) else 'f64'}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, kind]), name)
        return builder.call(function, args)

    def typing(context: Any, a: Any, b: Any) -> Any:
        return a(a, a), codegen

    return late("numba.extending").intrinsic(typing)


#: The exponential of a number that is not above 88; in float32 good to 2 units in the last place.
exp = Intrinsic(math.exp, _compiled_exp)
#: The larger of two numbers of one type; NaN wins.
maximum = Intrinsic(lambda a, b: a if a > b or a != a else b, _compiled_maximum)
