"""The micro-kernel from which every convolution is made, described once and emitted for the machine's own vectors.

    tile[r, c, :] += sum over k of source[start + inner[k] + rows[r] + c * step] * weights[k, :]

A tile of accumulators (`rows` x `columns` scalars, each against a few vectors) stays in registers while `k` runs. Padding,
stride, dilation and groups are all in the offsets, so forward, input and weight gradient are the same arithmetic over
other tables. `Block.python` is that loop nest in plain Python; `Block.address` is the same, compiled for one tile shape
and one width of vectors (16, 8 or 4 lanes of float32, half as many of float64). Compiling one takes some 40 ms.
"""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import Intrinsic, interpreted, late

__all__ = ["Block", "machine_lanes", "registers", "run"]

Array = np.ndarray[Any, Any]


@functools.cache
def machine_lanes() -> int:
    """How many float32 a vector register holds: 16 (AVX-512), 8 (AVX) or 4; ``MINIGRAD_LANES`` overrides it."""
    wanted = os.environ.get("MINIGRAD_LANES")
    if wanted:
        return int(wanted)
    features = late("llvmlite.binding").get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


def registers() -> int:
    """How many vector registers there are: 32 with AVX-512 (and NEON), else 16."""
    return 16 if machine_lanes() == 8 else 32


class Block(NamedTuple):
    """A tile's shape: rows x columns of scalars, a step between columns, against `vectors` vectors of `lanes`."""

    rows: int
    columns: int
    step: int
    lanes: int
    vectors: int
    dtype: str

    @property
    def width(self) -> int:
        """The number of weights against which each scalar is multiplied."""
        return self.lanes * self.vectors

    @property
    def handle(self) -> Any:
        """What kernels take: the address of the compiled block, or the block itself where kernels are plain Python."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled block stands for."""
        flat, sums = source.reshape(-1), tile.reshape(self.rows, self.columns, self.width)
        for k in range(count):
            for r in range(self.rows):
                for c in range(self.columns):
                    sums[r, c] += flat[start + inner[k] + rows[r] + c * self.step] * weights[k]


@functools.cache
def _compiled(block: Block) -> int:
    """Compile a block; its address stays good for the life of the process."""
    numba, types = late("numba"), late("numba").types
    emit = _emitter(block)
    signature = types.void(*[types.intp] * 6)

    def function(tile, source, inner, count, rows, weights):  # type: ignore[no-untyped-def]
        emit(tile, source, inner, count, rows, weights)

    compiled = numba.cfunc(signature)(function)
    _keep.append(compiled)
    return int(compiled.address)


_keep: list[Any] = []


def _emitter(block: Block) -> Any:
    """A numba intrinsic over addresses that writes the loop nest as LLVM instructions on vectors."""
    ir, cgutils, types = late("llvmlite.ir"), late("numba.core.cgutils"), late("numba").types
    scalar = ir.FloatType() if block.dtype == "float32" else ir.DoubleType()
    size = np.dtype(block.dtype).itemsize
    vector, word = ir.VectorType(scalar, block.lanes), ir.IntType(64)

    def number(value: int) -> Any:
        return ir.Constant(word, value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tile, source, inner, count, rows, weights = args
        _wide_vectors(builder.function)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{block.lanes}f{8 * size}"
        )

        def load(address: Any, kind: Any, align: int = size) -> Any:
            value = builder.load(builder.inttoptr(address, kind.as_pointer()))
            value.align = align
            return value

        def spread(value: Any) -> Any:
            nothing = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), block.lanes), [0] * block.lanes)
            return builder.shuffle_vector(first, nothing, zeros)

        def place(at: int) -> Any:
            return builder.add(tile, number(at * block.lanes * size))

        # One stack cell for each accumulator: LLVM makes registers of them.
        cells = [cgutils.alloca_once(builder, vector) for _ in range(block.rows * block.columns * block.vectors)]
        for at, cell in enumerate(cells):
            builder.store(load(place(at), vector), cell)
        bases = [
            builder.add(source, builder.mul(load(builder.add(rows, number(8 * r)), word, 8), number(size)))
            for r in range(block.rows)
        ]
        with cgutils.for_range(builder, count) as loop:
            offset = load(builder.add(inner, builder.mul(loop.index, number(8))), word, 8)
            offset = builder.mul(offset, number(size))
            line = builder.add(weights, builder.mul(loop.index, number(block.width * size)))
            factors = [load(builder.add(line, number(v * block.lanes * size)), vector) for v in range(block.vectors)]
            left = iter(cells)
            for base in bases:
                here = builder.add(base, offset)
                for c in range(block.columns):
                    value = spread(load(builder.add(here, number(c * block.step * size)), scalar))
                    for factor in factors:
                        cell = next(left)
                        builder.store(builder.call(multiply_add, [value, factor, builder.load(cell)]), cell)
        for at, cell in enumerate(cells):
            builder.store(builder.load(cell), builder.inttoptr(place(at), vector.as_pointer())).align = size
        return context.get_dummy_value()

    def typing(context: Any, tile: Any, source: Any, inner: Any, count: Any, rows: Any, weights: Any) -> Any:
        return types.void(tile, source, inner, count, rows, weights), codegen

    return late("numba.extending").intrinsic(typing)


def _wide_vectors(function: Any) -> None:
    """LLVM splits 512-bit vectors in two on many machines unless a function asks for them whole."""
    wish = '"prefer-vector-width"="512"'
    function.attributes._known = function.attributes._known | {wish}  # llvmlite lists only attributes without a value
    function.attributes.add(wish)


def _run_python(
    block: Block, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array
) -> None:
    """Run a block on arrays."""
    block.python(tile, source, start, inner, count, rows, weights)


def _run_compiled() -> Any:
    """The same as a numba intrinsic: a call through the block's address."""
    ir, types = late("llvmlite.ir"), late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)

        def address(position: int) -> Any:
            array = context.make_array(signature.args[position])(context, builder, args[position])
            return builder.ptrtoint(array.data, word)

        size = context.get_abi_sizeof(context.get_data_type(signature.args[2].dtype))
        begin = builder.add(address(2), builder.mul(args[3], ir.Constant(word, size)))
        kind = ir.FunctionType(ir.VoidType(), [word] * 6)
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [address(1), begin, address(4), args[5], address(6), address(7)])
        return context.get_dummy_value()

    def typing(
        context: Any, block: Any, tile: Any, source: Any, start: Any, inner: Any, count: Any, rows: Any, weights: Any
    ) -> Any:
        word = types.intp
        return types.void(word, tile, source, word, inner, word, rows, weights), codegen

    return late("numba.extending").intrinsic(typing)


#: ``run(block.handle, tile, source, start, inner, count, rows, weights)``, in kernels and in plain Python.
run = Intrinsic(_run_python, _run_compiled)
