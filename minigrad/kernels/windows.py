"""Rows of pooling windows in vectors: lanes are neighbouring windows, the best so far stays in a register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.rows import Vectors
from minigrad.kernels.vector import machine_lanes

__all__ = ["best_of_row", "spread_row"]

Array = np.ndarray[Any, Any]


def _best_python(
    best: Array, taps: Array, at: int, values: Array, start: int, count: int, step: int, inner: Array, first: int, end: int
) -> None:
    """Each window's largest of the values at ``start + i * step + inner[tap]``, and its tap; all arrays are flat.

    Of a tie the first is taken; NaN wins, the first of several. Taps run from `first` to before `end`.
    """
    for i in range(count):
        begin = start + i * step
        known, which = values[begin + inner[first]], first
        for tap in range(first + 1, end):
            value = values[begin + inner[tap]]
            if value > known or (value != value and known == known):
                known, which = value, tap
        best[at + i], taps[at + i] = known, which


def _spread_python(dx: Array, start: int, g: Array, taps: Array, at: int, count: int, first: int) -> None:
    """``dx[start + 2i]`` and its neighbour: the cotangent of window i where its tap is `first` or the one after, else 0."""
    for i in range(count):
        for j in range(2):
            dx[start + 2 * i + j] = g[at + i] if taps[at + i] == first + j else 0


class _Row:
    """What both write with: a row of windows in vectors, the last one overlapping the one before it."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.ir, self.cgutils = late("llvmlite.ir"), late("numba.core.cgutils")
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.word = self.ir.IntType(64)

    def number(self, value: int) -> Any:
        """A whole number."""
        return self.ir.Constant(self.word, value)

    def data(self, position: int) -> Any:
        """Where an array begins."""
        kind = self.signature.args[position]
        return self.context.make_array(kind)(self.context, self.builder, self.args[position]).data

    def size(self, position: int) -> int:
        """Bytes of an array's element."""
        return int(self.signature.args[position].dtype.bitwidth) // 8

    def vector(self, data: Any, at: Any, lanes: int) -> Any:
        """Neighbouring elements."""
        place = self._place(data, at, lanes)
        value = self.builder.load(place)
        value.align = 1
        return value

    def store(self, value: Any, data: Any, at: Any, lanes: int) -> None:
        """To neighbouring elements."""
        self.builder.store(value, self._place(data, at, lanes)).align = 1

    def _place(self, data: Any, at: Any, lanes: int) -> Any:
        pointer = self.builder.gep(data, [at])
        return pointer if lanes == 1 else self.builder.bitcast(pointer, self.kind(data.type.pointee, lanes).as_pointer())

    def kind(self, scalar: Any, lanes: int) -> Any:
        """The type of so many lanes; of one, the number itself."""
        return scalar if lanes == 1 else self.ir.VectorType(scalar, lanes)

    def spread(self, value: Any, lanes: int) -> Any:
        """A number on all lanes."""
        if lanes == 1:
            return value
        nothing, first = (
            self.ir.Constant(self.kind(value.type, lanes), self.ir.Undefined),
            self.ir.Constant(self.ir.IntType(32), 0),
        )
        return self.chosen(self.builder.insert_element(nothing, value, first), nothing, [0] * lanes)

    def chosen(self, a: Any, b: Any, places: list[int]) -> Any:
        """Lanes of two vectors."""
        order = self.ir.Constant(self.ir.VectorType(self.ir.IntType(32), len(places)), places)
        return self.builder.shuffle_vector(a, b, order)

    def blocks(self, count: Any, least: int, widest: int, piece: Callable[[Any, int], None]) -> None:
        """Call ``piece(first, lanes)`` in a loop over all windows, with as many lanes as the row is long; below `least` one."""
        builder, end = self.builder, self.builder.append_basic_block("row.end")
        lanes = widest
        while lanes >= 1:
            number = self.number(lanes)
            with builder.if_then(builder.icmp_signed(">=", count, number)):
                with self.cgutils.for_range(builder, builder.sdiv(count, number)) as loop:
                    piece(builder.mul(loop.index, number), lanes)
                with builder.if_then(builder.icmp_signed("!=", builder.srem(count, number), self.number(0))):
                    piece(builder.sub(count, number), lanes)
                builder.branch(end)
            lanes = lanes // 2 if lanes > least else 1 if lanes > 1 else 0
        builder.branch(end)
        builder.position_at_end(end)


def _lanes(size: int) -> int:
    return machine_lanes() * 4 // size


def _best_compiled() -> Any:
    types = late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _Row(context, builder, signature, args)
        best, taps, values, inner = (row.data(i) for i in (0, 1, 3, 7))
        at, start, count, step, first_tap, end_tap = (args[i] for i in (2, 4, 5, 6, 8, 9))
        scalar, whole, narrow = best.type.pointee, row.ir.IntType(32), taps.type.pointee

        def windows(first: Any, lanes: int, stride: int) -> None:
            begin = builder.add(start, builder.mul(first, step))

            def load(tap: Any) -> Any:
                place = builder.add(begin, builder.load(builder.gep(inner, [tap])))
                near = row.vector(values, place, lanes)
                if stride == 1 or lanes == 1:
                    return near
                far = row.vector(values, builder.add(place, row.number(lanes - 1)), lanes)  # reads not one value too many
                return row.chosen(near, far, [2 * i if 2 * i < lanes else 2 * i + 1 for i in range(lanes)])

            known, which = (row.cgutils.alloca_once(builder, row.kind(t, lanes)) for t in (scalar, whole))
            builder.store(load(first_tap), known)
            builder.store(row.spread(builder.trunc(first_tap, whole), lanes), which)
            with row.cgutils.for_range(builder, end_tap, start=builder.add(first_tap, row.number(1))) as loop:
                value, old = load(loop.index), builder.load(known)
                # Greater, or NaN where the best is none.
                wins = builder.and_(builder.fcmp_unordered(">", value, old), builder.fcmp_ordered("ord", old, old))
                tap = row.spread(builder.trunc(loop.index, whole), lanes)
                builder.store(builder.select(wins, value, old), known)
                builder.store(builder.select(wins, tap, builder.load(which)), which)
            to = builder.add(at, first)
            row.store(builder.load(known), best, to, lanes)
            tap = builder.load(which)
            row.store(tap if narrow == whole else builder.trunc(tap, row.kind(narrow, lanes)), taps, to, lanes)

        widest = _lanes(row.size(0))
        with builder.if_else(builder.icmp_signed("==", step, row.number(2))) as (twos, others):
            with twos:
                row.blocks(count, 4, widest, lambda first, lanes: windows(first, lanes, 2))
            with others, builder.if_else(builder.icmp_signed("==", step, row.number(1))) as (ones, any_step):
                with ones:
                    row.blocks(count, 4, widest, lambda first, lanes: windows(first, lanes, 1))
                with any_step:
                    row.blocks(count, 1, 1, lambda first, lanes: windows(first, lanes, 1))
        return context.get_dummy_value()

    def typing(
        context: Any,
        best: Any,
        taps: Any,
        at: Any,
        values: Any,
        start: Any,
        count: Any,
        step: Any,
        inner: Any,
        first: Any,
        end: Any,
    ) -> Any:
        word = types.intp
        return types.void(best, taps, word, values, word, word, word, inner, word, word), codegen

    return late("numba.extending").intrinsic(typing)


def _spread_compiled() -> Any:
    types = late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _Row(context, builder, signature, args)
        dx, g, taps = (row.data(i) for i in (0, 2, 3))
        start, at, count, first_tap = (args[i] for i in (1, 4, 5, 6))
        number, tap_number = signature.args[0].dtype, signature.args[3].dtype

        def windows(first: Any, lanes: int, some: Any = None) -> None:
            emit, narrow = Vectors(context, builder, number, lanes), Vectors(context, builder, tap_number, lanes)
            here, to = builder.add(at, first), builder.add(start, builder.mul(first, row.number(2)))
            value, tap = emit.load(g, here, some), narrow.load(taps, here, some, other=0)
            sides: list[Any] = []
            for j in range(2):
                wanted = narrow.spread(builder.trunc(builder.add(first_tap, row.number(j)), narrow.scalar))
                sides.append(builder.select(builder.icmp_signed("==", tap, wanted), value, emit.number(0.0)))
            if lanes == 1:
                emit.store(sides[0], dx, to)
                emit.store(sides[1], dx, builder.add(to, row.number(1)))
                return
            both = row.chosen(sides[0], sides[1], [half for i in range(lanes) for half in (i, lanes + i)])
            twice = some if some is None else builder.mul(some, row.number(2))
            Vectors(context, builder, number, 2 * lanes).store(both, dx, to, twice)

        lanes = _lanes(row.size(0))
        if lanes * row.size(0) == 64:  # AVX-512 masks what a row of 14 leaves: one vector instead of two that overlap
            Vectors(context, builder, number, lanes).loop(count, lambda first, some: windows(first, lanes, some))
        else:
            row.blocks(count, 4, lanes, windows)
        return context.get_dummy_value()

    def typing(context: Any, dx: Any, start: Any, g: Any, taps: Any, at: Any, count: Any, first: Any) -> Any:
        word = types.intp
        return types.void(dx, word, g, taps, word, word, word), codegen

    return late("numba.extending").intrinsic(typing)


#: ``best_of_row(best, taps, at, values, start, count, step, inner, first, end)``, in kernels and in plain Python.
best_of_row = Intrinsic(_best_python, _best_compiled)
#: ``spread_row(dx, start, g, taps, at, count, first)``, likewise.
spread_row = Intrinsic(_spread_python, _spread_compiled)
