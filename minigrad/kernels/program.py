"""Sequences of micro-kernels over one piece of memory, written down once as a table: nothing is left for a compiler of loops.

What a kernel does with each block of its work often follows from shapes alone: which micro-kernel runs when, and on which
places. Such a sequence is a table of `Step`, which `perform` runs; it takes some ten cycles from one step to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import Intrinsic, interpreted, late
from minigrad.kernels.vector import run

__all__ = ["Step", "Tables", "handles_of", "perform"]

Array = np.ndarray[Any, Any]


class Step(NamedTuple):
    """A call of a micro-kernel: which one, and what `vector.run` is told, as places in memory and in a table of int64."""

    way: int
    to: int
    source: int
    inner: int
    length: int  # what it calls `count`
    rows: int
    weights: int = 0
    to_again: int = 0  # how much further on the result lies when the sequence is run the next time
    source_again: int = 0


class Tables:
    """Small tables one after the other, each kept once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[tuple[int, ...], int] = {}
        self._numbers: list[int] = []

    def place(self, *numbers: int) -> int:
        """Where a table of these numbers lies."""
        if numbers not in self._known:
            self._known[numbers] = len(self._numbers)
            self._numbers.extend(numbers)
        return self._known[numbers]

    def array(self) -> Array:
        """All of them."""
        return np.array(self._numbers, np.int64)


def handles_of(kernels: Sequence[Any]) -> Array:
    """Of micro-kernels the addresses; or themselves, where they are Python."""
    found = np.empty(len(kernels), object if interpreted() else np.int64)
    for i, each in enumerate(kernels):
        found[i] = each.handle
    return found


def _perform_python(ways: Array, steps: Array, time: int, memory: Array, tables: Array) -> None:
    """Each step in turn; `time` says how often the sequence was run before."""
    for row in steps:
        step = Step(*map(int, row))
        to, source = step.to + time * step.to_again, step.source + time * step.source_again
        inner, rows = tables[step.inner :], tables[step.rows :]
        run(ways[step.way], memory[to:], memory, source, inner, step.length, rows, memory[step.weights :])


def _perform_compiled() -> Any:
    """The same as a loop of calls through addresses."""
    ir, cgutils, types = late("llvmlite.ir"), late("numba.core.cgutils"), late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 6).as_pointer()
        arrays = {i: context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 3, 4)}
        ways, steps = arrays[0].data, arrays[1].data
        memory, tables = (builder.ptrtoint(arrays[i].data, word) for i in (3, 4))
        size = context.get_abi_sizeof(context.get_data_type(signature.args[3].dtype))

        def moved(base: Any, elements: Any, bytes_of_one: int) -> Any:
            return builder.add(base, builder.mul(elements, ir.Constant(word, bytes_of_one)))

        count = builder.extract_value(arrays[1].shape, 0)
        with cgutils.for_range(builder, count) as loop:
            row = builder.gep(steps, [builder.mul(loop.index, ir.Constant(word, len(Step._fields)))])
            step = Step(*(builder.load(builder.gep(row, [ir.Constant(word, i)])) for i in range(len(Step._fields))))
            to, source = (
                moved(memory, builder.add(place, builder.mul(args[2], again)), size)
                for place, again in ((step.to, step.to_again), (step.source, step.source_again))
            )
            way = builder.inttoptr(builder.load(builder.gep(ways, [step.way])), kind)
            inner, rows = moved(tables, step.inner, 8), moved(tables, step.rows, 8)
            builder.call(way, [to, source, inner, step.length, rows, moved(memory, step.weights, size)])
        return context.get_dummy_value()

    def typing(context: Any, ways: Any, steps: Any, time: Any, memory: Any, tables: Any) -> Any:
        return types.void(ways, steps, types.intp, memory, tables), codegen

    return late("numba.extending").intrinsic(typing)


#: ``perform(handles_of(kernels), steps, time, memory, tables)``, in kernels and in plain Python; all arrays in row order.
perform = Intrinsic(_perform_python, _perform_compiled)
