"""Matrix products: BLAS does the arithmetic, minigrad decides on how many threads; a few rows have kernels of their own.

BLAS's own threads go on spinning after a product and would take the cores from the kernels that follow (a LeNet step of 32
images: 7.6 ms instead of 3.1). So BLAS works on the thread that calls it, and a large product is cut into as many parts as
there are threads, each a product of its own, on the threads that run all other kernels: those call scipy's BLAS by its
address. A product of medium size is cut into some that are small for BLAS, as many whatever the number of threads. A small
one is numpy's, which costs less to call. Cuts lie between rows or columns of the result, never within a sum.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import Any

import numpy as np

from minigrad.jit import Intrinsic, get_num_threads, interpreted, kernel, late, prange
from minigrad.kernels import skinny
from minigrad.kernels.memory import empty
from minigrad.kernels.vector import machine_lanes

__all__ = ["gemm", "matmul", "product"]

Array = np.ndarray[Any, Any]

#: Multiply-adds from which on a second thread pays.
_SPLIT_FROM = 1_000_000
#: A product of fewer is numpy's: no other way is for it.
_PLAIN_BELOW = min(_SPLIT_FROM, skinny.LEAST)
#: With AVX-512, OpenBLAS takes a product without laying out its sides anew if it has so many multiply-adds at most, or, of a
#: matrix and a turned one, so many results, which pays from such a length of its sums on.
_SMALL, _FEW, _LONG = 450_000, 1200, 256
#: A product is cut into small ones if they are not more than so many.
_PARTS = 32


def matmul(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point type."""
    (rows, inner), columns = a.shape, b.shape[1]
    if inner == 1:  # a sum of one product: BLAS would pack both sides first, and numpy's loops start anew for each row
        out = empty((rows, columns), a.dtype)
        _outer(out, a.ravel(), b.ravel())
        return out
    products = rows * inner * columns
    if products < _PLAIN_BELOW:
        _one_thread()
        return np.matmul(a, b)  # type: ignore[no-any-return]
    flat_a, flat_b = a.flags.c_contiguous, b.flags.c_contiguous
    if rows <= skinny.FEW and flat_a:
        if flat_b and skinny.fits(rows, b.shape, a.itemsize):
            return skinny.rows_by_columns(a, b)
        if b.T.flags.c_contiguous and skinny.fits(rows, (columns, inner), a.itemsize):
            return skinny.rows_by_rows(a, b.T)
    elif inner <= skinny.FEW and flat_b and a.T.flags.c_contiguous and skinny.fits(inner, (rows, columns), a.itemsize):
        return skinny.rank_update(a.T, b)
    out = empty((rows, columns), a.dtype)
    _one_thread()
    if products < _SPLIT_FROM or interpreted() or not _split(out, a, b):
        np.matmul(a, b, out=out)
    return out


def _split(out: Array, a: Array, b: Array) -> bool:
    """Whether there are parts to make of it; then they are made."""
    turn_a, turn_b = not a.flags.c_contiguous, not b.flags.c_contiguous  # what lies in neither order is copied, turned
    cuts, sizes = _cuts(*a.shape, b.shape[1], turn_a, turn_b, get_num_threads())
    if len(cuts) == 2:
        return False
    left, right = (np.ascontiguousarray(m.T if turn else m).reshape(-1) for m, turn in ((a, turn_a), (b, turn_b)))
    _products(out.reshape(-1), left, right, cuts, sizes, _address(a.dtype.char))
    return True


@functools.lru_cache(maxsize=256)
def _cuts(rows: int, inner: int, columns: int, turn_a: bool, turn_b: bool, threads: int) -> tuple[Array, Array]:
    """Where parts begin and the last one ends, of the rows or columns, whichever are more; and what else is numbers."""
    parts = _small_ones(rows, inner, columns, turn_b and not turn_a) if machine_lanes() == 16 else 0
    parts = parts if 0 < parts <= _PARTS else threads
    count = max(rows, columns)
    parts = parts if 2 * parts <= count else 1
    return np.arange(parts + 1) * count // parts, np.array([rows, columns, inner, turn_a, turn_b, rows > columns])


def _small_ones(rows: int, inner: int, columns: int, turned: bool) -> int:
    """Into how many small products to cut, an even number whatever the threads are: it decides how sums are rounded."""
    products = rows * columns * inner
    if not turned or products > _PARTS * _SMALL:
        return 2 * -(-products // (2 * _SMALL))
    return 2 * -(-rows * columns // (2 * _FEW)) if inner >= _LONG else 0


@kernel(parallel=True, work=None)
def _products(out, a, b, cuts, sizes, gemm):  # type: ignore[no-untyped-def]
    """Parts of the rows or columns, each a product of its own."""
    rows, columns, inner, turn_a, turn_b, by_rows = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    wide_a, wide_b = rows if turn_a else inner, inner if turn_b else columns
    for part in prange(len(cuts) - 1):
        start, count = cuts[part], cuts[part + 1] - cuts[part]
        if by_rows:
            from_a = start * (1 if turn_a else inner)
            product(gemm, out[start * columns :], columns, a[from_a:], wide_a, turn_a, b, wide_b, turn_b, count, columns, inner)
        else:
            from_b = start * (inner if turn_b else 1)
            product(gemm, out[start:], columns, a, wide_a, turn_a, b[from_b:], wide_b, turn_b, rows, count, inner)


def _product_python(
    gemm: int, out: Array, wide: int, a: Array, wide_a: int, turn_a: int, b: Array, wide_b: int, turn_b: int,
    rows: int, columns: int, inner: int,
) -> None:  # fmt: skip
    """``out = a @ b`` by numpy; each is flat, in rows as far apart as it is `wide`, and may hold the turned matrix."""

    def matrix(flat: Array, height: int, width: int, wide: int) -> Array:
        return np.ndarray((height, width), flat.dtype, flat, 0, (wide * flat.itemsize, flat.itemsize))

    left = matrix(a, inner, rows, wide_a).T if turn_a else matrix(a, rows, inner, wide_a)
    right = matrix(b, columns, inner, wide_b).T if turn_b else matrix(b, inner, columns, wide_b)
    np.matmul(left, right, out=matrix(out, rows, columns, wide))


def _product_compiled() -> Any:
    """A call of gemm by its address: ``out = a @ b`` in row order, for BLAS a product of the turned ones in column order."""
    ir, cgutils, types = late("llvmlite.ir"), late("numba.core.cgutils"), late("numba").types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, half, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)
        scalar = context.get_data_type(signature.args[1].dtype)

        def kept(value: Any) -> Any:  # BLAS takes everything by its address
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return builder.ptrtoint(place, word)

        def address(position: int) -> Any:
            array = context.make_array(signature.args[position])(context, builder, args[position])
            return builder.ptrtoint(array.data, word)

        def number(position: int) -> Any:
            return kept(builder.trunc(args[position], half))

        def turn(position: int) -> Any:
            turned = builder.icmp_signed("!=", args[position], ir.Constant(args[position].type, 0))
            return kept(builder.select(turned, ir.Constant(byte, ord("T")), ir.Constant(byte, ord("N"))))

        one, nothing = kept(ir.Constant(scalar, 1.0)), kept(ir.Constant(scalar, 0.0))
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [word] * 13).as_pointer())
        m, n, k = number(9), number(10), number(11)
        sides = [address(6), number(7), address(3), number(4), nothing, address(1), number(2)]
        builder.call(function, [turn(8), turn(5), n, m, k, one, *sides])
        return context.get_dummy_value()

    def typing(
        context: Any, gemm: Any, out: Any, wide: Any, a: Any, wide_a: Any, turn_a: Any, b: Any, wide_b: Any, turn_b: Any,
        rows: Any, columns: Any, inner: Any,
    ) -> Any:  # fmt: skip
        word = types.intp
        return types.void(word, out, word, a, word, word, b, word, word, word, word, word), codegen

    return late("numba.extending").intrinsic(typing)


product = Intrinsic(_product_python, _product_compiled)


def gemm(dtype: np.dtype[Any]) -> int:
    """What `product` needs for arrays of this type; BLAS stays on the thread that calls it from then on."""
    if interpreted():
        return 0
    return _address(dtype.char)


@functools.cache
def _address(kind: str) -> int:
    """Where scipy's sgemm or dgemm begins; scipy's BLAS, now loaded, is told like numpy's."""
    find = late("numba.extending").get_cython_function_address
    found = int(find("scipy.linalg.cython_blas", {"f": "sgemm", "d": "dgemm"}[kind]))
    _tell_blas()
    return found


@kernel
def _outer(out, column, row):  # type: ignore[no-untyped-def]
    for i in range(len(column)):
        to, factor = out[i], column[i]
        for j in range(len(row)):
            to[j] = factor * row[j]


@functools.cache
def _one_thread() -> None:
    """Tell BLAS once to stay on the calling thread; numba is not needed for that, nor for a small product."""
    _tell_blas()


def _tell_blas() -> None:
    """Where it can't be told (Apple's Accelerate), it does as it likes."""
    with contextlib.suppress(Exception):
        controller = importlib.import_module("threadpoolctl").ThreadpoolController  # late: not every process multiplies
        for library in controller().select(user_api="blas").lib_controllers:
            library.set_num_threads(1)
