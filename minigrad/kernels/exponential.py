"""Exponentials as vector instructions: of single numbers, of rows less their largest, which softmax is made of, and in
activations.

Of float32 ``exp(x) = 2^n exp(r)``, n being the whole number next to ``x / ln 2``. A number so large that its last place is 1
is added and taken away again: that rounds x / ln 2 to n, and the sum's last bits are the exponent's bits of 2^n. What is left
over, ``|r| <= ln(2) / 2``, goes into a polynomial of degree 6. The multipliers are busy for eleven operations a vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.rows import Vectors, over_rows

__all__ = ["elus", "exp", "exponentials", "mass", "sigmoids"]

Array = np.ndarray[Any, Any]

#: What is less is taken for it; its n is -127, of which no power of two is made but 0.
_LEAST = -88.0
#: What is less is 0 even among the numbers that float32 has for less than its powers of two go down to.
_LEAST_GRADUAL = -104.0
_LOG2E = 1.44269504088896341
#: ln 2 in two parts; the first ends in zeros, so that n times it is exact.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-6
#: Its last place is 1, and its last nine bits are the exponent's bits of 1.
_ONES = 1.5 * 2**23
_MAGIC = _ONES + 127
#: exp(r) = 1 + r + r^2 (...), highest power first: the greatest error in units of the last place made least, 0.04 of one.
_TERMS = (
    *(1.3781258073654315e-3, 8.368872341472334e-3, 4.166907686871966e-2, 1.666651914028085e-1, 4.999999002611777e-1),
    *(1.0, 1.0),
)


def _reduced(emit: Vectors, x: Any, least: float) -> tuple[Any, Any]:
    """What is left over, and the sum whose last bits say n, as whole numbers."""
    builder, magic = emit.builder, emit.number(_MAGIC)
    x = emit.larger(emit.number(least), x)
    rounded = emit.fma(x, emit.number(_LOG2E), magic)
    n = builder.fsub(rounded, magic)
    r = emit.fma(n, emit.number(-_LN2_LOW), emit.fma(n, emit.number(-_LN2_HIGH), x))
    return r, builder.bitcast(rounded, emit.whole)


def _polynomial(emit: Vectors, r: Any, terms: Sequence[float]) -> Any:
    value = emit.number(terms[0])
    for term in terms[1:]:
        value = emit.fma(value, r, emit.number(term))
    return value


def _power(emit: Vectors, exponent: Any) -> Any:
    """The number with these bits in its exponent."""
    return emit.builder.bitcast(emit.builder.shl(exponent, emit.number(23, emit.whole)), emit.kind)


def _exp(emit: Vectors, x: Any) -> Any:
    """Of numbers that are not above 88; NaN stays."""
    if emit.bits == 64:
        return emit.call(f"llvm.exp.{emit.suffix}", emit.kind, x)
    r, rounded = _reduced(emit, x, _LEAST)
    return emit.builder.fmul(_polynomial(emit, r, _TERMS), _power(emit, rounded))


def _exp_gradual(emit: Vectors, x: Any) -> Any:
    """The same down to the least number that is not 0: 2^n in two factors, neither of which is out of range."""
    if emit.bits == 64:
        return _exp(emit, x)
    builder = emit.builder
    r, rounded = _reduced(emit, x, _LEAST_GRADUAL)
    ones = builder.bitcast(emit.number(_ONES), emit.whole)
    both = builder.add(builder.sub(rounded, ones), emit.number(127, emit.whole))  # n + 254
    half = builder.ashr(both, emit.number(1, emit.whole))
    value = builder.fmul(_polynomial(emit, r, _TERMS), _power(emit, half))
    return builder.fmul(value, _power(emit, builder.sub(both, half)))


def _expm1(emit: Vectors, x: Any) -> Any:
    """``exp(x) - 1`` of numbers that are not positive, without cancellation: ``2^n (exp(r) - 1) + (2^n - 1)``."""
    if emit.bits == 64:
        return emit.each("expm1", x)
    r, rounded = _reduced(emit, x, _LEAST)
    power = _power(emit, rounded)
    own = emit.fma(emit.builder.fmul(r, r), _polynomial(emit, r, _TERMS[:-2]), r)
    return emit.fma(own, power, emit.builder.fsub(power, emit.number(1.0)))


def _compiled() -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _exp(Vectors(context, builder, signature.args[0], 1), args[0])

    return late("numba.extending").intrinsic(lambda context, x: (x(x), codegen))


def _exponentials_python(to: Array, row: Array, level: float) -> float:
    to[:] = np.exp(row - level)
    return float(to.sum(dtype=np.float64))


def _exponentials(emit: Vectors, row: Any, level: Any) -> tuple[list[Any], list[Any]]:
    made = _exp(emit, emit.builder.fsub(row, level))
    return [made], [made]


def _sigmoids_python(to: Array, row: Array) -> None:
    e = np.exp(-np.abs(row))
    to[:] = np.where(row >= 0, row.dtype.type(1), e) / (1 + e)


def _sigmoids(emit: Vectors, row: Any) -> tuple[list[Any], list[Any]]:
    """With the exponential of a number that is not positive, so that nothing overflows."""
    builder, one = emit.builder, emit.number(1.0)
    e = _exp_gradual(emit, builder.fneg(emit.call(f"llvm.fabs.{emit.suffix}", emit.kind, row)))
    upper = builder.select(builder.fcmp_ordered(">=", row, emit.number(0.0)), one, e)
    return [builder.fdiv(upper, builder.fadd(one, e))], []


def _elus_python(to: Array, row: Array, alpha: float) -> None:
    to[:] = np.where(row < 0, row.dtype.type(alpha) * np.expm1(row), row)


def _elus(emit: Vectors, row: Any, alpha: Any) -> tuple[list[Any], list[Any]]:
    zero = emit.number(0.0)
    negative = emit.builder.fcmp_ordered("<", row, zero)
    below = emit.builder.fmul(alpha, _expm1(emit, emit.builder.select(negative, row, zero)))
    return [emit.builder.select(negative, below, row)], []


#: The exponential of a number that is not above 88; in float32 good to one unit in the last place, and 0 below -88.
exp = Intrinsic(math.exp, _compiled)
#: ``exponentials(to, row, level)``: ``to = exp(row - level)``; gives their sum.
exponentials = over_rows(_exponentials_python, _exponentials, outputs=1, inputs=1, sums=1)
#: ``mass(row, level)``: the same sum, of which nothing is kept.
mass = over_rows(
    lambda row, level: float(np.exp(row - level).sum(dtype=np.float64)),
    lambda emit, row, level: ([], _exponentials(emit, row, level)[1]),
    outputs=0,
    inputs=1,
    sums=1,
)
#: ``sigmoids(to, row)``: ``to = 1 / (1 + exp(-row))``.
sigmoids = over_rows(_sigmoids_python, _sigmoids, outputs=1, inputs=1, sums=0)
#: ``elus(to, row, alpha)``: ``to = row`` where not negative, else ``alpha * (exp(row) - 1)``.
elus = over_rows(_elus_python, _elus, outputs=1, inputs=1, sums=0)
