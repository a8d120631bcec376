"""Exponentials as vector instructions: of single numbers, and of rows less their largest, which softmax is made of.

Of float32 ``exp(x) = 2^n exp(r)``, n being the whole number next to ``x / ln 2``. A number so large that its last place is 1
is added and taken away again: that rounds x / ln 2 to n, and the sum's last bits are the exponent's bits of 2^n. What is left
over, ``|r| <= ln(2) / 2``, goes into a polynomial of degree 6. The multipliers are busy for eleven operations a vector.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.rows import Vectors, over_rows

__all__ = ["exp", "exponentials", "mass"]

Array = np.ndarray[Any, Any]

#: What is less is taken for it; its n is -127, of which no power of two is made but 0.
_LEAST = -88.0
_LOG2E = 1.44269504088896341
#: ln 2 in two parts; the first ends in zeros, so that n times it is exact.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-6
#: Its last place is 1, and its last nine bits are the exponent's bits of 1.
_MAGIC = 1.5 * 2**23 + 127
#: exp(r) = 1 + r + r^2 (...), highest power first: the greatest error in units of the last place made least, 0.04 of one.
_TERMS = (
    *(1.3781258073654315e-3, 8.368872341472334e-3, 4.166907686871966e-2, 1.666651914028085e-1, 4.999999002611777e-1),
    *(1.0, 1.0),
)


def _exp(emit: Vectors, x: Any) -> Any:
    """Of numbers that are not above 88; NaN stays."""
    if emit.bits == 64:
        return emit.call(f"llvm.exp.{emit.suffix}", emit.kind, x)
    builder, magic = emit.builder, emit.number(_MAGIC)
    x = emit.larger(emit.number(_LEAST), x)
    rounded = emit.fma(x, emit.number(_LOG2E), magic)
    n = builder.fsub(rounded, magic)
    r = emit.fma(n, emit.number(-_LN2_LOW), emit.fma(n, emit.number(-_LN2_HIGH), x))
    value = emit.number(_TERMS[0])
    for term in _TERMS[1:]:
        value = emit.fma(value, r, emit.number(term))
    power = builder.shl(builder.bitcast(rounded, emit.whole), emit.number(23, emit.whole))
    return builder.fmul(value, builder.bitcast(power, emit.kind))


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
