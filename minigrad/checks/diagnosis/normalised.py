"""Hypotheses about softmax and about statistics: sums over the wrong axis, means and variances held constant."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad.checks.diagnosis.case import Case, View, placements
from minigrad.checks.verdict import Diagnosis
from minigrad.core import Array

__all__ = ["label", "length", "scores", "softmax", "statistics"]


def softmax(case: Case) -> Diagnosis | None:
    """Softmax or log-softmax whose backward sums along the wrong axis, or not at all."""
    out = case.out
    if out is None or out.shape != case.x.shape or out.ndim < 1 or case.problem.unit:
        return None
    logarithm = bool((out <= 0).all())
    p = np.exp(out) if logarithm else out

    def formula(view: View, axes: tuple[int, ...]) -> Array:
        g = view.g.reshape(p.shape)
        if logarithm:
            return np.asarray(g - p * g.sum(axes, keepdims=True))
        return np.asarray(p * (g - (g * p).sum(axes, keepdims=True)))

    subsets = [axes for n in range(1, p.ndim + 1) for axes in itertools.combinations(range(p.ndim), n)]
    right = [axes for axes in subsets if np.allclose(formula(case.views[0], axes), case.views[0].numeric, 1e-4, 1e-7)]
    if not right:
        return None
    name = "log-softmax" if logarithm else "softmax"
    for axes in subsets:
        residual = case.fit(lambda view, axes=axes: formula(view, axes))  # type: ignore[misc] # bound now
        if residual is not None and axes not in right:
            message = (
                f"{name} runs along axis {right[0][0]}, but its backward sums along {list(axes)}: rows and columns are mixed up"
            )
            return Diagnosis("softmax", message, residual)
    for candidate, what in _partial(p, logarithm):
        residual = case.fit(candidate)
        if residual is not None:
            return Diagnosis("diagonal", f"in {name}'s backward {what}", residual)
    return None


def _partial(p: Array, logarithm: bool) -> Iterator[tuple[Callable[[View], Array], str]]:
    if logarithm:
        yield lambda view: view.g.reshape(p.shape), "the term with the sum over all classes is missing"
        yield lambda view: view.g.reshape(p.shape) * (1 - p), "only the diagonal is there: the sum over all classes is missing"
    else:
        yield lambda view: view.g.reshape(p.shape) * p, "the term with the sum over all classes is missing"
        yield (
            lambda view: view.g.reshape(p.shape) * p * (1 - p),
            "only the diagonal p (1 - p) is there: each class depends on all scores",
        )


# ------------------------------------------------------------------------------------------------ losses over scores


def scores(case: Case) -> Diagnosis | None:
    """A cross-entropy loss: probabilities along the wrong axis, the 1 at the right class not subtracted."""
    if len(case.cotangents[0]) != 1:
        return None
    for s, y, back in _score_arrays(case):
        rows = np.arange(len(s))
        onehot = np.zeros_like(s)
        onehot[rows, y] = 1.0
        right = _probabilities(s, 1) - onehot
        for scale in (1 / len(s), 1.0):
            g = case.cotangents[0][0]
            base = case.views[0].numeric - g * scale * back(right)
            c = float((base * case.x).sum()) / max(float(np.square(case.x).sum()), 1e-300)
            if np.linalg.norm(base - c * case.x) > 1e-5 * np.linalg.norm(case.views[0].numeric):
                continue  # not this loss, nor with a multiple of the weights added
            for wrong, kind, what in (
                (_probabilities(s, 0) - onehot, "softmax", "the probabilities are taken along axis 0, over the batch"),
                (_probabilities(s, 0), "softmax", "the probabilities are taken along axis 0, and no 1 is subtracted"),
                (_shifted(s) - onehot, "softmax", "the exponentials are divided by their sum along axis 0, over the batch"),
                (_probabilities(s, 1), "label", "the 1 at the right class is not subtracted"),
                (-onehot, "label", "only the right class's term is there"),
                (s - onehot, "softmax", "scores are used where probabilities belong"),
            ):
                gap = scale * back(wrong - right)
                residual = case.fit(lambda view, gap=gap: view.numeric + view.g[0] * gap)  # type: ignore[misc] # bound now
                if residual is not None:
                    return Diagnosis(kind, f"in the gradient of {case.name} {what}", residual)
    return None


def _score_arrays(case: Case) -> Iterator[tuple[Array, Array, Callable[[Array], Array]]]:
    """Scores, labels, and how a gradient of the scores becomes one of this input: itself, or weights before the scores."""
    arrays = dict(case.others)
    for y in _labels(case):
        x = case.x
        if x.ndim != 2:
            continue
        if len(x) == len(y) and y.max() < x.shape[1]:
            yield x, y, lambda ds: ds
        for data in arrays.values():
            if data.ndim == 2 and data.dtype.kind == "f" and data.shape == (len(y), len(x)) and y.max() < x.shape[1]:
                yield data @ x, y, lambda ds, data=data: data.T @ ds  # type: ignore[misc] # bound now


def _labels(case: Case) -> list[Array]:
    found = [np.asarray(v) for v in case.settings.values() if isinstance(v, (np.ndarray, list))]
    return [v for v in found if v.ndim == 1 and v.dtype.kind in "iu" and v.size and v.min() >= 0]


def _probabilities(s: Array, axis: int) -> Array:
    e = np.exp(s - s.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def _shifted(s: Array) -> Array:
    """Normalised along axis 0 after each row's own maximum was taken off: the mistake of one `axis`."""
    e = np.exp(s - s.max(1, keepdims=True))
    return np.asarray(e / e.sum(0, keepdims=True))


def label(case: Case) -> Diagnosis | None:
    """Wrong exactly at the right class of each row."""
    if case.x.ndim != 2:
        return None
    for y in _labels(case):
        if len(y) == len(case.x) and y.max() < case.x.shape[1]:
            right = np.zeros(case.x.shape, bool)
            right[np.arange(len(y)), y] = True
            if case.wrong.any() and not (case.wrong & ~right).any() and case.wrong.sum() >= 0.5 * right.sum():
                message = f"the gradient of {case.name} is wrong exactly at each row's right class: its own term is missing"
                return Diagnosis("label", message)
    return None


# ------------------------------------------------------------------------------------------------ statistics


def statistics(case: Case) -> Diagnosis | None:
    """Batch or layer normalisation in which the mean, the variance or both are treated as constants."""
    if case.out is None or case.out.shape != case.x.shape or case.x.ndim < 1 or case.problem.unit:
        return None
    for axes in (a for n in range(1, case.x.ndim + 1) for a in itertools.combinations(range(case.x.ndim), n)):
        for eps, gamma in itertools.product(_epsilons(case), _gammas(case)):
            terms = _terms(case, axes, axes, eps, gamma)
            if not np.allclose(_total(terms(case.views[0], np.mean)), case.views[0].numeric, rtol=1e-4, atol=1e-7):
                continue
            found = _partial_statistics(case, terms) or _bare_statistics(case, axes, eps, gamma)
            if found is not None:
                return found
    return None


def _terms(
    case: Case, axes: tuple[int, ...], over_axes: tuple[int, ...], eps: float, gamma: Array
) -> Callable[[View, Any], tuple[Array, Array, Array]]:
    """The three terms of the derivative: direct, through the mean, through the variance (Ioffe and Szegedy 2015).

    `axes` are those of forward's statistics, `over_axes` those along which backward sums.
    """
    centred = case.x - case.x.mean(axes, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(axes, keepdims=True) + eps)
    normal = centred * scale

    def terms(view: View, over: Any) -> tuple[Array, Array, Array]:
        g = view.g.reshape(case.x.shape) * gamma
        mean, var = over(g, axis=over_axes, keepdims=True), over(g * normal, axis=over_axes, keepdims=True)
        return scale * g, -scale * mean * np.ones_like(g), -scale * normal * var

    return terms


def _partial_statistics(case: Case, terms: Callable[[View, Any], tuple[Array, Array, Array]]) -> Diagnosis | None:
    for kept, over, kind, what in (
        ((0,), np.mean, "statistics", "mean and variance are held constant: their own dependence on it is missing"),
        ((0, 1), np.mean, "statistics", "the variance is held constant: its own dependence on it is missing"),
        ((0, 2), np.mean, "statistics", "the mean is held constant: its own dependence on it is missing"),
        ((0, 1, 2), np.sum, "mean", "the statistics' terms are summed where they should be averaged: 1/N is missing"),
    ):
        residual = case.fit(lambda view, kept=kept, over=over: _total(terms(view, over), kept))  # type: ignore[misc] # bound now
        if residual is not None:
            return Diagnosis(kind, f"in the gradient of {case.name} {what}", residual)
    return None


def _total(terms: tuple[Array, Array, Array], kept: tuple[int, ...] = (0, 1, 2)) -> Array:
    return np.asarray(sum((terms[k] for k in kept[1:]), terms[kept[0]]))


def _bare_statistics(case: Case, axes: tuple[int, ...], eps: float, gamma: Array) -> Diagnosis | None:
    """All three terms, but without the scale, without the standard deviation, or summed along another axis."""
    centred = case.x - case.x.mean(axes, keepdims=True)
    std = np.sqrt(np.square(centred).mean(axes, keepdims=True) + eps)
    right, plain = (_terms(case, axes, axes, eps, g) for g in (gamma, np.ones(case.x.shape)))
    here = f"in the gradient of {case.name}"
    residual = case.fit(lambda view: _total(plain(view, np.mean)))
    if residual is not None and np.ptp(gamma):
        return Diagnosis("operand", f"{here} the scale (gamma) is missing", residual)
    residual = case.fit(lambda view: _total(right(view, np.mean)) * std)
    if residual is not None:
        return Diagnosis("operand", f"{here} the division by the standard deviation is missing", residual)
    for other in (a for n in range(1, case.x.ndim + 1) for a in itertools.combinations(range(case.x.ndim), n)):
        elsewhere = _terms(case, axes, other, eps, gamma)
        for moved in ((True, False), (False, True), (True, True)):  # which of the two sums runs along the other axis

            def mixed(view: View, moved: tuple[bool, bool] = moved, elsewhere: Any = elsewhere) -> Array:
                good, bad = right(view, np.mean), elsewhere(view, np.mean)
                return np.asarray(good[0] + (bad if moved[0] else good)[1] + (bad if moved[1] else good)[2])

            residual = case.fit(mixed) if other != axes else None
            if residual is not None:
                message = f"{here} the statistics' terms run along {list(other)}, the statistics along {list(axes)}"
                return Diagnosis("statistics", message, residual)
    return None


def length(case: Case) -> Diagnosis | None:
    """Slices divided by their own length (a norm), which is held constant or taken along another axis."""
    out = case.out
    if out is None or out.shape != case.x.shape or case.x.ndim < 1 or not case.x.all():
        return None
    ratio = out / case.x
    for axes in (a for n in range(1, case.x.ndim + 1) for a in itertools.combinations(range(case.x.ndim), n)):
        if np.ptp(ratio, axis=axes).max() > 1e-9 * np.abs(ratio).max() or not np.allclose(np.square(out).sum(axes), 1.0):
            continue
        here = f"in the gradient of {case.name}"
        residual = case.fit(lambda view: view.g.reshape(out.shape) * ratio)
        if residual is not None:
            return Diagnosis("statistics", f"{here} the length is held constant: its own dependence on it is missing", residual)
        for other in (a for n in range(1, case.x.ndim + 1) for a in itertools.combinations(range(case.x.ndim), n)):

            def along(view: View, other: tuple[int, ...] = other) -> Array:
                g = view.g.reshape(out.shape)
                return np.asarray((g - out * (g * out).sum(other, keepdims=True)) * ratio)

            residual = case.fit(along) if other != axes else None
            if residual is not None:
                message = f"{here} the length's term runs along {list(other)}, the length along {list(axes)}"
                return Diagnosis("statistics", message, residual)
    return None


def _epsilons(case: Case) -> list[float]:
    given = [float(v) for n, v in case.settings.items() if n.lower() in ("eps", "epsilon") and isinstance(v, (int, float))]
    return given or [1e-5, 1e-8, 0.0, 1e-3]


def _gammas(case: Case) -> list[Array]:
    arrays = [r.x for i, r in enumerate(case.reports) if i != case.which]
    return [np.ones(case.x.shape)] + [p for a in arrays for p in placements(a, case.x.shape)]
