"""Hypotheses about places: transposed, flipped, swapped, shifted, not summed over an axis or over one too many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from minigrad.checks.diagnosis.case import Case, View
from minigrad.checks.diagnosis.pointwise import local_slopes
from minigrad.checks.verdict import Diagnosis
from minigrad.core import Array

__all__ = ["flipped", "one_slice", "shifted", "summed", "swapped", "transposed", "transposed_operand", "unsummed"]


def transposed(case: Case) -> Diagnosis | None:
    """The right numbers with their axes in another order."""
    returned = _returned(case)
    if returned is None or returned.ndim != case.x.ndim or case.x.ndim < 2:
        return None
    for axes in itertools.permutations(range(case.x.ndim)):
        if list(axes) == sorted(axes):
            continue
        if returned.transpose(axes).shape == case.x.shape:
            residual = _fit_moved(case, returned, lambda a, axes=axes: a.transpose(axes))
            if residual is not None:
                order = "" if case.x.ndim == 2 else f" (axes {list(np.argsort(axes))})"
                return Diagnosis("transposed", f"the gradient of {case.name} is transposed{order}", residual)
    return None


def _returned(case: Case) -> Array | None:
    """What came back, as numbers of any shape."""
    returned = case.report.returned
    if returned is None:
        return None
    array = np.asarray(returned)
    return array.astype(float) if array.dtype.kind in "fiub" else None


def _fit_moved(case: Case, returned: Array, move: object) -> float | None:
    """How well the returned numbers fit after a move; through the views as well where the shape already was the right one."""
    assert callable(move)
    moved = move(returned)
    if moved.shape != case.x.shape or not case.places.all():
        return None
    return case.fit_array(moved, case.views[0].numeric)


def transposed_operand(case: Case) -> Diagnosis | None:
    """As if another square array had been transposed."""
    for i, report in enumerate(case.reports):
        square = report.x.ndim >= 2 and report.x.shape[-1] == report.x.shape[-2] > 1
        if i == case.which or not square:
            continue
        residual = case.fit_at({i: np.swapaxes(report.x, -1, -2)})
        if residual is not None:
            message = f"{report.name} is used without its transpose (or with one too many) in the gradient of {case.name}"
            return Diagnosis("transposed", message, residual)
    shape = case.outputs[0].shape
    if len(case.outputs) == 1 and shape == case.x.shape and case.jacobian is not None:
        slopes = local_slopes(case)
        slopes = np.ones(case.x.size) if slopes is None else slopes
        plain = case.jacobian / np.where(slopes == 0, np.inf, slopes)[:, None]  # what stands before the activation
        residual = case.fit(lambda view: ((view.g * slopes) @ plain.T).reshape(case.x.shape))
        if residual is not None:
            message = f"a matrix is used without its transpose (or with one too many) in the gradient of {case.name}"
            return Diagnosis("transposed", message, residual)
    if len(case.outputs) == 1 and len(shape) == 2 and shape[0] == shape[1] and case.jacobian is not None:
        residual = case.fit(lambda view: (view.g.reshape(shape).T.reshape(-1) @ case.jacobian).reshape(case.x.shape))
        if residual is not None:
            return Diagnosis("transposed", f"the incoming gradient is transposed in the gradient of {case.name}", residual)
    return None


def flipped(case: Case) -> Diagnosis | None:
    """The right numbers, backwards along some axes: a kernel turned round, or one not turned round."""
    for axes in _subsets(case.x.ndim):
        residual = case.fit(lambda view, axes=axes: np.flip(view.numeric, axes))  # type: ignore[misc] # bound now
        if residual is not None:
            return Diagnosis("flipped", f"the gradient of {case.name} is flipped along {_axes(axes)}", residual)
    for i, report in enumerate(case.reports):
        if i == case.which or report.x.ndim < 3:
            continue
        kernel = tuple(range(2, report.x.ndim)) if report.x.ndim > 3 else (report.x.ndim - 1,)
        if all(report.x.shape[a] == 1 for a in kernel):
            continue
        residual = case.fit_at({i: np.flip(report.x, kernel)})
        if residual is not None:
            message = f"{report.name} is the wrong way round along {_axes(kernel)} in the gradient of {case.name}"
            return Diagnosis("flipped", message, residual)
    return None


def shifted(case: Case) -> Diagnosis | None:
    """The right numbers some places away: padding that was not cut off at both sides."""
    if case.x.ndim < 3:
        return None
    limit = [min(3, n - 1) for n in case.x.shape]
    spatial = range(max(0, case.x.ndim - 2), case.x.ndim)
    ranges = [range(-limit[a], limit[a] + 1) if a in spatial else range(1) for a in range(case.x.ndim)]
    for shift in itertools.product(*ranges):
        if not any(shift):
            continue
        there = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, case.x.shape, strict=True))
        here = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, case.x.shape, strict=True))

        def moved(view: View, there: tuple[slice, ...] = there, here: tuple[slice, ...] = here) -> Array:
            # only where both exist; what comes in at the edge is unknown and left as it is
            result = view.analytic.copy()
            result[here] = view.numeric[there]
            return result

        covered = np.zeros(case.x.shape, bool)
        covered[here] = True
        enough = covered.sum() >= max(4, case.x.size // 4) and len(np.unique(case.views[0].numeric[there].round(12))) > 3
        if not enough or not (case.wrong & covered).any():
            continue
        residual = case.fit(moved)
        if residual is not None:
            message = f"the gradient of {case.name} is shifted by {list(shift)}: padding is not cut off where it was put on"
            return Diagnosis("padding", message, residual)
    return None


def swapped(case: Case) -> Diagnosis | None:
    """The gradient of another input."""
    returned = _returned(case)
    for i, report in enumerate(case.reports):
        if returned is not None and i != case.which and returned.shape == report.x.shape:
            residual = case.fit_array(returned, report.numeric)
            if residual is not None and report.x.size > 1:
                message = f"what comes back for {case.name} is the gradient of {report.name}: the order of the gradients"
                return Diagnosis("swapped", message, residual)
    return None


def unsummed(case: Case) -> Diagnosis | None:
    """More axes than the input has, or only one place along an axis of the output counted."""
    returned = _returned(case)
    if returned is not None and returned.shape != case.x.shape and returned.size > case.x.size:
        for axes in _subsets(returned.ndim):
            total = returned.sum(axes)
            if total.size == case.x.size:
                residual = case.fit_array(total.reshape(case.x.shape), case.views[0].numeric)
                if residual is not None:
                    message = f"the gradient of {case.name} is not summed over {_axes(axes)} of shape {list(returned.shape)}"
                    return Diagnosis("unsummed", message, residual)
    shape = case.outputs[0].shape
    if len(case.outputs) != 1 or case.jacobian is None:
        return None
    for axis, n in enumerate(shape):
        if n < 2:
            continue
        mask = np.zeros(shape)
        np.moveaxis(mask, axis, 0)[0] = 1.0
        residual = case.fit(case.through(mask))
        if residual is not None:
            message = f"the gradient of {case.name} is not summed over the output's axis {axis}: only its first place counts"
            return Diagnosis("unsummed", message, residual)
    return None


def summed(case: Case) -> Diagnosis | None:
    """Summed (or averaged) over an axis of the input that should have stayed."""
    for axes in _subsets(case.x.ndim):
        if all(case.x.shape[a] == 1 for a in axes):
            continue
        for how, word in ((np.sum, "summed"), (np.mean, "averaged")):

            def spread(view: View, axes: tuple[int, ...] = axes, how: object = how) -> Array:
                assert callable(how)
                return np.asarray(np.broadcast_to(how(view.numeric, axis=axes, keepdims=True), case.x.shape))

            residual = case.fit(spread)
            if residual is not None:
                message = f"the gradient of {case.name} is {word} over {_axes(axes)}, which should stay"
                return Diagnosis("summed", message, residual)
    return None


def one_slice(case: Case) -> Diagnosis | None:
    """Wrong along one place of one axis only: the weakest thing that can be said."""
    wrong = case.wrong
    if case.x.ndim == 0 or case.x.size < 4 or wrong.all():
        return None
    for axis, n in enumerate(case.x.shape):
        places = np.flatnonzero(wrong.any(axis=tuple(a for a in range(case.x.ndim) if a != axis)))
        if n > 2 and len(places) == 1 and int(wrong.sum()) > 1:
            message = (
                f"the gradient of {case.name} is wrong only at place {places[0]} of axis {axis}, and right everywhere else"
            )
            return Diagnosis("slice", message)
    return None


def _subsets(ndim: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), count)


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
