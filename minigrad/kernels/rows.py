"""Loops over rows of numbers in vectors, written as LLVM instructions: what one vector needs is said once, in `over_rows`.

LLVM makes vectors of plain loops as well, but takes what is left over at a row's end number by number; of a row of ten or of
196, as softmax and batch norm have by the thousand, that is most of the time. Here the last vector is masked. Sums are taken
lane by lane for some vectors, then of the lanes, and these in float64.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.vector import machine_lanes

__all__ = ["Vectors", "largest", "over_rows"]

Array = np.ndarray[Any, Any]

#: So many vectors are summed in their own type.
_CHUNK = 16


class Vectors:
    """Writes instructions on vectors of so many lanes, or on single numbers, of one type."""

    def __init__(self, context: Any, builder: Any, dtype: Any, lanes: int) -> None:
        """Where they are written, and of what."""
        self.ir, self.cgutils = late("llvmlite.ir"), late("numba.core.cgutils")
        self.context, self.builder, self.lanes, self.bits = context, builder, lanes, int(dtype.bitwidth)
        self.scalar, self.dtype = context.get_data_type(dtype), dtype
        self.kind, self.whole = self.wide(self.scalar), self.wide(self.ir.IntType(32))
        self.suffix = f"{f'v{lanes}' if lanes > 1 else ''}{str(dtype)[0]}{self.bits}"
        self.word = self.ir.IntType(64)

    def wide(self, scalar: Any) -> Any:
        """The type of a vector of such numbers."""
        return self.ir.VectorType(scalar, self.lanes) if self.lanes > 1 else scalar

    def number(self, value: float, kind: Any = None) -> Any:
        """A constant on all lanes."""
        if kind is None:
            kind, value = self.kind, float(np.float32(value)) if self.suffix.endswith("f32") else value
        return self.ir.Constant(kind, [value] * self.lanes if self.lanes > 1 else value)

    def call(self, name: str, result: Any, *args: Any, flags: Sequence[str] = ()) -> Any:
        """One of LLVM's own functions."""
        kind = self.ir.FunctionType(result, [a.type for a in args])
        return self.builder.call(self.cgutils.get_or_insert_function(self.builder.module, kind, name), args, fastmath=flags)

    def each(self, name: str, value: Any) -> Any:
        """What one of C's functions gives for each lane."""
        function = self.cgutils.get_or_insert_function(
            self.builder.module, self.ir.FunctionType(self.scalar, [self.scalar]), name
        )
        if self.lanes == 1:
            return self.builder.call(function, [value])
        for place in (self.ir.Constant(self.ir.IntType(32), lane) for lane in range(self.lanes)):
            made = self.builder.call(function, [self.builder.extract_element(value, place)])
            value = self.builder.insert_element(value, made, place)
        return value

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once."""
        return self.call(f"llvm.fma.{self.suffix}", self.kind, a, b, c)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of two; b if one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def spread(self, value: Any) -> Any:
        """A number on all lanes."""
        if self.lanes == 1:
            return value
        kind = self.wide(value.type)
        nothing, none = self.ir.Constant(kind, self.ir.Undefined), self.ir.Constant(self.ir.IntType(32), 0)
        places = self.ir.Constant(self.whole, [0] * self.lanes)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, value, none), nothing, places)

    def array(self, kind: Any, value: Any) -> tuple[Any, Any]:
        """Where an array begins, and how long it is."""
        made = self.context.make_array(kind)(self.context, self.builder, value)
        return made.data, self.builder.extract_value(made.shape, 0)

    def first(self, some: Any) -> Any:
        """A mask of so many lanes."""
        ends = self.spread(self.builder.trunc(some, self.ir.IntType(32)))
        return self.builder.icmp_unsigned("<", self.ir.Constant(self.whole, list(range(self.lanes))), ends)

    def load(self, data: Any, at: Any, some: Any = None, other: float = 0.0) -> Any:
        """The vector that begins at a place, or so many lanes of it, and `other` in the others."""
        place = self._place(data, at)
        if some is not None:
            given = place, self._align, self.first(some), self.number(other)
            return self.call(f"llvm.masked.load.{self.suffix}.p0", self.kind, *given)
        value = self.builder.load(place)
        value.align = self.bits // 8
        return value

    def store(self, value: Any, data: Any, at: Any, some: Any = None) -> None:
        """To the vector that begins at a place, or so many lanes of it."""
        place = self._place(data, at)
        if some is None:
            self.builder.store(value, place).align = self.bits // 8
        else:
            given = value, place, self._align, self.first(some)
            self.call(f"llvm.masked.store.{self.suffix}.p0", self.ir.VoidType(), *given)

    def sum(self, value: Any) -> Any:
        """Of a vector's lanes, in float64."""
        name, nothing = f"llvm.vector.reduce.fadd.{self.suffix}", self.ir.Constant(self.scalar, -0.0)
        total = self.call(name, self.scalar, nothing, value, flags=("reassoc",))
        return total if self.bits == 64 else self.builder.fpext(total, self.ir.DoubleType())

    def loop(self, count: Any, piece: Callable[[Any, Any], None], flush: Callable[[], None] = lambda: None) -> None:
        """Call ``piece(where, None)`` for each vector of so many numbers, ``piece(where, count)`` for what is left of the last,
        and `flush` between some of them and the next, and at the end.
        """
        builder, lanes, step = self.builder, self._size(self.lanes), self._size(_CHUNK)
        vectors, rest = builder.udiv(count, lanes), builder.urem(count, lanes)
        chunks = builder.udiv(builder.add(vectors, self._size(_CHUNK - 1)), step)
        with self.cgutils.for_range(builder, chunks) as outer:
            first = builder.mul(outer.index, step)
            with builder.if_then(builder.icmp_unsigned("!=", first, self._size(0))):
                flush()
            left = builder.sub(vectors, first)
            some = builder.select(builder.icmp_unsigned("<", left, step), left, step)
            with self.cgutils.for_range(builder, some) as inner:
                piece(builder.mul(builder.add(first, inner.index), lanes), None)
        with builder.if_then(builder.icmp_unsigned("!=", rest, self._size(0))):
            piece(builder.mul(vectors, lanes), rest)
        flush()

    def variable(self, value: Any) -> Any:
        """A stack cell, of which LLVM makes a register."""
        return self.cgutils.alloca_once_value(self.builder, value)

    @property
    def _align(self) -> Any:
        return self.ir.Constant(self.ir.IntType(32), self.bits // 8)

    def _size(self, value: int) -> Any:
        return self.ir.Constant(self.word, value)

    def _place(self, data: Any, at: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [at]), self.kind.as_pointer())


Write = Callable[..., tuple[Sequence[Any], Sequence[Any]]]


def over_rows(python: Callable[..., Any], write: Write, outputs: int, inputs: int, sums: int, vectors: int = 1) -> Intrinsic:
    """A function of contiguous rows of one length: first those that are written, then those that are read, then numbers.

    ``write(instructions, *vectors, *numbers)`` gives the vectors for the outputs, and those of which the sums are returned,
    as one float64 or a tuple of them. `vectors` says how many make one piece; more than one where a sum's latency binds.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        emit = Vectors(context, builder, dtype, vectors * machine_lanes() * 32 // dtype.bitwidth)
        rows = [emit.array(kind, value) for kind, value in zip(signature.args, args, strict=True) if hasattr(kind, "dtype")]
        pairs = zip(args[len(rows) :], signature.args[len(rows) :], strict=True)
        numbers = [emit.spread(context.cast(builder, value, kind, dtype)) for value, kind in pairs]
        zero, nothing = emit.number(0.0), emit.ir.Constant(emit.ir.DoubleType(), 0.0)
        parts, totals = [emit.variable(zero) for _ in range(sums)], [emit.variable(nothing) for _ in range(sums)]

        def piece(at: Any, some: Any) -> None:
            made, terms = write(emit, *(emit.load(data, at, some) for data, _ in rows[outputs:]), *numbers)
            for value, (data, _) in zip(made, rows, strict=False):
                emit.store(value, data, at, some)
            for term, part in zip(terms, parts, strict=True):
                kept = term if some is None else builder.select(emit.first(some), term, zero)
                builder.store(builder.fadd(builder.load(part), kept), part)

        def flush() -> None:
            for part, total in zip(parts, totals, strict=True):
                builder.store(builder.fadd(builder.load(total), emit.sum(builder.load(part))), total)
                builder.store(zero, part)

        emit.loop(rows[outputs][1], piece, flush)
        results = [builder.load(total) for total in totals]
        if not results:
            return context.get_dummy_value()
        return results[0] if sums == 1 else context.make_tuple(builder, signature.return_type, results)

    def make() -> Any:
        types = late("numba").types
        result = types.void if not sums else types.float64 if sums == 1 else types.UniTuple(types.float64, sums)

        def typing(context: Any, *given: Any) -> Any:
            _contiguous(*given[: outputs + inputs])
            return result(*given), codegen

        # numba wants to know how many arguments there are
        own = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        typing.__signature__ = inspect.Signature([own, *inspect.signature(python).parameters.values()])  # type: ignore[attr-defined]
        return late("numba.extending").intrinsic(typing)

    return Intrinsic(python, make)


def _contiguous(*kinds: Any) -> None:
    if any(kind.layout != "C" for kind in kinds):
        raise TypeError(f"a loop over rows wants them contiguous, not {', '.join(map(str, kinds))}")


def _largest_compiled() -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (kind,) = signature.args
        emit = Vectors(context, builder, kind.dtype, machine_lanes() * 32 // kind.dtype.bitwidth)
        data, count = emit.array(kind, args[0])
        best = emit.variable(emit.number(-math.inf))

        def piece(at: Any, some: Any) -> None:
            builder.store(emit.larger(emit.load(data, at, some, other=-math.inf), builder.load(best)), best)

        emit.loop(count, piece)
        return emit.call(f"llvm.vector.reduce.fmax.{emit.suffix}", emit.scalar, builder.load(best), flags=("nnan",))

    def typing(context: Any, row: Any) -> Any:
        _contiguous(row)
        return row.dtype(row), codegen

    return late("numba.extending").intrinsic(typing)


#: The largest number of a contiguous row; of a NaN nothing is seen.
largest = Intrinsic(lambda row: np.fmax.reduce(row), _largest_compiled)
