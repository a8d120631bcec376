"""Ties: where equal elements meet a maximum, no element alone can be judged, but all of them together can."""

from __future__ import annotations

import numpy as np

from minigrad.checks.quotient import Quotients
from minigrad.checks.verdict import InputReport, Tolerance, Verdict

__all__ = ["check_ties"]

_MOST_GROUPS = 20


def check_ties(quotients: Quotients, which: int, report: InputReport, tolerance: Tolerance, scale: float) -> None:
    """Move all elements of one value together: max(x, x) is smooth along (1, 1), with slope 1, however a tie is shared.

    A backward that hands the whole gradient to each of the tied elements lies between the one-sided derivatives at
    each of them, and is still wrong; only this direction shows it. Marks such elements wrong and sets `report.tied`.
    """
    kinks = report.verdict == Verdict.KINK
    if not kinks.any():
        return
    for value in np.unique(report.x[kinks])[:_MOST_GROUPS]:
        group = report.x == value
        if group.sum() < 2 or (report.verdict[group] == Verdict.SKIPPED).any():
            continue
        step = 1e-7 * max(abs(float(value)), 1e-3 * float(np.abs(report.x).max()) or 1.0)
        quotient = quotients.along(which, group.astype(float), step)
        allowed = float(tolerance.allowed(report.analytic[group].sum(), quotient.value, scale)) + 8 * quotient.rounding
        low, high = sorted((quotient.left, quotient.right))
        if not low - allowed <= report.analytic[group].sum() <= high + allowed:
            report.verdict[group & kinks] = int(Verdict.WRONG)
            report.tied = True
