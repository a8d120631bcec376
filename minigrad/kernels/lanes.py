"""Micro-kernels that spread numbers over the places they came from, and that bring arrays into a vector's lanes and back.

    Spread    tile[j + s * dilation, :] += sum over k of weights[k, s, :] * source[start + inner[k] + j]
    Scatter   tile[j + s * dilation, :] += sum over k of weights[k, s] * source[start + inner[k] + j * lanes + :]
    Turn      tile[rows[k, j] + i] = source[start + inner[k, i] + j] + weights[k, i]         (i, j < lanes; each k apart)
    Transpose tile[c, r] = source[start + r, c]      for `count` rows and inner[2] columns; inner: how far apart source's rows
                                                     lie, how far those of the tile, and the number of columns
    Fold      tile[i] = sum over the lanes of source[start + i * lanes + :]

`Scatter` and `Spread` put numbers where a row of a window reaches from them, and multiply nothing with a border: lanes are
images for the one, channels for the other. `Turn` brings images into lanes and back, `Transpose` turns a matrix, `Fold` ends
a sum that was taken lane by lane. They are called as `vector.run(shape.handle, ...)`; what they don't need of its arguments is
not looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import interpreted
from minigrad.kernels.micro import machine_code
from minigrad.kernels.vector import Emitter

__all__ = ["Fold", "Scatter", "Spread", "Transpose", "Turn"]

Array = np.ndarray[Any, Any]


class Scatter(NamedTuple):
    """So many neighbouring vectors, each times the weights of so many taps of a row, `dilation` vectors apart."""

    columns: int
    taps: int
    dilation: int
    lanes: int
    dtype: str

    @property
    def places(self) -> int:
        """The number of vectors in the tile."""
        return self.columns + (self.taps - 1) * self.dilation

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled one stands for."""
        flat, sums, factors = source.reshape(-1), tile.reshape(-1), weights.reshape(-1)
        length = self.columns * self.lanes
        for k in range(count):
            for s in range(self.taps):
                to, at = s * self.dilation * self.lanes, start + inner[k]
                sums[to : to + length] += factors[k * self.taps + s] * flat[at : at + length]

    def write(self, emit: Emitter) -> None:
        """For each k: one vector after the other, the weights of all taps."""

        def load(k: Any) -> tuple[Iterator[Any], list[Any]]:
            here, line = emit.moved(emit.source, emit.entry(emit.inner, k)), emit.times(k, self.taps)
            factors = emit.moved(emit.weights, line)
            right = [emit.spread(factors, s) for s in range(self.taps)]
            return (emit.vector(here, j * self.lanes) for j in range(self.columns)), right

        places = [emit.moved(emit.tile, emit.number(at * self.lanes)) for at in range(self.places)]
        emit.loop(places, load, adds=True, cell=lambda j, s: j + s * self.dilation)


class Spread(NamedTuple):
    """So many neighbouring numbers, each times the vectors of so many taps of a row, `dilation` vectors apart."""

    columns: int
    taps: int
    dilation: int
    lanes: int
    dtype: str

    @property
    def places(self) -> int:
        """The number of vectors in the tile."""
        return self.columns + (self.taps - 1) * self.dilation

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled one stands for."""
        flat, sums = source.reshape(-1), tile.reshape(-1)[: self.places * self.lanes].reshape(-1, self.lanes)
        factors = weights.reshape(-1)[: count * self.taps * self.lanes].reshape(-1, self.taps, self.lanes)
        for k in range(count):
            for j in range(self.columns):
                sums[j : self.places - self.columns + j + 1 : self.dilation] += factors[k] * flat[start + inner[k] + j]

    def write(self, emit: Emitter) -> None:
        """For each k: one number after the other, the vectors of all taps."""

        def load(k: Any) -> tuple[Iterator[Any], list[Any]]:
            here, line = emit.moved(emit.source, emit.entry(emit.inner, k)), emit.times(k, self.taps * self.lanes)
            factors = emit.moved(emit.weights, line)
            right = [emit.vector(factors, s * self.lanes) for s in range(self.taps)]
            return (emit.spread(here, j) for j in range(self.columns)), right

        places = [emit.moved(emit.tile, emit.number(at * self.lanes)) for at in range(self.places)]
        emit.loop(places, load, adds=True, cell=lambda j, s: j + s * self.dilation)


class Turn(NamedTuple):
    """Squares of lanes x lanes numbers, turned round; with `plus`, numbers are added to what comes out."""

    plus: bool
    lanes: int
    dtype: str

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled one stands for."""
        flat, to, n = source.reshape(-1), tile.reshape(-1), self.lanes
        for k in range(count):
            square = np.stack([flat[start + at : start + at + n] for at in inner.reshape(-1)[k * n : (k + 1) * n]])
            for column, at in zip(square.T, rows.reshape(-1)[k * n : (k + 1) * n], strict=True):
                to[at : at + n] = column + weights.reshape(-1)[k * n : (k + 1) * n] if self.plus else column

    def write(self, emit: Emitter) -> None:
        """Square by square."""
        n = self.lanes
        with emit.cgutils.for_range(emit.builder, emit.count) as inside:
            first = emit.times(inside.index, n)
            vectors = [emit.vector(emit.moved(emit.source, emit.entry(emit.inner, first, i)), 0) for i in range(n)]
            vectors = _turned(emit, vectors)
            if self.plus:
                plus = emit.vector(emit.moved(emit.weights, first), 0)
                vectors = [emit.builder.fadd(vector, plus) for vector in vectors]
            for j, vector in enumerate(vectors):
                emit.keep(vector, emit.moved(emit.tile, emit.entry(emit.rows, first, j)))


class Transpose(NamedTuple):
    """A matrix turned, by squares as wide as a vector; those at the end overlap the ones before, or are smaller."""

    lanes: int
    dtype: str

    @property
    def handle(self) -> Any:
        """As a `vector.Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, to: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """One index for another."""
        r, c = np.ogrid[:count, : inner[2]]
        to.reshape(-1)[c * inner[1] + r] = source.reshape(-1)[start + r * inner[0] + c]

    def write(self, emit: Emitter) -> None:
        """The largest squares that fit, in two loops."""
        b = emit.builder
        from_step, to_step, columns = (emit.entry(emit.inner, i) for i in range(3))
        least = b.select(b.icmp_signed("<", emit.count, columns), emit.count, columns)
        done = b.append_basic_block("turned")
        size = self.lanes
        while size >= 1:
            with b.if_then(b.icmp_signed(">=", least, emit.number(size))):
                with emit.cgutils.for_range(b, _squares(emit, emit.count, size)) as down:
                    r = _clipped(emit, down.index, size, emit.count)
                    with emit.cgutils.for_range(b, _squares(emit, columns, size)) as along:
                        c = _clipped(emit, along.index, size, columns)
                        at = emit.moved(emit.source, b.add(b.mul(r, from_step), c))
                        to = emit.moved(emit.tile, b.add(b.mul(c, to_step), r))
                        _turn(emit, to, to_step, at, from_step, size)
                b.branch(done)
            size //= 2
        b.branch(done)
        b.position_at_end(done)


def _squares(emit: Emitter, length: Any, size: int) -> Any:
    """How many squares cover a length."""
    return emit.builder.udiv(emit.builder.add(length, emit.number(size - 1)), emit.number(size))


def _clipped(emit: Emitter, index: Any, size: int, length: Any) -> Any:
    """Where a square begins, so that it ends within the length."""
    b, last = emit.builder, emit.builder.sub(length, emit.number(size))
    start = emit.times(index, size)
    return b.select(b.icmp_signed("<", start, last), start, last)


def _turn(emit: Emitter, to: Any, to_step: Any, source: Any, from_step: Any, size: int) -> None:
    """One square."""
    b, kind = emit.builder, emit.ir.VectorType(emit.scalar, size)
    lines = [emit.load(emit.moved(source, b.mul(emit.number(i), from_step)), kind, emit.size) for i in range(size)]
    for i, line in enumerate(_turned(emit, lines)):
        emit.keep(line, emit.moved(to, b.mul(emit.number(i), to_step)))


def _turned(emit: Emitter, vectors: list[Any]) -> list[Any]:
    """A square of numbers turned round: vectors exchange halves, then quarters of these, and so on."""
    for distance in _halves(len(vectors)):
        vectors = _exchanged(emit, vectors, distance)
    return vectors


class Fold(NamedTuple):
    """The lanes of vectors summed, as many vectors at once as there are lanes; `count` says how many times."""

    lanes: int
    dtype: str

    @property
    def handle(self) -> Any:
        """As a `Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, tile: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The loop nest that the compiled one stands for."""
        numbers = source.reshape(-1)[start : start + count * self.lanes**2]
        tile.reshape(-1)[: count * self.lanes] = numbers.reshape(-1, self.lanes).sum(axis=1)

    def write(self, emit: Emitter) -> None:
        """As many are turned round, but two become one in each round: their pieces are added up."""
        n = self.lanes
        with emit.cgutils.for_range(emit.builder, emit.count) as inside:
            start = emit.moved(emit.source, emit.times(inside.index, n * n))
            vectors = [emit.vector(start, i * n) for i in range(n)]
            for distance in _halves(n):
                pairs = _exchanged(emit, vectors, distance)
                vectors = [emit.builder.fadd(pairs[i], pairs[i + distance]) for i in range(distance)]
            emit.keep(vectors[0], emit.moved(emit.tile, emit.times(inside.index, n)))


def _halves(lanes: int) -> list[int]:
    return [lanes >> shift for shift in range(1, lanes.bit_length())]


def _exchanged(emit: Emitter, vectors: list[Any], distance: int) -> list[Any]:
    """Of vectors `distance` apart, what lies in the one's odd pieces of that length and in the other's even ones, exchanged."""
    n, turned = vectors[0].type.count, list(vectors)
    for i, one in enumerate(vectors):
        if not i & distance and i + distance < len(vectors):
            other = vectors[i + distance]
            turned[i] = emit.shuffle(one, other, [k - distance + n if k & distance else k for k in range(n)])
            turned[i + distance] = emit.shuffle(one, other, [k + n if k & distance else k + distance for k in range(n)])
    return turned


@functools.lru_cache(maxsize=None, typed=True)
def _compiled(shape: Scatter | Spread | Turn | Transpose | Fold) -> int:
    """The address of a micro-kernel."""
    write: Callable[[Any, Any], None] = lambda builder, args: shape.write(Emitter(shape, builder, args))  # noqa: E731
    return machine_code(str(shape), 6, write)
