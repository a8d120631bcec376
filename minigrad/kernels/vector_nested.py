"""The micro-kernels that Winograd's convolutions need around their sums of products.

All are run as `vector.run(kernel.handle, to, source, start, inner, count, rows, weights)`, with other meanings for the tables:

    Nested      to[p, q, :] = down @ source[:, :, :] @ across^T     for `count` vectors that lie side by side
                inner: how far apart source's rows, columns and vectors lie; rows: the same for `to`; weights: what is added
    Mixing      to[f, j, :] = sum over q of across[j, q] * sum over c of weights[q, c, f] * source[c, q, :]
                for `count` blocks of filters, which begin at `rows`; inner: the number of channels, how far apart filters lie
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import interpreted
from minigrad.kernels.micro import machine_code
from minigrad.kernels.vector import Emitter
from minigrad.kernels.winograd_matrices import Matrix, apply

__all__ = ["Mixing", "Nested"]

Array = np.ndarray[Any, Any]


class Nested(NamedTuple):
    """A linear map of small tables of vectors: one matrix for the columns, one for the rows."""

    down: Matrix
    across: Matrix
    lanes: int
    dtype: str
    shifted: bool = False  # whether `weights` are added: a vector for each vector of the result

    @property
    def handle(self) -> Any:
        """As a `vector.Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, to: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """The map as two matrix products."""
        down, across = _numbers(self.down), _numbers(self.across)
        lanes = np.arange(count)[:, None] * inner[2] + np.arange(self.lanes)
        y, x = np.ogrid[: down.shape[1], : across.shape[1]]
        table = source.reshape(-1)[start + (y * inner[0] + x * inner[1])[..., None, None] + lanes]
        found = np.einsum("pi,qj,ijvl->pqvl", down, across, table, optimize=True)
        if self.shifted:
            found += weights.reshape(-1)[np.arange(count * self.lanes)].reshape(count, self.lanes)
        p, q = np.ogrid[: len(down), : len(across)]
        lanes = np.arange(count)[:, None] * rows[2] + np.arange(self.lanes)
        to.reshape(-1)[(p * rows[0] + q * rows[1])[..., None, None] + lanes] = found

    def write(self, emit: Emitter) -> None:
        """The map as additions of vectors (and products where a coefficient isn't 1)."""
        b, total = emit.builder, functools.partial(_total, emit)

        def bytes_of(table: Any, at: int) -> Any:
            return emit.times(emit.entry(table, at), emit.size)

        strides, steps = [bytes_of(emit.inner, i) for i in range(3)], [bytes_of(emit.rows, i) for i in range(3)]
        with emit.cgutils.for_range(b, emit.count) as loop:
            source = b.add(emit.source, b.mul(loop.index, strides[2]))
            to = b.add(emit.tile, b.mul(loop.index, steps[2]))
            columns = []
            for _ in self.across[0]:
                line, values = source, []
                for _ in self.down[0]:
                    values.append(emit.vector(line, 0))
                    line = b.add(line, strides[0])
                columns.append(apply(self.down, values, total))
                source = b.add(source, strides[1])
            shift = emit.vector(emit.moved(emit.weights, emit.times(loop.index, self.lanes)), 0) if self.shifted else None
            for row in zip(*columns, strict=True):
                place = to
                for value in apply(self.across, row, total):
                    emit.keep(value if shift is None else b.fadd(value, shift), place)
                    place = b.add(place, steps[1])
                to = b.add(to, steps[0])


@functools.cache
def _numbers(matrix: Matrix) -> Array:
    return np.array(matrix, float)


def _total(emit: Emitter, terms: list[tuple[Fraction, Any]]) -> Any:
    """A sum of vectors times numbers; begun with one that is taken once, if there is one."""
    b = emit.builder
    if not terms:
        return emit.ir.Constant(emit.kind, [0.0] * emit.lanes)
    terms = sorted(terms, key=lambda term: term[0] != 1)
    (factor, value), *others = terms
    sum_ = value if factor == 1 else b.fmul(value, _constant(emit, factor))
    for factor, value in others:
        if abs(factor) == 1:
            sum_ = b.fadd(sum_, value) if factor > 0 else b.fsub(sum_, value)
        else:
            sum_ = b.call(emit.fma(), [value, _constant(emit, factor), sum_])
    return sum_


def _constant(emit: Emitter, value: Fraction) -> Any:
    return emit.ir.Constant(emit.kind, [float(np.dtype(f"f{emit.size}").type(value))] * emit.lanes)


class Mixing(NamedTuple):
    """A row of a tile's points, summed over channels, and one matrix for what becomes of them: some filters at a time."""

    across: Matrix
    filters: int
    channel: int  # from the weights of one channel to those of the next, at least the number of filters
    point: int  # and from one point to the next
    lanes: int
    dtype: str

    @property
    def handle(self) -> Any:
        """As a `vector.Block`'s."""
        return self if interpreted() else _compiled(self)

    def python(self, to: Array, source: Array, start: int, inner: Array, count: int, rows: Array, weights: Array) -> None:
        """Sums over channels, then a matrix product."""
        across, channels, places = _numbers(self.across), int(inner[0]), np.arange(len(self.across) * self.lanes)
        shape = channels, across.shape[1]
        x = source.reshape(-1)[start:][: math.prod(shape) * self.lanes].reshape(*shape, self.lanes)
        at = np.arange(channels)[:, None] * self.channel + np.arange(shape[1]) * self.point
        for first in rows[:count]:
            filters = first + np.arange(self.filters)
            found = np.einsum("jq,fql->fjl", across, np.einsum("cqf,cql->fql", weights.reshape(-1)[at[..., None] + filters], x))
            to.reshape(-1)[filters[:, None] * inner[1] + places] = found.reshape(self.filters, -1)

    def write(self, emit: Emitter) -> None:
        """All points of the row stay in registers; a vector of them is loaded once for these filters."""
        b, points = emit.builder, len(self.across[0])
        channels, apart = emit.entry(emit.inner, 0), emit.entry(emit.inner, 1)
        with emit.cgutils.for_range(b, emit.count) as loop:
            first = emit.entry(emit.rows, loop.index)
            factors = emit.moved(emit.weights, first)

            def products(c: Any, factors: Any = factors) -> Iterator[tuple[int, Any, Any]]:
                here = emit.moved(emit.source, emit.times(c, points * self.lanes))
                line = emit.moved(factors, emit.times(c, self.channel))
                for q in range(points):
                    vector = emit.vector(here, q * self.lanes)
                    for f in range(self.filters):
                        yield f * points + q, emit.spread(line, q * self.point + f), vector

            sums = emit.accumulate(self.filters * points, channels, products)
            for f in range(self.filters):
                place = emit.moved(emit.tile, b.mul(b.add(first, emit.number(f)), apart))
                found = apply(self.across, sums[f * points : (f + 1) * points], functools.partial(_total, emit))
                for j, value in enumerate(found):
                    emit.keep(value, emit.moved(place, emit.number(j * self.lanes)))


@functools.lru_cache(maxsize=None, typed=True)
def _compiled(shape: Nested | Mixing) -> int:
    """As `vector.Block`'s; a name of all coefficients would be long."""

    def write(builder: Any, args: Any) -> None:
        shape.write(Emitter(shape, builder, args))

    return machine_code(f"{type(shape).__name__}.{hashlib.sha1(str(shape).encode()).hexdigest()}", 6, write)
