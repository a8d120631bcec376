"""The matrices of Winograd's fast convolutions, exact: m neighbouring outputs of r taps with fewer than m * r products.

    outputs @ ((taps @ g) * (inputs @ x))        g: r taps, x: m + r - 1 inputs -> m outputs

A sum of products of polynomials is known from its remainders modulo factors that have no root in common (Toom and Cook; S.
Winograd, *Arithmetic Complexity of Computations*, 1980): ``x - p`` costs one product, a quadratic three (Karatsuba), the
highest coefficient ("x - infinity") one. Linear factors alone (Lavin and Gray, 2016) take the fewest products, but from the
third on their points lie off the unit circle: large powers cancel, and F(4, 3) at 0, 1, -1, 2, -2 loses a digit. Here all
roots lie at 0, infinity and on the unit circle, the quadratics' too:

    n = m + r - 1    factors                                products    for example
    4                x, x - 1, x + 1, inf                    4           F(2, 3): 1.5 times fewer products
    6                x, x - 1, x + 1, x^2 + 1, inf           7           F(4, 3): 1.7
    8                x, x - 1, x + 1, x^2 +- x + 1, inf     10           F(6, 3): 1.8; F(4, 5): 2

(In two dimensions the square of it.) How much larger than its own rounding the error of a sum becomes by that is 1.3 for n = 4
and n = 6, 1.2 for n = 8, in one dimension; for Lavin and Gray's F(4, 3) it is 3.3.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["LARGEST", "SIZES", "Matrix", "Transforms", "apply", "product", "transforms", "transposed"]

Matrix = tuple[tuple[Fraction, ...], ...]


class _Quadratic(NamedTuple):
    """``x^2 + middle * x + 1``; of a remainder ``a + b * x`` the products of a, b and ``a + sign * b`` are taken."""

    middle: int
    sign: int


_Factor = int | _Quadratic  # a number p stands for x - p

#: By n, the number of inputs: the factors besides the highest coefficient. The signs are those with the smaller error.
_FACTORS: dict[int, tuple[_Factor, ...]] = {
    4: (0, 1, -1),
    6: (0, 1, -1, _Quadratic(0, 1)),
    8: (0, 1, -1, _Quadratic(1, -1), _Quadratic(-1, 1)),
}
SIZES = tuple(_FACTORS)
LARGEST = max(SIZES)


class Transforms(NamedTuple):
    """Three matrices that make convolution a product element by element; in two dimensions for rows and columns."""

    inputs: Matrix  # (products, m + r - 1)
    taps: Matrix  # (products, r)
    outputs: Matrix  # (m, products)

    @property
    def products(self) -> int:
        """How many products there are."""
        return len(self.taps)


@functools.cache
def transforms(outputs: int, taps: int) -> Transforms:
    """The matrices of F(outputs, taps): a single output or tap takes each product once, others need n in `SIZES`."""
    one, n = Fraction(1), outputs + taps - 1
    if outputs == 1:
        return Transforms(_identity(taps), _identity(taps), ((one,) * taps,))
    if taps == 1:
        return Transforms(_identity(outputs), ((one,),) * outputs, _identity(outputs))
    factors = _FACTORS[n]
    left, right = _products(factors, outputs), _products(factors, taps)
    # Which coefficients of the product of two polynomials give which remainders; turned round, remainders give coefficients.
    back = _inverse(_remainders(factors, n))
    inputs = transposed(product(back, _recombined(factors)))
    scales = [_odd_scale(row) for row in inputs]
    inputs = tuple(tuple(v / s for v in row) for row, s in zip(inputs, scales, strict=True))
    right = tuple(tuple(v * s for v in row) for row, s in zip(right, scales, strict=True))
    return Transforms(inputs, right, transposed(left))


def product(a: Matrix, b: Matrix) -> Matrix:
    """``a @ b``."""
    columns = transposed(b)
    return tuple(tuple(sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns) for row in a)


def transposed(a: Matrix) -> Matrix:
    """Rows for columns."""
    return tuple(zip(*a, strict=True))


# ------------------------------------------------------------------------------------------------ polynomials


def _identity(n: int) -> Matrix:
    return tuple(tuple(Fraction(i == j) for j in range(n)) for i in range(n))


def _remainders(factors: Sequence[_Factor], length: int) -> Matrix:
    """The matrix from a polynomial's coefficients to its remainders modulo each factor, and to its highest coefficient."""
    rows: list[tuple[Fraction, ...]] = []
    for factor in factors:
        if isinstance(factor, int):
            rows.append(tuple(Fraction(factor) ** j for j in range(length)))
            continue
        power = [(Fraction(1), Fraction(0))]  # x^j = a + b x
        for _ in range(1, length):
            a, b = power[-1]
            power.append((-b, a - factor.middle * b))
        rows += transposed(tuple(power[:length]))
    return (*rows, tuple(Fraction(j == length - 1) for j in range(length)))


def _products(factors: Sequence[_Factor], length: int) -> Matrix:
    """The same to the numbers that are multiplied: three for a quadratic."""
    remainders, rows = iter(_remainders(factors, length)), []
    for factor in factors:
        rows.append(next(remainders))
        if isinstance(factor, _Quadratic):
            rows.append(next(remainders))
            rows.append(tuple(a + factor.sign * b for a, b in zip(*rows[-2:], strict=True)))
    return (*rows, next(remainders))


def _recombined(factors: Sequence[_Factor]) -> Matrix:
    """From the products to the remainders of the product."""
    width = sum(3 if isinstance(f, _Quadratic) else 1 for f in factors) + 1
    rows, at = [], 0

    def row(*values: int) -> None:
        rows.append(tuple(Fraction(values[j - at]) if 0 <= j - at < len(values) else Fraction(0) for j in range(width)))

    for factor in factors:
        if isinstance(factor, _Quadratic):
            # (a + bx)(c + dx) = ac + (ad + bc)x + bd x^2, where x^2 = -1 - middle x and ad + bc = sign ((a±b)(c±d) - ac - bd)
            row(1, -1, 0)
            row(-factor.sign, -factor.sign - factor.middle, factor.sign)
            at += 3
        else:
            row(1)
            at += 1
    row(1)
    return tuple(rows)


def _inverse(a: Matrix) -> Matrix:
    """By elimination."""
    n = len(a)
    rows = [[*row, *unit] for row, unit in zip(a, _identity(n), strict=True)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for r in range(n):
            if r != i:
                rows[r] = [v - rows[r][i] * w for v, w in zip(rows[r], rows[i], strict=True)]
    return tuple(tuple(row[n:]) for row in rows)


def _odd_scale(row: Sequence[Fraction]) -> Fraction:
    """By what a row is divided to be of whole numbers without a common divisor, the first one positive."""
    some = [v for v in row if v]
    scale = Fraction(math.gcd(*(v.numerator for v in some)), math.lcm(*(v.denominator for v in some)))
    return scale if some[0] > 0 else -scale


# ------------------------------------------------------------------------------------------------ few operations

_Terms = tuple[tuple[Fraction, int], ...]  # coefficients, and of which value


def apply(matrix: Matrix, values: Sequence[Any], total: Callable[[list[tuple[Fraction, Any]]], Any]) -> list[Any]:
    """``matrix @ values`` with few operations: `total` sums ``coefficient * value`` over the pairs that it is given."""
    known = list(values)
    shared, rows = _program(matrix)
    for terms in shared:
        known.append(total([(factor, known[at]) for factor, at in terms]))
    return [total([(factor, known[at]) for factor, at in terms]) for terms in rows]


@functools.cache
def _program(matrix: Matrix) -> tuple[list[_Terms], list[_Terms]]:
    """Sums of two that several rows share, the most frequent first, and each row in terms of inputs and these sums."""
    rows = [{j: v for j, v in enumerate(row) if v} for row in matrix]
    shared: list[_Terms] = []
    while True:
        pairs = Counter((j, k, row[k] / row[j]) for row in rows for j, k in itertools.combinations(sorted(row), 2))
        best, times = max(pairs.items(), key=lambda item: item[1], default=((0, 0, Fraction(0)), 0))
        if times < 2:
            return shared, [tuple((factor, at) for at, factor in row.items()) for row in rows]
        j, k, ratio = best
        new = len(matrix[0]) + len(shared)
        shared.append(((Fraction(1), j), (ratio, k)))
        for row in rows:
            if j in row and k in row and row[k] / row[j] == ratio:
                del row[k]
                row[new] = row.pop(j)
