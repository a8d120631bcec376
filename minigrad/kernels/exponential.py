"""Exponentials as vector instructions: of single numbers, and of rows less their largest, which softmax is made of.

Of float32 ``exp(x) = 2^n exp(r)``, n being the whole number next to ``x / ln 2``: a number so large that its last place is
1 is added and taken away again, which rounds x / ln 2 and leaves n, from which 2^n is made, in the sum's last bits. What is
left, ``|r| <= ln(2) / 2``, goes into a polynomial of degree 6. The multiplier is busy for eleven operations a vector, the largest element
and the sum take the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.vector import machine_lanes

__all__ = ["exp", "exponentials", "mass"]

Array = np.ndarray[Any, Any]

#: Below, exp(x) is 0 in the scale that `_MAGIC` leads to: 2^-127 has no exponent's bits.
_LEAST = -88.0
_LOG2E = 1.44269504088896341
#: ln 2 in two parts; the first has zeros for its last bits, so that n times it is exact.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-6
#: Its last place is 1, and its last nine bits are the exponent's bits of 1.
_MAGIC = 1.5 * 2**23 + 127
#: exp(r) = 1 + r + r^2 (...), the greatest error in units of the last place made least (a linear programme): 0.04 of one.
_TERMS = (1.3781258073654315e-3, 8.368872341472334e-3, 4.166907686871966e-2, 1.666651914028085e-1, 4.999999002611777e-1, 1.0, 1.0)
#: So many vectors are summed in their own type.
_VECTORS = 16


class _Writer:
    """Writes exponentials of vectors, or of one number, for one type."""

    def __init__(self, context: Any, builder: Any, dtype: Any, lanes: int) -> None:
        self.ir, self.cgutils, self.builder, self.lanes = late("llvmlite.ir"), late("numba.core.cgutils"), builder, lanes
        self.scalar, self.bits = context.get_data_type(dtype), dtype.bitwidth
        self.kind = self._wide(self.scalar)
        self.suffix = f"v{lanes}f{self.bits}" if lanes > 1 else f"f{self.bits}"
        self.word = self.ir.IntType(64)

    def _wide(self, scalar: Any) -> Any:
        return self.ir.VectorType(scalar, self.lanes) if self.lanes > 1 else scalar

    def number(self, value: float) -> Any:
        """A constant on all lanes."""
        rounded = float(np.float32(value)) if self.bits == 32 else value
        return self.ir.Constant(self.kind, [rounded] * self.lanes if self.lanes > 1 else rounded)

    def call(self, name: str, result: Any, *args: Any, **flags: Any) -> Any:
        """One of LLVM's own functions."""
        kind = self.ir.FunctionType(result, [a.type for a in args])
        return self.builder.call(self.cgutils.get_or_insert_function(self.builder.module, kind, name), args, **flags)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of two; b if one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def exp(self, x: Any) -> Any:
        """Of numbers that are at most 88; NaN stays."""
        if self.bits == 64:
            return self.call(f"llvm.exp.{self.suffix}", self.kind, x)
        builder, whole = self.builder, self._wide(self.ir.IntType(32))

        def fma(a: Any, b: Any, c: Any) -> Any:
            return self.call(f"llvm.fma.{self.suffix}", self.kind, a, b, c)

        x = self.larger(self.number(_LEAST), x)
        sum_ = fma(x, self.number(_LOG2E), self.number(_MAGIC))
        n = builder.fsub(sum_, self.number(_MAGIC))
        r = fma(n, self.number(-_LN2_LOW), fma(n, self.number(-_LN2_HIGH), x))
        value = self.number(_TERMS[0])
        for term in _TERMS[1:]:
            value = fma(value, r, self.number(term))
        places = self.ir.Constant(whole, [23] * self.lanes if self.lanes > 1 else 23)
        return builder.fmul(value, builder.bitcast(builder.shl(builder.bitcast(sum_, whole), places), self.kind))

    def data(self, context: Any, kind: Any, array: Any) -> tuple[Any, Any]:
        """Where an array begins, and how long it is."""
        made = context.make_array(kind)(context, self.builder, array)
        return made.data, self.builder.extract_value(made.shape, 0)

    def place(self, data: Any, at: Any) -> Any:
        """Where a vector of an array begins."""
        return self.builder.bitcast(self.builder.gep(data, [at]), self.kind.as_pointer())

    def load(self, data: Any, at: Any) -> Any:
        """A vector."""
        value = self.builder.load(self.place(data, at))
        value.align = self.bits // 8
        return value

    def store(self, value: Any, data: Any, at: Any) -> None:
        """A vector."""
        self.builder.store(value, self.place(data, at)).align = self.bits // 8

    def spread(self, value: Any) -> Any:
        """A number on all lanes."""
        nothing, whole = self.ir.Constant(self.kind, self.ir.Undefined), self.ir.IntType(32)
        zeros = self.ir.Constant(self.ir.VectorType(whole, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(
            self.builder.insert_element(nothing, value, self.ir.Constant(whole, 0)), nothing, zeros
        )

    def mask(self, count: Any) -> Any:
        """The first so many lanes."""
        whole = self.ir.IntType(32)
        wide = self.ir.VectorType(whole, self.lanes)
        nothing = self.ir.Constant(wide, self.ir.Undefined)
        number = self.builder.insert_element(nothing, self.builder.trunc(count, whole), self.ir.Constant(whole, 0))
        spread = self.builder.shuffle_vector(number, nothing, self.ir.Constant(wide, [0] * self.lanes))
        return self.builder.icmp_unsigned("<", self.ir.Constant(wide, list(range(self.lanes))), spread)

    def part(self, data: Any, at: Any, mask: Any) -> Any:
        """A vector of which there are not all lanes; -Inf for the others."""
        size = self.ir.Constant(self.ir.IntType(32), self.bits // 8)
        name = f"llvm.masked.load.{self.suffix}.p0"
        return self.call(name, self.kind, self.place(data, at), size, mask, self.number(-math.inf))

    def store_part(self, value: Any, data: Any, at: Any, mask: Any) -> None:
        """The lanes that there are."""
        size = self.ir.Constant(self.ir.IntType(32), self.bits // 8)
        self.call(f"llvm.masked.store.{self.suffix}.p0", self.ir.VoidType(), value, self.place(data, at), size, mask)

    def row(self, x: Any, count: Any, to: Any | None) -> tuple[Any, Any]:
        """The largest of a row, and the sum of the exponentials less it, which are stored if there is a place for them."""
        builder, lanes = self.builder, self.ir.Constant(self.word, self.lanes)
        whole = builder.udiv(count, lanes)
        rest, last = builder.urem(count, lanes), builder.mul(whole, lanes)
        mask, some = self.mask(rest), builder.icmp_unsigned("!=", rest, self.ir.Constant(self.word, 0))
        best, part = (self.cgutils.alloca_once(builder, self.kind) for _ in range(2))
        total = self.cgutils.alloca_once_value(builder, self.ir.Constant(self.ir.DoubleType(), 0.0))
        builder.store(self.number(-math.inf), best)
        with self.cgutils.for_range(builder, whole) as loop:
            builder.store(self.larger(self.load(x, builder.mul(loop.index, lanes)), builder.load(best)), best)
        with builder.if_then(some):
            builder.store(self.larger(self.part(x, last, mask), builder.load(best)), best)
        peak = self.call(f"llvm.vector.reduce.fmax.{self.suffix}", self.scalar, builder.load(best), fastmath=("nnan",))
        level = self.spread(peak)

        def add() -> None:
            zero = self.ir.Constant(self.scalar, -0.0)
            name = f"llvm.vector.reduce.fadd.{self.suffix}"
            value = self.call(name, self.scalar, zero, builder.load(part), fastmath=("reassoc",))
            value = value if self.bits == 64 else builder.fpext(value, self.ir.DoubleType())
            builder.store(builder.fadd(builder.load(total), value), total)
            builder.store(self.number(0.0), part)

        def exponential(value: Any) -> Any:
            made = self.exp(builder.fsub(value, level))
            builder.store(builder.fadd(builder.load(part), made), part)
            return made

        builder.store(self.number(0.0), part)
        step = self.ir.Constant(self.word, _VECTORS)
        chunks = builder.udiv(builder.add(whole, self.ir.Constant(self.word, _VECTORS - 1)), step)
        with self.cgutils.for_range(builder, chunks) as outer:
            first = builder.mul(outer.index, step)
            left = builder.sub(whole, first)
            many = builder.select(builder.icmp_unsigned("<", left, step), left, step)
            with self.cgutils.for_range(builder, many) as loop:
                at = builder.mul(builder.add(first, loop.index), lanes)
                made = exponential(self.load(x, at))
                if to is not None:
                    self.store(made, to, at)
            add()
        with builder.if_then(some):
            made = exponential(self.part(x, last, mask))
            if to is not None:
                self.store_part(made, to, last, mask)
            add()
        return peak, builder.load(total)


def _compiled_exp() -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _Writer(context, builder, signature.args[0], 1).exp(args[0])

    return late("numba.extending").intrinsic(lambda context, x: (x(x), codegen))


def _row_python(to: Array | None, x: Array) -> tuple[float, float]:
    peak = x.max()
    powers = np.exp(x - peak)
    if to is not None:
        to[:] = powers
    return peak, float(powers.sum(dtype=np.float64))


def _compiled_rows(stored: bool) -> Any:
    types = late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[-1]
        writer = _Writer(context, builder, kind.dtype, machine_lanes() * 32 // kind.dtype.bitwidth)
        x, count = writer.data(context, kind, args[-1])
        to = writer.data(context, signature.args[0], args[0])[0] if stored else None
        return context.make_tuple(builder, signature.return_type, writer.row(x, count, to))

    def with_place(context: Any, to: Any, x: Any) -> Any:
        return types.Tuple((x.dtype, types.float64))(to, x), codegen

    def without(context: Any, x: Any) -> Any:
        return types.Tuple((x.dtype, types.float64))(x), codegen

    return late("numba.extending").intrinsic(with_place if stored else without)


#: The exponential of a number that is not above 88; in float32 good to one unit in the last place, 0 below -88.
exp = Intrinsic(math.exp, _compiled_exp)
#: ``exponentials(to, x)``: a row's largest and ``sum(exp(x - largest))``; `to` is given the exponentials. All contiguous.
exponentials = Intrinsic(_row_python, lambda: _compiled_rows(True))
#: ``mass(x)``: the same two, nothing is kept.
mass = Intrinsic(lambda x: _row_python(None, x), lambda: _compiled_rows(False))
