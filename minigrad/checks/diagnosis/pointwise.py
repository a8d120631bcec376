"""Hypotheses about activations and masks: what one output owes to the one number before its nonlinearity.

Where each output depends on exactly one element of some input (an elementwise function, or a bias before an activation),
that input's Jacobian holds the local slopes. A wrong slope then shows in every other input as the right gradient of a
wrongly scaled incoming one, so the same hypotheses explain the weights' gradients too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from minigrad.checks.diagnosis.case import Case, View
from minigrad.checks.verdict import Diagnosis
from minigrad.core import Array

__all__ = ["activation", "branch", "diagonal", "identity", "local_slopes", "mask", "routed"]


class _Local(NamedTuple):
    """Slopes over the outputs (flat), the value before the nonlinearity where it is known, and the output."""

    slope: Array
    before: Array | None
    out: Array
    #: Which input the slopes were read from.
    source: int


def _local(case: Case) -> _Local | None:
    out = case.out
    if out is None or case.problem.unit:
        return None
    order = [case.which, *(i for i in range(len(case.reports)) if i != case.which)]
    for source, report in ((i, case.reports[i]) for i in order):
        jacobian = report.jacobian
        if jacobian is None or not np.isfinite(jacobian).all() or out.size < 2:
            continue
        used = np.abs(jacobian) > 1e-12 * np.abs(jacobian).max(initial=0.0)
        if (used.sum(axis=1) > 1).any() or not used.any() or report.x.size < 2:
            continue
        elementwise = report.x.shape == out.shape and not np.count_nonzero(used & ~np.eye(len(used), dtype=bool))
        return _Local(jacobian.sum(axis=1), report.x.reshape(-1) if elementwise else None, out.reshape(-1), source)
    return None


def _opened(case: Case, local: _Local) -> Array | None:
    """This input's Jacobian where the activation lets everything through with slope 1, as ReLU far to the right."""
    far = 100.0 * (1.0 + float(np.abs(local.out).max(initial=0.0)))
    bias = case.reports[local.source].x
    if local.source == case.which:
        moved = case.numeric_at({case.which: bias + far})
        return moved if moved is not None and np.allclose(moved.sum(axis=1), 1.0, atol=1e-5) else None
    return case.numeric_at({local.source: bias + far}) if case.problem.inputs[local.source].ndim == 1 else None


def local_slopes(case: Case) -> Array | None:
    """The slope of each output by the number before its nonlinearity, where some input tells it."""
    local = _local(case)
    return None if local is None else local.slope


def activation(case: Case) -> Diagnosis | None:
    """The derivative taken at the wrong place, or not at all."""
    local = _local(case)
    if local is None:
        return None
    for slope, kind, what in _slopes(case, local):
        residual = _fit(case, local, lambda _, slope=slope: slope)  # type: ignore[misc] # bound now
        if residual is not None:
            return Diagnosis(kind, f"in the gradient of {case.name} {what}", residual)
    return None


def _fit(case: Case, local: _Local, slope: Callable[[View], Array]) -> float | None:
    """How well another slope in place of the right one explains this input's gradient."""
    if local.before is not None and local.source == case.which:
        return case.fit(lambda view: (view.g * slope(view)).reshape(case.x.shape))
    zero = local.slope == 0
    if zero.any():
        opened = _opened(case, local)
        if opened is not None:
            return case.fit(lambda view: np.asarray((view.g * slope(view)) @ opened).reshape(case.x.shape))

    def candidate(view: View) -> Array | None:
        new = slope(view)
        if case.jacobian is None or np.any(zero & (new != 0)):
            return None
        ratio = np.where(zero, 0.0, new / np.where(zero, 1.0, local.slope))
        return np.asarray((view.g * ratio) @ case.jacobian).reshape(case.x.shape)

    return case.fit(candidate)


def identity(case: Case) -> Diagnosis | None:
    """No derivative at all where there is a nonlinearity."""
    local = _local(case)
    residual = None if local is None else _fit(case, local, lambda view: np.ones_like(view.g))
    if residual is None:
        return None
    message = (
        f"in the gradient of {case.name} the activation's derivative is missing: the incoming gradient goes through unchanged"
    )
    return Diagnosis("identity", message, residual)


def _slopes(case: Case, local: _Local) -> Iterator[tuple[Array, str, str]]:
    """Wrong slopes over the outputs, their kind, and what they mean."""
    d, x, y = local.slope, local.before, local.out
    at_output = "the activation's derivative is taken at the output instead of the input"
    for_output = "the derivative's formula for the output is used with the input"
    if x is not None:
        moved = _slope_at(case, y)
        if moved is not None:
            yield moved, "activation", at_output
    for name, right, of_output, wrong in _ACTIVATIONS:
        if not np.allclose(d, right(y), rtol=1e-5, atol=1e-8):
            continue
        yield right(of_output(y)), "activation", at_output
        if x is not None:
            yield right(x), "activation", for_output
        for formula, what in wrong:
            yield formula(y), "activation", f"{name}'s derivative {what}"


def _sigmoid(y: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-y)))


#: Name, the derivative by the output, the activation itself, and formulas that are often written in its place.
_ACTIVATIONS: tuple[
    tuple[str, Callable[[Array], Array], Callable[[Array], Array], tuple[tuple[Callable[[Array], Array], str], ...]], ...
] = (
    (
        "sigmoid",
        lambda y: y * (1 - y),
        _sigmoid,
        ((lambda y: y, "is written y, not y (1 - y)"), (lambda y: 1 - y, "is written 1 - y, not y (1 - y)")),
    ),
    (
        "tanh",
        lambda y: 1 - y * y,
        np.tanh,
        (
            (lambda y: 1 - y, "is written 1 - y, not 1 - y²"),
            (lambda y: 1 + y * y, "is written 1 + y², not 1 - y²"),
            (lambda y: y * (1 - y), "is sigmoid's, y (1 - y)"),
            (lambda y: 1 - np.abs(y), "is written 1 - |y|, not 1 - y²"),
        ),
    ),
)


def _slope_at(case: Case, values: Array) -> Array | None:
    """An elementwise function's slopes at other values of its input: all of them in two evaluations."""
    sides = []
    steps = 1e-5 * np.maximum(np.abs(values), 0.1)
    index = next((i for i, r in enumerate(case.reports) if r.x.size == values.size), case.which)
    for sign in (1.0, -1.0):
        points = [np.array(x) for x in case.problem.inputs]
        points[index] = (values + sign * steps).reshape(points[index].shape)
        sides.append(case.value(points))
    return None if sides[0] is None or sides[1] is None else np.asarray((sides[0] - sides[1]) / (2 * steps))


def mask(case: Case) -> Diagnosis | None:
    """Another mask than the forward pass's: the incoming gradient's sign, the complement, a newly drawn one."""
    local = _local(case)
    if local is None:
        return None
    kept = np.abs(local.slope[local.slope != 0])
    top = float(kept.max()) if kept.size else 0.0
    named = [
        (lambda view: top * (view.g > 0), "the sign of the incoming gradient is the mask; it has to be the forward pass's"),
        (lambda view: top * (view.g > 0) * (local.slope > 0), "the incoming gradient is masked by its own sign as well"),
        (lambda view: top * (local.slope == 0), "the mask is inverted: what the forward pass let through is stopped"),
    ]
    for slope, what in named:
        residual = _fit(case, local, slope)
        if residual is not None:
            return Diagnosis("mask", f"in the gradient of {case.name} {what}", residual)
    return _redrawn(case, local, top)


def _redrawn(case: Case, local: _Local, top: float) -> Diagnosis | None:
    if local.before is None or case.fit(lambda view: view.analytic) is None or local.slope.size < 4:
        return None
    with np.errstate(all="ignore"):
        slopes = case.views[0].analytic.reshape(-1) / case.views[0].g
    values = np.unique(np.round(slopes, 9))
    if len(values) != 2 or values[0] != 0 or (local.slope != 0).all() or ((slopes != 0) == (local.slope != 0)).all():
        return None
    if abs(values[1] - top) > 1e-6 * top:
        return None
    message = f"in the gradient of {case.name} another mask is used than in the forward pass (drawn or worked out anew)"
    return Diagnosis("mask", message)


def routed(case: Case) -> Diagnosis | None:
    """A maximum's gradient that goes elsewhere: each output has one element to give it to, and gives it to others."""
    rows, jacobian = case.rows, case.jacobian
    if rows is None or jacobian is None or len(rows) < 2:
        return None
    single = (np.abs(jacobian) > 1e-9).sum(axis=1) == 1
    sums = np.allclose(rows.sum(axis=1), jacobian.sum(axis=1), rtol=1e-6, atol=1e-9)
    if not single.all() or not np.allclose(jacobian.sum(axis=1), 1.0, rtol=1e-6):
        return None
    counts = (np.abs(rows) > 1e-9).sum(axis=1)
    here = f"in the gradient of {case.name}"
    if sums and (counts == 1).all():
        smallest = case.numeric_at({case.which: -case.x})
        if smallest is not None and case.fit_jacobian(smallest) is not None:
            return Diagnosis("mask", f"{here} the mask is the minimum's, not the maximum's", 0.0)
        return Diagnosis("mask", f"{here} each output's share goes to another element than the one that was the maximum")
    if sums and (counts > 1).all():
        return Diagnosis(
            "mask", f"{here} each output's share is spread over its window, as averaging would: the mask is missing"
        )
    if (counts > 1).any() and np.allclose(rows[np.abs(rows) > 1e-9], 1.0):
        return Diagnosis("mask", f"{here} each output's whole share goes to every element of its window: the mask is missing")
    return None


def branch(case: Case) -> Diagnosis | None:
    """Right on one side of zero, wrong on the other."""
    local = _local(case)
    if local is None or local.before is None or local.before.size != case.x.size:
        return None
    judged = case.places.reshape(-1)
    positive = case.x.reshape(-1) > 0
    wrong = case.wrong.reshape(-1)
    for side, word in ((positive, ">"), (~positive, "<")):
        if not (judged & ~side).any() or (wrong & ~side).any() or wrong.sum() < max(1, 0.5 * (judged & side).sum()):
            continue
        with np.errstate(all="ignore"):
            slopes = (case.views[0].analytic.reshape(-1) / case.views[0].g)[wrong]
        constant = np.ptp(slopes) < 1e-9 * max(1.0, float(np.abs(slopes).max()))
        how = f": its slope there is {slopes[0]:.6g}" if constant else ""
        return Diagnosis("branch", f"the gradient of {case.name} is wrong only where {case.name} {word} 0{how}")
    return None


def diagonal(case: Case) -> Diagnosis | None:
    """Only each output's own element counts, as if the function were elementwise."""
    jacobian = case.jacobian
    if (
        jacobian is None
        or jacobian.shape[0] != jacobian.shape[1]
        or not np.count_nonzero(jacobian - np.diag(np.diag(jacobian)))
    ):
        return None
    residual = case.fit(lambda view: (view.g * np.diag(jacobian)).reshape(case.x.shape))
    if residual is None:
        return None
    message = f"the gradient of {case.name} has the Jacobian's diagonal only: each output depends on the other elements too"
    return Diagnosis("diagonal", message, residual)
