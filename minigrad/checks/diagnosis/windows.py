"""Hypotheses about windows and settings: written where it should be added, the border, stride, ties."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from minigrad.checks.diagnosis.case import Case, View
from minigrad.checks.verdict import Diagnosis
from minigrad.core import Array

__all__ = ["border", "carried", "ignored_output", "one_path", "overlap", "overwritten", "settings", "ties"]


def overwritten(case: Case) -> Diagnosis | None:
    """Where several outputs use one element, only the last one's share counts: `=` where `+=` was needed."""
    if case.jacobian is None or len(case.outputs) != 1 or not case.outputs[0].ndim:
        return None
    shape, jacobian = case.outputs[0].shape, case.jacobian
    for touched in _touching(case, jacobian):
        for count in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                if all(shape[a] == 1 for a in axes):
                    continue
                winners = _last(touched, shape, axes)
                residual = case.fit(lambda view, w=winners: _only(view, jacobian, w, case.x.shape))  # type: ignore[misc]
                if residual is not None:
                    return Diagnosis("overwritten", _said(case, shape, axes), residual)
    return None


def _touching(case: Case, jacobian: Array) -> Iterator[Array]:
    """Which outputs may write to an element: those with a share in it, those that could have one, all of them."""
    share = jacobian != 0
    yield share
    could = case.touched
    if could is not None and (could != share).any():
        yield could
    yield np.ones_like(share)


def _said(case: Case, shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
    place = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
    return (
        f"the gradient of {case.name} is written with = where += is needed: of all places along {place} of the output "
        f"(of shape {list(shape)}) that use an element, only the last one counts"
    )


def _last(touched: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Which (output, element) pairs survive where each place along `axes` overwrites what earlier ones wrote."""
    size = touched.shape[1]
    rest = tuple(a for a in range(len(shape)) if a not in axes)
    by_place = touched.reshape(*shape, size).any(axis=rest).reshape(-1, size)
    last = len(by_place) - 1 - np.argmax(by_place[::-1], axis=0)
    survives = np.zeros_like(by_place)
    survives[last, np.arange(size)] = True
    wide = [shape[a] if a in axes else 1 for a in range(len(shape))]
    return np.asarray(np.broadcast_to(survives.reshape(*wide, size), (*shape, size)).reshape(touched.shape))


def _only(view: View, jacobian: Array, winners: Array, shape: tuple[int, ...]) -> Array:
    return np.asarray(view.g @ np.where(winners, jacobian, 0.0)).reshape(shape)


def overlap(case: Case) -> Diagnosis | None:
    """Right exactly where an element is used once: something is not added up, whatever it is."""
    touched = case.touched
    if touched is None or case.places.sum() < 4:
        return None
    often = (touched.sum(axis=0) > 1).reshape(case.x.shape)
    wrong = case.wrong
    if not (~often & case.places).any() or (wrong & ~often).any() or wrong.sum() < 0.5 * (often & case.places).sum():
        return None
    message = (
        f"the gradient of {case.name} is right only where one output uses an element; where several do, their shares "
        "are not added up: = where += is needed"
    )
    return Diagnosis("overwritten", message)


def one_path(case: Case) -> Diagnosis | None:
    """An input that is used twice, once as it is: one of the two paths is forgotten."""
    if len(case.outputs) != 1 or case.outputs[0].shape != case.x.shape or case.problem.unit:
        return None
    if case.fit(lambda view: view.numeric - view.g.reshape(case.x.shape)) is None:
        return None
    message = f"{case.name} is used twice and one path is forgotten: the incoming gradient itself has to be added (+=)"
    return Diagnosis("overwritten", message, 0.0)


def carried(case: Case) -> Diagnosis | None:
    """A sequence whose gradient is not carried on: each place counts only at its own place of the output."""
    if case.jacobian is None or len(case.outputs) != 1:
        return None
    shape = case.outputs[0].shape
    wide = case.jacobian.reshape(*shape, *case.x.shape)
    for i, j in itertools.product(range(len(shape)), range(case.x.ndim)):
        if shape[i] != case.x.shape[j] or shape[i] < 2:
            continue
        index = np.arange(shape[i])
        here = index.reshape([-1 if a == i else 1 for a in range(wide.ndim)])
        there = index.reshape([-1 if a == len(shape) + j else 1 for a in range(wide.ndim)])
        if np.any(wide * (here < there)) and np.any(wide * (here > there)):
            continue  # places depend on each other both ways: no sequence
        cut = np.where(here == there, wide, 0.0).reshape(case.jacobian.shape)
        residual = case.fit_jacobian(cut) if (cut != case.jacobian).any() else None
        if residual is not None:
            message = (
                f"the gradient of {case.name} has only what each place along axis {j} does to its own place of the output: "
                "what goes on to other places (later steps) has to be added (+=)"
            )
            return Diagnosis("carry", message, residual)
    return None


def ignored_output(case: Case) -> Diagnosis | None:
    """One of several outputs whose incoming gradient is not used."""
    sizes = [y.size for y in case.outputs]
    ends = np.cumsum(sizes)
    for number, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        used = np.ones(ends[-1])
        used[end - size : end] = 0.0
        residual = case.fit(case.through(used)) if len(sizes) > 1 else None
        if residual is not None:
            message = f"the incoming gradient of output {number} does not get into the gradient of {case.name}: add it (+=)"
            return Diagnosis("ignored-output", message, residual)
    return None


def border(case: Case) -> Diagnosis | None:
    """Wrong in a frame along the edge and right inside."""
    wrong, ndim = case.wrong, case.x.ndim
    spatial = range(2, ndim) if ndim > 2 else range(ndim) if ndim == 2 else range(1)
    if not ndim or not case.places.all() or case.x.size < 4:
        return None
    for width in range(1, max((case.x.shape[a] - 1) // 2 for a in spatial) + 1):
        inside = tuple(slice(width, case.x.shape[a] - width) if a in spatial else slice(None) for a in range(ndim))
        frame = np.ones(case.x.shape, bool)
        frame[inside] = False
        if frame.all() or (wrong & ~frame).any():
            continue
        if wrong.sum() < 0.2 * frame.sum() or (~frame).sum() < 2 or width > 3:
            return None
        if ndim == 2 and 2 * (~frame).sum() < frame.sum():
            return None  # rows and columns may be examples and classes; a small inside is right by chance
        message = (
            f"the gradient of {case.name} is wrong only at the border ({width} wide) and right inside: look at the padding"
        )
        return Diagnosis("border", message)
    return None


def settings(case: Case) -> Diagnosis | None:
    """Right under a plainer setting: stride, padding, dilation or groups."""
    for kind, names, plain in (
        ("stride", ("stride", "strides", "s"), 1),
        ("padding", ("pad", "padding", "p"), 0),
        ("dilation", ("dilation", "dilate"), 1),
        ("groups", ("groups",), 1),
    ):
        for name, value in case.settings.items():
            if name.lower() not in names or isinstance(value, (bool, float, str)) or np.all(np.asarray(value) == plain):
                continue
            simple = plain if np.ndim(value) == 0 else type(value)(plain for _ in value)
            if case.right_with({name: simple}):
                word = f"> {plain}" if plain else "that is not 0"
                message = f"the gradient of {case.name} is right for {name} = {simple} and wrong for a {name} {word}"
                return Diagnosis(kind, message)
    return None


def ties(case: Case) -> Diagnosis | None:
    """Right as soon as no two elements are equal."""
    values, counts = np.unique(case.x, return_counts=True)
    repeated = np.isin(case.x, values[counts > 1])
    if not case.report.tied and not (repeated & case.wrong).any():
        return None
    if (case.wrong & ~repeated).any() and case.wrong.all():
        return None
    spread = float(np.abs(case.x).max(initial=0.0)) or 1.0
    apart = case.x + 1e-2 * spread * np.random.default_rng(3).permutation(case.x.size).reshape(case.x.shape) / case.x.size
    if not case.right_at(apart):
        return None
    message = (
        f"the gradient of {case.name} is wrong only at ties: where equal elements share a maximum, "
        "their shares must come to 1 (the first one alone, or divided among them)"
    )
    return Diagnosis("ties", message)
