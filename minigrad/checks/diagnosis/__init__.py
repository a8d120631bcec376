"""What a wrong gradient looks like: hypotheses from the most specific to the weakest, each a function of the evidence.

A hypothesis computes what its mistake would give and is stated only where that explains the numbers. Adding one is adding a
function ``Case -> Diagnosis | None`` to the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minigrad.checks.diagnosis.case import Case
from minigrad.checks.diagnosis.layout import (
    flipped,
    one_slice,
    shifted,
    summed,
    swapped,
    transposed,
    transposed_operand,
    unsummed,
)
from minigrad.checks.diagnosis.normalised import label, length, scores, softmax, statistics
from minigrad.checks.diagnosis.pointwise import activation, branch, diagonal, identity, mask, routed
from minigrad.checks.diagnosis.scale import bias, data_factor, factor, forgotten_bias, operand, regularisation, zero
from minigrad.checks.diagnosis.windows import border, carried, ignored_output, one_path, overlap, overwritten, settings, ties
from minigrad.checks.verdict import Diagnosis

__all__ = ["EXACT", "LOCAL", "Case", "diagnose"]

Hypothesis = Callable[[Case], Diagnosis | None]

#: Those that predict every number; that there is no gradient at all is asked before, since zero fits much.
EXACT: tuple[Hypothesis, ...] = (
    swapped,
    unsummed,
    factor,
    data_factor,
    transposed,
    softmax,
    scores,
    statistics,
    length,
    activation,
    mask,
    one_path,
    ignored_output,
    carried,
    diagonal,
    regularisation,
    overwritten,
    operand,
    identity,
    summed,
    flipped,
    shifted,
    transposed_operand,
    forgotten_bias,
)
#: Those that predict where the numbers are wrong; asked only where no exact one fits.
LOCAL: tuple[Hypothesis, ...] = (ties, label, border, settings, routed, branch, overlap, one_slice)


def diagnose(case: Case) -> list[Diagnosis]:
    """Every hypothesis that explains the numbers, the most specific first; empty where none does."""
    nothing = _asked((bias, zero), case, most=1)
    return nothing or _asked(EXACT, case) or (_asked(LOCAL, case) if case.wrong.any() else [])


def _asked(hypotheses: Iterable[Hypothesis], case: Case, most: int = 2) -> list[Diagnosis]:
    found: list[Diagnosis] = []
    for hypothesis in hypotheses:
        diagnosis = hypothesis(case)
        if diagnosis is not None and diagnosis.kind not in [d.kind for d in found]:
            found.append(diagnosis)
        if len(found) == most:
            break
    return found
