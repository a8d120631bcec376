"""Difference quotients that know how far they can be trusted.

Central differences at a step h and at h/2 give Richardson's extrapolation; how far the two are apart, with what rounding
adds, is the error estimate. The one-sided derivatives from the same evaluations show a kink: at a smooth point their gap
is h f'' and halves with h, at a kink it stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigrad.checks.verdict import Tolerance, Verdict
from minigrad.core import Array

__all__ = ["Quotient", "Quotients", "judge", "steps_around"]

Move = Callable[[float], list[Array]]


@dataclass(frozen=True)
class Quotient:
    """The derivative along one direction: of every output (`column`) and contracted with each cotangent (`values`)."""

    column: Array
    column_error: Array
    values: Array
    errors: Array
    step: float
    #: The first cotangent's contraction at +step and at -step.
    up: float
    down: float
    #: One-sided derivatives of that contraction, at half the step.
    left: float
    right: float
    #: The gap between the one-sided derivatives at the step and at half of it.
    gaps: tuple[float, float]
    rounding: float

    @property
    def value(self) -> float:
        """The derivative under the first cotangent."""
        return float(self.values[0])

    @property
    def error(self) -> float:
        """How far `value` may be off; infinite where an evaluation was not finite."""
        return float(self.errors[0])

    @property
    def smooth(self) -> bool:
        """Whether the gap between the one-sided derivatives goes as it does at a smooth point."""
        wide, narrow = (abs(gap) for gap in self.gaps)
        size = abs(self.left) + abs(self.right)
        return narrow <= 4 * self.rounding + 1e-9 * size or 0.3 * wide <= narrow <= 0.7 * wide


class Quotients:
    """Takes quotients of one function about one point, under given cotangents (one a row, over all outputs flat)."""

    def __init__(self, value: Callable[[list[Array]], Array], inputs: Sequence[Array], cotangents: Array) -> None:
        """Evaluate the function at the point itself."""
        self.value, self.inputs, self.cotangents = value, list(inputs), cotangents
        self.base = value([x.copy() for x in inputs])
        self.finite = np.isfinite(self.base)
        self.epsilon = float(np.finfo(np.float64).eps)
        self._reached: dict[tuple[int, tuple[int, ...]], Array] = {}

    def element(self, which: int, at: tuple[int, ...], step: float) -> Quotient:
        """By one element of one input."""
        before = self.inputs[which][at]
        above, below = before + step, before - step
        exact = float((above - below) / 2)  # what floating point made of the step

        def moved(sign: float) -> list[Array]:
            arrays = [x.copy() for x in self.inputs]
            arrays[which][at] = before + sign * step
            return arrays

        return self._quotient(moved, exact if exact > 0 else step, (which, at))

    def along(self, which: int, direction: Array, step: float) -> Quotient:
        """By a direction in one input."""

        def moved(sign: float) -> list[Array]:
            arrays = [x.copy() for x in self.inputs]
            arrays[which] += (sign * step) * direction
            return arrays

        return self._quotient(moved, step)

    def complex_step(self, which: int, at: tuple[int, ...]) -> float | None:
        """Im f(x + ih) / h, exact to rounding; None where the function doesn't carry complex numbers through."""
        arrays = [x.astype(complex) for x in self.inputs]
        tiny = 1e-30
        arrays[which][at] += 1j * tiny
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)  # an imaginary part thrown away
                out = self.value(arrays)
        except Exception:  # whatever a function does to numbers it was not written for
            return None
        if not np.iscomplexobj(out) or out.shape != self.base.shape or not np.allclose(out.real, self.base, 1e-9, 1e-12):
            return None
        return float(self.cotangents[0] @ (out.imag / tiny))

    def _touched(self, key: tuple[int, tuple[int, ...]] | None, touched: Array) -> Array:
        """Which outputs an element has moved with any step so far: with a smaller one that they stand still is rounding."""
        if key is None:
            return np.ones_like(touched)
        self._reached[key] = touched | self._reached.get(key, False)
        return self._reached[key]

    def _quotient(self, moved: Move, h: float, key: tuple[int, tuple[int, ...]] | None = None) -> Quotient:
        with np.errstate(all="ignore"):
            up, down, near_up, near_down = (self.value(moved(sign)) for sign in (1.0, -1.0, 0.5, -0.5))
            wide, narrow = self._gap(up, down) / (2 * h), self._gap(near_up, near_down) / h
            column = narrow + (narrow - wide) / 3
            touched = self._touched(key, (up != down) | (near_up != near_down))
            rounding = np.where(touched, 4 * self.epsilon * (np.abs(up) + np.abs(down)) / h, 0.0)
            truncation = narrow - wide
            right, left = self._gap(near_up, self.base) * (2 / h), self._gap(self.base, near_down) * (2 / h)
            far = (self._gap(up, self.base) - self._gap(self.base, down)) / h
            weights = np.abs(self.cotangents)
            errors = np.abs(self.cotangents @ truncation) + weights @ rounding
            values = self.cotangents @ column
            errors[~np.isfinite(errors) | ~np.isfinite(values)] = np.inf
            g = self.cotangents[0]
            return Quotient(
                column=column,
                column_error=np.abs(truncation) + rounding,
                values=values,
                errors=errors,
                step=h,
                up=float(g @ np.where(self.finite, up, 0.0)),
                down=float(g @ np.where(self.finite, down, 0.0)),
                left=float(g @ left),
                right=float(g @ right),
                gaps=(float(g @ far), float(g @ (right - left))),
                rounding=float(weights[0] @ rounding),
            )

    def _gap(self, a: Array, b: Array) -> Array:
        """``a - b`` over the outputs that are finite at the point; the others can't be differenced and don't count."""
        return np.where(self.finite, a - b, 0.0)


def steps_around(x: Array, at: tuple[int, ...] | None, eps: float | None) -> list[float]:
    """The step to begin with and those to go on to where it doesn't settle the matter."""
    size = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    size = size if np.isfinite(size) and size > 0 else 1.0
    here = size if at is None else abs(float(x[at]))
    if eps is not None:
        return [eps, eps / 10, eps / 100, eps * 10]
    first = 1e-4 * max(here, 0.1 * size)
    steps = [first * factor for factor in (1.0, 0.1, 1e-2, 10.0, 1e-4, 1e-6)]
    if 0 < here < 0.1 * size:  # an element far smaller than its neighbours: log, sqrt and 1/x need steps of its own size
        steps.insert(1, 1e-4 * here)
    return steps


def judge(
    probe: Callable[[float], Quotient],
    first: Quotient,
    steps: Sequence[float],
    analytic: float,
    tolerance: Tolerance,
    scale: float,
    exact: Callable[[], float | None] = lambda: None,
) -> tuple[Verdict, Quotient]:
    """The verdict on one number, taking further steps where the first quotient does not settle it.

    `exact` is asked for a complex step only where the quotients could not decide.
    """
    if not np.isfinite(analytic):
        return Verdict.NONFINITE, first
    best, suspect = first, None
    for step in (None, *steps[1:]):
        quotient = first if step is None else probe(step)
        best = quotient if _better(quotient, best) else best
        allowed = float(tolerance.allowed(analytic, best.value, scale))
        if best.smooth and abs(analytic - best.value) <= allowed + best.error <= 11 * allowed:
            return Verdict.OK, best
        gap = abs(analytic - quotient.value)
        if quotient.smooth and quotient.error < 1e-2 * gap:
            # a step far too long can look smooth as well: two steps have to say the same
            if suspect is not None and abs(suspect.value - quotient.value) <= 0.1 * gap:
                return Verdict.WRONG, best
            suspect = quotient
    if not np.isfinite(best.error):
        return Verdict.UNRESOLVED, best  # the point lies at the edge of the function's domain
    kink = _kink(probe, steps, analytic, allowed)
    if kink is not None:
        return kink, best
    if abs(analytic - best.value) > allowed + 3 * best.error:
        return Verdict.WRONG, best
    number = exact()
    if number is None or abs(number - best.value) > allowed + 3 * best.error:
        digits = best.error <= 1e-3 * max(abs(analytic), abs(best.value))
        return (Verdict.OK if digits else Verdict.UNRESOLVED), best  # three digits have to do, where the quotient has no more
    return (Verdict.OK if abs(analytic - number) <= allowed else Verdict.WRONG), best


def _better(quotient: Quotient, best: Quotient) -> bool:
    """Whether a quotient is to be believed rather than the best so far: the smaller error, if the errors can be believed.

    Where two differ by far more than both admit, the longer step has left the region in which its estimate means anything.
    """
    if abs(quotient.value - best.value) > 10 * (quotient.error + best.error):
        shorter = quotient if quotient.step < best.step else best
        if shorter.smooth:
            return shorter is quotient
    return quotient.error < best.error


def _kink(probe: Callable[[float], Quotient], steps: Sequence[float], analytic: float, allowed: float) -> Verdict | None:
    """Look very near: do the one-sided derivatives differ there, and does the analytic value lie between them?"""
    near = probe(steps[0] * 1e-3)
    gap, noise = abs(near.gaps[1]), 4 * near.rounding
    if not gap > max(5 * noise + allowed, 0.75 * abs(near.gaps[0])):
        return None
    low, high = sorted((near.left, near.right))
    margin = allowed + noise + 0.01 * gap
    return Verdict.KINK if low - margin <= analytic <= high + margin else Verdict.WRONG
