"""The micro-kernels from which every convolution is made, described once and emitted for the machine's own vectors.

Each is a sum of outer products: a few values `left` times a few vectors `right`, added into accumulators that stay in
registers while the sum runs. They differ in what lies along a vector's lanes:

    Block   filters   tile[r, c, :] += sum over k of source[start + inner[k] + rows[r] + c * step] * weights[k, :]
    Strip   pixels    tile[rows[f] + :] = sum over k of weights[k, f] * source[start + inner[k] + :]
    Dots    pixels    tile[f, t, :] += sum over k of weights[inner[2k + 1] + rows[taps + f] + :]
                                                     * source[start + inner[2k] + rows[t] + :]

Padding, stride, dilation and groups are all in the offsets, so forward, input and weight gradient are the same arithmetic
over other tables. `python` is each loop nest in plain Python; `handle` is the same, compiled for one shape and one width of
vectors (16, 8 or 4 lanes of float32, half as many of float64).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from minigrad.errors import SettingError
from minigrad.jit import Intrinsic, interpreted, late
from minigrad.kernels.micro import machine_code

__all__ = ["Block", "Dots", "Emitter", "Strip", "copy_row", "machine_lanes", "registers", "run"]

Array = np.ndarray[Any, Any]


@functools.cache
def machine_lanes() -> int:
    """How many float32 a vector register holds: 16 (AVX-512), 8 (AVX) or 4; ``MINIGRAD_LANES`` overrides it."""
    wanted = os.environ.get("MINIGRAD_LANES")
    if wanted:
        if wanted not in ("4", "8", "16"):
            raise SettingError(f"MINIGRAD_LANES={wanted}: 4, 8 or 16 expected")
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
    adds: bool = True  # to what the tile holds; or the sum takes its place

    @property
    def width(self) -> int:
        """The number of weights against which each scalar is multiplied."""
        return self.lanes * self.vectors

    @property
    def handle(self) -> Any:
        """What kernels take: the address of the compiled loop, or the block itself where kernels are plain Python."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled block stands for."""
        flat, factors = source.reshape(-1), weights.reshape(-1)[: count * self.width].reshape(count, self.width)
        size = self.rows * self.columns * self.width
        held = tile.reshape(-1)[:size].reshape(self.rows, self.columns, self.width)
        sums = np.zeros_like(held)
        for k in range(count):
            for r in range(self.rows):
                for c in range(self.columns):
                    sums[r, c] += flat[start + inner[k] + rows[r] + c * self.step] * factors[k]
        held[...] = held + sums if self.adds else sums

    def sides(self, emit: Emitter) -> tuple[list[Any], Callable[[Any], Any]]:
        """Where the accumulators lie, and what is loaded for each k: one number from each pixel, the weights' vectors."""
        bases = [emit.moved(emit.source, emit.entry(emit.rows, r)) for r in range(self.rows)]

        def load(k: Any) -> tuple[Iterator[Any], list[Any]]:
            offset, line = emit.entry(emit.inner, k), emit.moved(emit.weights, emit.times(k, self.width))
            right = [emit.vector(line, v * self.lanes) for v in range(self.vectors)]
            here = [emit.moved(base, offset) for base in bases]
            return (emit.spread(base, c * self.step) for base in here for c in range(self.columns)), right

        places = range(self.rows * self.columns * self.vectors)
        return [emit.moved(emit.tile, emit.number(at * self.lanes)) for at in places], load


class Strip(NamedTuple):
    """The shape of a piece of several output planes: so many filters, and so many vectors of neighbouring pixels."""

    filters: int
    vectors: int
    lanes: int
    dtype: str

    @property
    def adds(self) -> bool:
        """Whether it adds to what the tile holds, or begins at 0."""
        return False

    @property
    def width(self) -> int:
        """The number of pixels."""
        return self.lanes * self.vectors

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled strip stands for."""
        flat, planes = source.reshape(-1), tile.reshape(-1)
        factors = weights.reshape(-1)[: count * self.filters].reshape(-1, self.filters)
        for f in range(self.filters):
            planes[rows[f] : rows[f] + self.width] = 0
            for k in range(count):
                at = start + inner[k]
                planes[rows[f] : rows[f] + self.width] += factors[k, f] * flat[at : at + self.width]

    def sides(self, emit: Emitter) -> tuple[list[Any], Callable[[Any], Any]]:
        """For each k: one weight of each filter, the pixels' vectors."""

        def load(k: Any) -> tuple[Iterator[Any], list[Any]]:
            here, line = emit.moved(emit.source, emit.entry(emit.inner, k)), emit.times(k, self.filters)
            factors = emit.moved(emit.weights, line)
            right = [emit.vector(here, v * self.lanes) for v in range(self.vectors)]
            return (emit.spread(factors, f) for f in range(self.filters)), right

        lines = [emit.moved(emit.tile, emit.entry(emit.rows, f)) for f in range(self.filters)]
        return [emit.moved(line, emit.number(v * self.lanes)) for line in lines for v in range(self.vectors)], load


class Dots(NamedTuple):
    """A table of inner products, lane by lane: so many planes of one array with so many shifts of another."""

    filters: int
    taps: int
    lanes: int
    dtype: str

    @property
    def adds(self) -> bool:
        """Whether it adds to what the tile holds, or begins at 0."""
        return True

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled products stand for."""
        flat, other = source.reshape(-1), weights.reshape(-1)
        sums = tile.reshape(self.filters, self.taps, self.lanes)
        for k in range(count):
            for f in range(self.filters):
                for t in range(self.taps):
                    x, g = start + inner[2 * k] + rows[t], inner[2 * k + 1] + rows[self.taps + f]
                    sums[f, t] += other[g : g + self.lanes] * flat[x : x + self.lanes]

    def sides(self, emit: Emitter) -> tuple[list[Any], Callable[[Any], Any]]:
        """For each k: a vector of each filter's plane, a vector for each tap."""
        taps = [emit.moved(emit.source, emit.entry(emit.rows, t)) for t in range(self.taps)]
        planes = [emit.moved(emit.weights, emit.entry(emit.rows, self.taps + f)) for f in range(self.filters)]

        def load(k: Any) -> tuple[Iterator[Any], list[Any]]:
            twice = emit.times(k, 2)
            x, g = emit.entry(emit.inner, twice), emit.entry(emit.inner, twice, 1)
            right = [emit.vector(emit.moved(tap, x), 0) for tap in taps]
            return (emit.vector(emit.moved(plane, g), 0) for plane in planes), right

        places = range(self.filters * self.taps)
        return [emit.moved(emit.tile, emit.number(at * self.lanes)) for at in places], load


class _Shape(Protocol):
    """What is known of every micro-kernel."""

    @property
    def lanes(self) -> int:
        """The length of its vectors."""

    @property
    def dtype(self) -> str:
        """What they hold."""


class Emitter:
    """Writes loads and multiply-adds on vectors as LLVM instructions; addresses are whole numbers of bytes."""

    def __init__(self, shape: _Shape, builder: Any, args: Any) -> None:
        """Remember the arguments: addresses of tile, source, inner, the count, addresses of rows and weights."""
        self.ir, self.cgutils, self.builder = late("llvmlite.ir"), late("numba.core.cgutils"), builder
        self.tile, self.source, self.inner, self.count, self.rows, self.weights = args
        self.size, self.lanes = np.dtype(shape.dtype).itemsize, shape.lanes
        self.scalar = self.ir.FloatType() if shape.dtype == "float32" else self.ir.DoubleType()
        self.kind, self.word = self.ir.VectorType(self.scalar, shape.lanes), self.ir.IntType(64)

    def number(self, value: int) -> Any:
        """A constant."""
        return self.ir.Constant(self.word, value)

    def times(self, value: Any, factor: int) -> Any:
        """A product with a constant."""
        return self.builder.mul(value, self.number(factor))

    def moved(self, address: Any, elements: Any) -> Any:
        """So many elements further on."""
        return self.builder.add(address, self.times(elements, self.size))

    def entry(self, table: Any, at: Any, plus: int = 0) -> Any:
        """An entry of a table of int64."""
        at = self.number(at) if isinstance(at, int) else at
        address = self.builder.add(table, self.builder.add(self.times(at, 8), self.number(8 * plus)))
        return self.load(address, self.word, 8)

    def vector(self, address: Any, at: int) -> Any:
        """The vector that begins `at` elements after an address."""
        return self.load(self.builder.add(address, self.number(at * self.size)), self.kind, self.size)

    def spread(self, address: Any, at: int) -> Any:
        """The number `at` elements after an address, on all lanes."""
        value = self.load(self.builder.add(address, self.number(at * self.size)), self.scalar, self.size)
        nothing, first = self.ir.Constant(self.kind, self.ir.Undefined), self.ir.Constant(self.ir.IntType(32), 0)
        zeros = self.ir.Constant(self.ir.VectorType(self.ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, value, first), nothing, zeros)

    def shuffle(self, one: Any, other: Any, places: list[int]) -> Any:
        """A vector of the lanes of two, those of the other counted on."""
        kind = self.ir.VectorType(self.ir.IntType(32), len(places))
        return self.builder.shuffle_vector(one, other, self.ir.Constant(kind, places))

    def keep(self, vector: Any, address: Any) -> None:
        """Store a vector."""
        self.builder.store(vector, self.builder.inttoptr(address, vector.type.as_pointer())).align = self.size

    def fma(self) -> Any:
        """The multiply-add of vectors."""
        name, kind = f"llvm.fma.v{self.lanes}f{8 * self.size}", self.ir.FunctionType(self.kind, [self.kind] * 3)
        return self.cgutils.get_or_insert_function(self.builder.module, kind, name)

    def load(self, address: Any, kind: Any, align: int) -> Any:
        """What lies at an address."""
        value = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        value.align = align
        return value

    def accumulate(self, number: int, count: Any, products: Callable[[Any], Iterable[tuple[int, Any, Any]]]) -> list[Any]:
        """So many sums: for each k before `count`, ``products(k)`` gives pairs of factors and to which sum they belong."""
        builder, zero, fma = self.builder, self.ir.Constant(self.kind, [0.0] * self.lanes), self.fma()
        # One stack cell for each accumulator: LLVM makes registers of them.
        cells = [self.cgutils.alloca_once(builder, self.kind) for _ in range(number)]
        for total in cells:
            builder.store(zero, total)
        with self.cgutils.for_range(builder, count) as inside:
            for at, value, factor in products(inside.index):
                builder.store(builder.call(fma, [value, factor, builder.load(cells[at])]), cells[at])
        return [builder.load(total) for total in cells]

    def loop(
        self, places: list[Any], load: Callable[[Any], Any], adds: bool, cell: Callable[[int, int], int] | None = None
    ) -> None:
        """The sum over k, which is then added to what lies at `places`, or takes its place.

        `cell` says to which of them the product of a left and a right value belongs, unless each has its own.
        """

        def products(k: Any) -> Iterator[tuple[int, Any, Any]]:
            left, right = load(k)
            for a, value in enumerate(left):
                for b, factor in enumerate(right):
                    yield cell(a, b) if cell else a * len(right) + b, value, factor

        for place, total in zip(places, self.accumulate(len(places), self.count, products), strict=True):
            self.keep(self.builder.fadd(self.load(place, self.kind, self.size), total) if adds else total, place)


@functools.lru_cache(maxsize=None, typed=True)  # a Strip and a Dots of the same numbers are equal as tuples
def _compiled(shape: Block | Strip | Dots) -> int:
    """Compile a micro-kernel; its address stays good for the life of the process."""

    def write(builder: Any, args: Any) -> None:
        emitter = Emitter(shape, builder, args)
        emitter.loop(*shape.sides(emitter), adds=shape.adds)

    return machine_code(str(shape), 6, write)


def _run_python(
    block: Block | Strip | Dots, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array
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


def _copy_python(to: Array, at: int, source: Array, start: int, count: int, plus: float) -> None:
    """``to[at:][:count] = source[start:][:count] + plus``, both flat."""
    to[at : at + count] = source[start : start + count] + plus


def _copy_compiled() -> Any:
    """The same in vectors, the last one overlapping the one before: rows of images are too short for a loop with remainders."""
    ir, cgutils, types = late("llvmlite.ir"), late("numba.core.cgutils"), late("numba").types
    widest = machine_lanes()

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        scalar, size, word = context.get_data_type(dtype), dtype.bitwidth // 8, ir.IntType(64)

        def address(array: int, index: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.add(builder.ptrtoint(data, word), builder.mul(args[index], ir.Constant(word, size)))

        to, source, count = address(0, 1), address(2, 3), args[4]
        plus = context.cast(builder, args[5], signature.args[5], dtype)

        def move(at: Any, lanes: int) -> None:
            kind = ir.VectorType(scalar, lanes) if lanes > 1 else scalar
            offset = builder.mul(at, ir.Constant(word, size))
            value = builder.load(builder.inttoptr(builder.add(source, offset), kind.as_pointer()))
            value.align = size
            added = plus
            if lanes > 1:
                nothing, none = ir.Constant(kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                added = builder.shuffle_vector(builder.insert_element(nothing, plus, none), nothing, zeros)
            target = builder.inttoptr(builder.add(to, offset), kind.as_pointer())
            builder.store(builder.fadd(value, added), target).align = size

        end = builder.append_basic_block("copied")
        lanes = widest * 4 // size
        while lanes >= 1:
            number = ir.Constant(word, lanes)
            with builder.if_then(builder.icmp_signed(">=", count, number)):
                with cgutils.for_range(builder, builder.sdiv(count, number)) as loop:
                    move(builder.mul(loop.index, number), lanes)
                with builder.if_then(builder.icmp_signed("!=", builder.srem(count, number), ir.Constant(word, 0))):
                    move(builder.sub(count, number), lanes)
                builder.branch(end)
            lanes //= 2
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    def typing(context: Any, to: Any, at: Any, source: Any, start: Any, count: Any, plus: Any) -> Any:
        return types.void(to, types.intp, source, types.intp, types.intp, plus), codegen

    return late("numba.extending").intrinsic(typing)


#: ``copy_row(to, at, source, start, count, plus)``: a piece of a flat array into another, a number added.
copy_row = Intrinsic(_copy_python, _copy_compiled)
