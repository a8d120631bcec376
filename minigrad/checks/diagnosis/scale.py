"""Hypotheses about size: zero, a constant factor and where it comes from, an operand forgotten, a regularisation term."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from minigrad.checks.diagnosis.case import Case, placements
from minigrad.checks.verdict import Diagnosis
from minigrad.core import Array

__all__ = ["bias", "data_factor", "factor", "forgotten_bias", "operand", "regularisation", "zero"]

_DROPOUT = ("p", "prob", "rate", "ratio", "keep", "keep_prob", "keep_p", "drop_prob", "p_drop", "dropout", "dropout_rate")
_REGULARISATION = ("reg", "lam", "lambda", "lambd", "lambda_", "l2", "weight_decay", "decay", "alpha", "wd", "reg_strength")


def bias(case: Case) -> Diagnosis | None:
    """A bias without any gradient."""
    if zero(case) is None or not is_bias(case, case.which):
        return None
    how = "None" if case.report.returned is None else "zero"
    return Diagnosis(
        "bias", f"the bias was forgotten: the gradient of {case.name} is {how}, it should be the sum of what comes in"
    )


def zero(case: Case) -> Diagnosis | None:
    """No gradient at all."""
    analytic = case.views[0].analytic[case.places]
    if not analytic.size or analytic.any():
        return None
    if case.report.returned is None:
        return Diagnosis("zero", f"no gradient of {case.name} comes back (None), though the output depends on it")
    return Diagnosis("zero", f"the gradient of {case.name} is zero everywhere")


def forgotten_bias(case: Case) -> Diagnosis | None:
    """Backward works the forward pass out anew, without its bias."""
    for i, report in enumerate(case.reports):
        if not report.x.any() or not is_bias(case, i):
            continue
        residual = case.fit_at({i: np.zeros_like(report.x)})
        if residual is not None:
            message = f"the bias was forgotten: the gradient of {case.name} is the one that belongs to {report.name} = 0"
            return Diagnosis("bias", message, residual)
    return None


def is_bias(case: Case, which: int) -> bool:
    """Whether an input is one that things are added to: named like one, or each output hangs on just one element, alike."""
    report = case.reports[which]
    if report.name.lower().lstrip("_") in ("b", "bias", "beta") or report.name.lower().startswith(("b_", "bias", "beta")):
        return True
    named_alike = report.name[:1] == "b" and report.name[1:].isdigit()
    if named_alike or report.jacobian is None or report.x.ndim != 1 or len(case.reports) < 2:
        return named_alike
    used = report.jacobian[np.abs(report.jacobian) > 1e-9]
    return bool(used.size > report.x.size and np.allclose(used, 1.0, rtol=1e-6))


def factor(case: Case) -> Diagnosis | None:
    """One number between the two gradients, and what that number is."""
    analytic = np.concatenate([view.analytic[case.places] for view in case.views])
    numeric = np.concatenate([view.numeric[case.places] for view in case.views])
    size = float(numeric @ numeric)
    c = float(analytic @ numeric) / size if size else 0.0
    if not np.isfinite(c) or abs(c) < 1e-6 or _near(c, 1):
        return None
    residual = case.fit(lambda view: c * view.numeric)
    if residual is None:
        return None
    diagnosis = _named(case, c, residual)
    if diagnosis.kind == "factor-unknown":
        small = np.abs(numeric) > 1e-3 * np.abs(numeric).max()
        count = case.x.size * (1 if case.problem.unit else len(case.cotangents[0]))
        if small.sum() < 3 or count < 3:  # one or two numbers are proportional to anything
            return None
        return Diagnosis("factor", diagnosis.message, residual)
    return diagnosis


def data_factor(case: Case) -> Diagnosis | None:
    """A factor on the loss proper, where a regularisation term beside it is right."""
    if not case.problem.unit or case.problem.again is None or case.x.size < 3:
        return None
    for name, value in _numbers(case):
        if name.lower() not in _REGULARISATION or not value:
            continue
        term = _part_of(case, name)
        if term is None:
            continue
        rest = case.views[0].numeric - term * case.x
        analytic = case.views[0].analytic - term * case.x
        c = float((analytic * rest).sum()) / max(float(np.square(rest).sum()), 1e-300)
        residual = case.fit(lambda view, c=c, rest=rest, term=term: c * rest + term * case.x)  # type: ignore[misc] # bound now
        if residual is not None and abs(c) > 1e-6:
            found = _named(case, c, residual, "the loss proper's part of the gradient")
            return replace(found, kind=found.kind.removesuffix("-unknown"))
    return None


def _named(case: Case, c: float, residual: float, part: str = "the gradient") -> Diagnosis:
    sign = "minus " if c < 0 else ""
    size = abs(c)

    def said(kind: str, what: str) -> Diagnosis:
        return Diagnosis(kind, f"{part} of {case.name} is {what}", residual)

    if _near(c, -1):
        return said("sign", "the negative of the right one: a sign")
    for name, value in _numbers(case):
        if name.lower() in _DROPOUT and 0 < value < 1:
            for scale, word, inverse in ((value, name, f"1 / {name}"), (1 - value, f"1 - {name}", f"1 / (1 - {name})")):
                if _near(size, scale) or _near(size, 1 / scale):
                    left = inverse if _near(size, scale) else word
                    return said("dropout-scale", f"{c:.6g} times the right one: dropout's scale {left} is missing")
    slopes = dropped(case)
    if slopes is not None and (_near(size, 1 / slopes) or _near(size, slopes)):
        word = "missing" if _near(size, 1 / slopes) else "there twice"
        return said("dropout-scale", f"{c:.6g} times the right one: dropout's scale {slopes:.6g} is {word}")
    if _near(size, 2) or _near(size, 0.5):
        return said("factor", f"{sign}{'twice' if size > 1 else 'half'} the right one: a factor of 2")
    for n, place in case.dimensions():
        if n > 2 and _near(size, n):
            return said("mean", f"{sign}{n} times the right one, {place}: summed where it should be averaged, 1/{n} is missing")
        if n > 2 and _near(size, 1 / n):
            return said("averaged", f"{sign}1/{n} of the right one, {place}: averaged where it should be summed")
    for name, value in _numbers(case):
        if value and (_near(size, abs(value)) or _near(size, 1 / abs(value))):
            word = f"{name} once too often" if _near(size, abs(value)) else f"a factor {name} missing"
            return said("factor", f"{c:.6g} times the right one: {word}")
    return said("factor-unknown", f"{c:.6g} times the right one, everywhere")


def _numbers(case: Case) -> Iterator[tuple[str, float]]:
    for name, value in case.settings.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)


def _near(a: float, b: float) -> bool:
    return bool(abs(a - b) <= 1e-4 * abs(b))


def dropped(case: Case) -> float | None:
    """Dropout's scale, where the function looks like dropout: each element passes with one scale or not at all."""
    jacobian = case.jacobian
    if jacobian is None or jacobian.shape[0] != jacobian.shape[1] or np.count_nonzero(jacobian - np.diag(np.diag(jacobian))):
        return None
    slopes = np.diag(jacobian)
    kept = slopes != 0
    if kept.all() or not kept.any() or not np.allclose(slopes[kept], slopes[kept][0], rtol=1e-6) or _near(slopes[kept][0], 1):
        return None
    x = case.x.reshape(-1)
    by_sign = (kept == (x > 0)).all() or (kept == (x < 0)).all()
    return None if by_sign else float(slopes[kept][0])


def operand(case: Case) -> Diagnosis | None:
    """Another array too often, too seldom, or one in place of another."""
    pool = [(name, p) for name, array in _pool(case) for p in placements(array, case.x.shape)]
    pool = [(name, p) for name, p in pool if np.ptp(p) > 1e-6 * np.abs(p).max()][:8]
    for name, v in pool:
        for power, much in ((-1, f"{name} is missing"), (1, f"{name} is there once too often"), (-2, f"{name}² is missing")):
            residual = case.fit(lambda view, v=v, power=power: view.numeric * v**power)  # type: ignore[misc] # bound now
            if residual is not None:
                return Diagnosis("operand", f"the gradient of {case.name} is off by a factor: {much}", residual)
    for (a, v), (b, w) in itertools.permutations(pool, 2):
        residual = case.fit(lambda view, v=v, w=w: view.numeric * (v / w))  # type: ignore[misc] # bound now
        if residual is not None:
            return Diagnosis("operand", f"the gradient of {case.name} is multiplied by {a} where {b} was needed", residual)
    return None


def _pool(case: Case) -> Iterator[tuple[str, Array]]:
    yield from ((name, np.asarray(v, float)) for name, v in case.others)
    yield case.name, case.x
    out = case.out
    if out is not None and out.shape == case.x.shape:
        yield "the output", out
        yield "1 - the output", 1 - out
        yield "1 + the output", 1 + out


def regularisation(case: Case) -> Diagnosis | None:
    """A multiple of the array itself missing, or there twice."""
    known = [n for n, v in _numbers(case) if n.lower() in _REGULARISATION and v]
    gap = (case.views[0].analytic - case.views[0].numeric)[case.places]
    x = case.x[case.places]
    if x.size < 3 or not x.any() or np.ptp(x) == 0 or not (known or case.problem.unit or len(case.cotangents[0]) == 1):
        return None
    c = float(gap @ x) / float(x @ x)
    scale = 1.0 if case.problem.unit else case.cotangents[0][0]
    residual = case.fit(lambda view: view.numeric + c * (view.g[0] / scale) * case.x)
    if residual is None:
        return None
    for name in known:
        part = _part_of(case, name)
        if part is None:
            continue
        for share, what in ((-1, "is missing"), (1, "is there twice"), (-0.5, "is half as large as it should be")):
            if _near(c, share * part * scale):
                return Diagnosis("regularisation", f"the regularisation term of {case.name} ({name}) {what}", residual)
    more = "too much: the regularisation term is there twice, or one that the loss has not"
    what = f"{-c / scale:.6g}·{case.name} too little: the regularisation term is missing" if c / scale < 0 else more
    what = what if c / scale < 0 else f"{c / scale:.6g}·{case.name} {what}"
    return Diagnosis("regularisation", f"the gradient of {case.name} is {what}", residual)


def _part_of(case: Case, name: str) -> float | None:
    """The right regularisation term's coefficient, from the loss itself: how it changes with the setting."""
    if case.problem.again is None:
        return None
    try:
        without = case.problem.again({name: 0.0})
    except ValueError:
        return None
    gap = []
    for factor in (1.0, 1.01):
        points = [x * factor if i == case.which else x for i, x in enumerate(case.problem.inputs)]
        case.seeded.restart()
        other = np.asarray(without.value([x.copy() for x in points])[0], float).reshape(-1)
        value = case.value(points)
        if value is None:
            return None
        gap.append(float(value[0] - other[0]))
    squared = float(np.square(case.x).sum())
    return (gap[1] - gap[0]) / (0.5 * (1.01**2 - 1) * squared) if squared else None
