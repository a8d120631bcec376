"""Matrices turned round in vectors: what was calculated filter by filter goes pixel by pixel into planes, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, late
from minigrad.kernels.vector import machine_lanes

__all__ = ["turn"]

Array = np.ndarray[Any, Any]


def _turn_python(to: Array, at: int, pitch: int, source: Array, start: int, line: int, rows: int, columns: int) -> None:
    """``to[at + j * pitch + i] = source[start + i * line + j]``, both flat, for so many rows i and columns j."""
    for i in range(rows):
        for j in range(columns):
            to[at + j * pitch + i] = source[start + i * line + j]


def _turn_compiled() -> Any:
    """In squares, the last ones overlapping those before them; where rows or columns are fewer than four, one by one."""
    ir, cgutils, types = late("llvmlite.ir"), late("numba.core.cgutils"), late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        to, source = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 3))
        at, pitch, start, line, rows, columns = (args[i] for i in (1, 2, 4, 5, 6, 7))

        def place(data: Any, offset: Any, lanes: int) -> Any:
            pointer = builder.gep(data, [offset])
            return builder.bitcast(pointer, ir.VectorType(data.type.pointee, lanes).as_pointer()) if lanes > 1 else pointer

        def square(i: Any, j: Any, lanes: int) -> None:
            numbers = [ir.Constant(word, k) for k in range(lanes)]
            vectors = []
            for k in numbers:
                offset = builder.add(builder.add(start, j), builder.mul(builder.add(i, k), line))
                vectors.append(builder.load(place(source, offset, lanes), align=1))
            for k, vector in zip(numbers, _turned(vectors, builder, ir), strict=True):
                offset = builder.add(builder.add(at, i), builder.mul(builder.add(j, k), pitch))
                builder.store(vector, place(to, offset, lanes), align=1)

        end = builder.append_basic_block("turned")
        lanes = machine_lanes() * 32 // signature.args[0].dtype.bitwidth
        while lanes >= 1:
            side = ir.Constant(word, lanes)
            fits = builder.and_(builder.icmp_signed(">=", rows, side), builder.icmp_signed(">=", columns, side))
            with builder.if_then(fits):
                with _steps(builder, cgutils, rows, side) as i, _steps(builder, cgutils, columns, side) as j:
                    square(i, j, lanes)
                builder.branch(end)
            lanes = lanes // 2 if lanes > 4 else 1 if lanes > 1 else 0
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    def typing(context: Any, to: Any, at: Any, pitch: Any, source: Any, start: Any, line: Any, rows: Any, columns: Any) -> Any:
        word = types.intp
        return types.void(to, word, word, source, word, word, word, word), codegen

    return late("numba.extending").intrinsic(typing)


@contextlib.contextmanager
def _steps(builder: Any, cgutils: Any, length: Any, side: Any) -> Iterator[Any]:
    """Where each piece of `side` begins, the last one moved back so that it ends with the rest."""
    count = builder.sdiv(builder.add(length, side.type(side.constant - 1)), side)
    with cgutils.for_range(builder, count) as loop:
        first, last = builder.mul(loop.index, side), builder.sub(length, side)
        yield builder.select(builder.icmp_signed("<", first, last), first, last)


def _turned(vectors: list[Any], builder: Any, ir: Any) -> list[Any]:
    """The columns of a square of rows: squares of 1, 2, 4 ... a side change places across the diagonal."""
    lanes, side = len(vectors), 1
    while side < lanes:
        ways = (
            [k if not k & side else lanes + k - side for k in range(lanes)],
            [k + side if not k & side else lanes + k for k in range(lanes)],
        )
        orders = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), way) for way in ways]
        for i in range(lanes):
            if not i & side:
                pair = vectors[i], vectors[i + side]
                vectors[i], vectors[i + side] = (builder.shuffle_vector(*pair, order) for order in orders)
        side *= 2
    return vectors


#: ``turn(to, at, pitch, source, start, line, rows, columns)``, in kernels and in plain Python.
turn = Intrinsic(_turn_python, _turn_compiled)
