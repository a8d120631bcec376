"""The evidence that a hypothesis is held against: both gradients under several cotangents, and the numeric Jacobian.

Since the Jacobian is known, what a wrong backward pass *would* give can be computed from it and compared with what came
back. A hypothesis is stated only where the two agree to a small fraction of the mismatch that it is to explain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.checks.findings import as_gradient
from minigrad.checks.problem import Problem, Seeded, flat, split
from minigrad.checks.verdict import InputReport, Verdict
from minigrad.core import Array

__all__ = ["Case", "View", "placements"]

#: A hypothesis fits where what it leaves unexplained is at most this part of the mismatch.
CLOSE = 1e-3
#: Jacobians beyond this many entries are not taken apart, and no input's diagnosis evaluates it for longer.
LARGEST, SECONDS = 1_000_000, 10.0
#: An array of more elements is not gone through one by one again for a diagnosis.
MOST_ELEMENTS = 500


class View(NamedTuple):
    """One cotangent (flat) and what both sides make of it, in the input's shape."""

    g: Array
    analytic: Array
    numeric: Array


class Case:
    """One input with a wrong gradient, and everything that can be asked about it."""

    def __init__(
        self,
        problem: Problem,
        reports: Sequence[InputReport],
        which: int,
        cotangents: Sequence[Array],
        gradients: Sequence[Sequence[Array]],
        outputs: Sequence[Array],
        seeded: Seeded,
        recheck: Callable[[Problem], Any],
    ) -> None:
        """`reports` are those of all inputs in order; `gradients` the analytic ones under each of the flat `cotangents`."""
        self.problem, self.reports, self.which = problem, list(reports), which
        self.report = reports[which]
        self.cotangents, self.gradients, self.outputs = cotangents, gradients, list(outputs)
        self.seeded, self.recheck = seeded, recheck
        self.deadline = time.perf_counter() + SECONDS

    # -------------------------------------------------------------------------------------------- what is known

    @property
    def name(self) -> str:
        """The input's name."""
        return self.report.name

    @property
    def x(self) -> Array:
        """The input's values."""
        return self.report.x

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything else the function was given."""
        return self.problem.settings

    @property
    def out(self) -> Array | None:
        """The output, where there is one."""
        return np.asarray(self.outputs[0], float) if len(self.outputs) == 1 else None

    @property
    def others(self) -> list[tuple[str, Array]]:
        """The other checked inputs and the settings that are arrays of numbers, by name."""
        inputs = [(r.name, r.x) for i, r in enumerate(self.reports) if i != self.which]
        arrays = [(n, np.asarray(v)) for n, v in self.settings.items() if isinstance(v, np.ndarray)]
        return inputs + [(n, v) for n, v in arrays if v.dtype.kind in "fiu"]

    @functools.cached_property
    def places(self) -> Array:
        """Where both numbers are known and the numeric one can be trusted."""
        judged = np.isin(self.report.verdict, (Verdict.OK, Verdict.WRONG, Verdict.NONFINITE))
        return np.asarray(judged & np.isfinite(self.report.numeric) & np.isfinite(self.report.error))

    @property
    def wrong(self) -> Array:
        """Where the verdict is wrong."""
        return np.asarray(self.report.verdict == Verdict.WRONG)

    @functools.cached_property
    def jacobian(self) -> Array | None:
        """All outputs (flat) by all elements (flat), or None where it is too large or not known."""
        found = self.report.jacobian
        if found is None and self.x.size * len(self.cotangents[0]) <= LARGEST:
            found = self.numeric_at({})
        return None if found is None or found.size > LARGEST or not np.isfinite(found).all() else found

    @functools.cached_property
    def views(self) -> list[View]:
        """Both random cotangents; more where the array has so few elements that two numbers would fit anything."""
        first = View(self.cotangents[0], self.gradients[0][self.which], self._numeric(0))
        if self.jacobian is None or self.problem.unit:
            return [first]
        views = [first, View(self.cotangents[1], self.gradients[1][self.which], self._numeric(1))]
        if self.x.size < 4:
            rng = np.random.default_rng(1)
            views += [self.view(rng.normal(size=len(first.g))) for _ in range(4)]
        if self.report.row is not None:
            views.append(self.view(np.eye(1, len(first.g), self.report.row)[0]))
        return views

    def _numeric(self, number: int) -> Array:
        if self.jacobian is not None:
            return np.asarray(self.cotangents[number] @ self.jacobian).reshape(self.x.shape)
        return self.report.numeric

    def view(self, g: Array) -> View:
        """Both sides under another cotangent."""
        assert self.jacobian is not None
        return View(g, self.pulled(g), (g @ self.jacobian).reshape(self.x.shape))

    def pulled(self, g: Array) -> Array:
        """The analytic gradient under another cotangent, from a forward pass of its own."""
        self.seeded.restart()
        with np.errstate(all="ignore"):
            run = self.problem.run([x.copy() for x in self.problem.inputs])
            return as_gradient(run.pull(split(g, run.outputs))[self.which], self.x)

    @functools.cached_property
    def rows(self) -> Array | None:
        """The analytic Jacobian, one unit cotangent after another; None where that would take too long."""
        size = len(self.cotangents[0])
        if self.jacobian is None or size > 512 or self.problem.unit:
            return None
        rows = []
        for row in range(size):
            rows.append(self.pulled(np.eye(1, size, row)[0]).reshape(-1))
            if time.perf_counter() > self.deadline:
                return None
        return np.stack(rows)

    # -------------------------------------------------------------------------------------------- asking further

    def value(self, arrays: Sequence[Array]) -> Array | None:
        """All outputs (flat) at another point, or None where the function can't be evaluated there."""
        self.seeded.restart()
        try:
            with np.errstate(all="ignore"):
                found = flat(self.problem.value([np.array(x) for x in arrays]))
        except Exception:  # another point may be outside what the function was written for
            return None
        return found if found.shape == self.cotangents[0].shape and not np.iscomplexobj(found) else None

    def numeric_at(self, changes: Mapping[int, Array], places: Sequence[tuple[int, ...]] | None = None) -> Array | None:
        """The derivative of all outputs by this input, at other values of some inputs: a Jacobian, or None.

        One column for each of `places`; without them for every element.
        """
        if places is None and self.x.size > MOST_ELEMENTS:
            return None
        points = [np.array(changes.get(i, x), float) for i, x in enumerate(self.problem.inputs)]
        x = points[self.which]
        columns = []
        for at in np.ndindex(x.shape) if places is None else places:
            sides, before = [], x[at]
            step = 1e-5 * max(abs(float(before)), 0.1)
            for sign in (1.0, -1.0):
                x[at] = before + sign * step
                sides.append(self.value(points))
            x[at] = before
            if sides[0] is None or sides[1] is None or time.perf_counter() > self.deadline:
                return None
            columns.append((sides[0] - sides[1]) / (2 * step))
        jacobian = np.stack(columns, axis=1) if columns else None
        return jacobian if jacobian is not None and np.isfinite(jacobian).all() else None

    def fit_at(self, changes: Mapping[int, Array]) -> float | None:
        """How well the derivative at other values of some inputs fits; a few elements first, since it seldom does."""
        view = self.views[0]
        gap = np.where(self.places, np.abs(view.analytic - view.numeric), -1.0).reshape(-1)
        few = [tuple(int(k) for k in np.unravel_index(i, self.x.shape)) for i in np.argsort(-gap, kind="stable")[:4]]
        columns = self.numeric_at(changes, few)
        if columns is None:
            return None
        analytic, right = (np.array([side[at] for at in few]) for side in (view.analytic, view.numeric))
        if not np.linalg.norm(view.g @ columns - analytic) <= 0.1 * np.linalg.norm(right - analytic):
            return None
        jacobian = self.numeric_at(changes)
        return None if jacobian is None else self.fit_jacobian(jacobian)

    @functools.cached_property
    def touched(self) -> Array | None:
        """Which outputs (flat) an element can reach at all, found by giving it values beyond all the others."""
        if self.x.size > MOST_ELEMENTS:
            return None
        base = self.value(self.problem.inputs)
        far = 2.0 * float(np.abs(self.x).max(initial=0.0)) + 1.0
        columns = []
        for at in np.ndindex(self.x.shape):
            moved = np.zeros(len(self.cotangents[0]), bool)
            for value in (far, -far):
                points = [np.array(x) for x in self.problem.inputs]
                points[self.which][at] = value
                found = self.value(points)
                if base is None or found is None or time.perf_counter() > self.deadline:
                    return None
                moved |= found != base
            columns.append(moved)
        return np.stack(columns, axis=1) if columns else None

    def right_with(self, changes: dict[str, Any]) -> bool:
        """Whether the same input's gradient is right under other settings."""
        if self.problem.again is None:
            return False
        with contextlib.suppress(Exception):  # other settings may not go with these shapes
            return self._right(self.problem.again(changes))
        return False

    def right_at(self, x: Array) -> bool:
        """Whether the same input's gradient is right at other values of it."""
        inputs = [x if i == self.which else old for i, old in enumerate(self.problem.inputs)]
        with contextlib.suppress(Exception):  # the other point may be outside the function's domain
            return self._right(dataclasses.replace(self.problem, inputs=inputs))
        return False

    def _right(self, problem: Problem) -> bool:
        report = self.recheck(problem)
        found = report.inputs[self.which]
        shape = any(f.kind == "shape" and f.input == self.name for f in report.findings)
        return bool(found.ok and not shape and found.count(Verdict.OK))

    # -------------------------------------------------------------------------------------------- holding against it

    def fit(self, candidate: Callable[[View], Array | None]) -> float | None:
        """How much of the mismatch a candidate leaves unexplained, or None where it does not fit.

        `candidate` gives the gradient that the hypothesis predicts under a view's cotangent.
        """
        unexplained = mismatch = doubt = 0.0
        for view in self.views:
            with np.errstate(all="ignore"):
                predicted = candidate(view)
                if predicted is None or predicted.shape != self.x.shape:
                    return None
                unexplained += float(np.square((view.analytic - predicted)[self.places]).sum())
                mismatch += float(np.square((view.analytic - view.numeric)[self.places]).sum())
            doubt += float(np.square(self.report.error[self.places]).sum())
        if not np.isfinite(unexplained) or not mismatch > 0:
            return None
        residual = float(np.sqrt(unexplained / mismatch))
        allowed = CLOSE + min(0.05, 3 * float(np.sqrt(doubt / mismatch)))
        return residual if residual <= allowed else None

    def fit_jacobian(self, jacobian: Array) -> float | None:
        """The same for a Jacobian that backward would have followed in place of the right one."""
        return self.fit(lambda view: np.asarray(view.g @ jacobian).reshape(self.x.shape))

    def fit_array(self, array: Array, numeric: Array | None = None) -> float | None:
        """The same for an array of any shape under the first cotangent alone, against `numeric`."""
        target = self.report.numeric if numeric is None else numeric
        if array.shape != target.shape or not np.isfinite(target).all() or not np.isfinite(array).all():
            return None
        size = float(np.linalg.norm(target))
        residual = float(np.linalg.norm(array - target)) / size if size else np.inf
        return residual if residual <= CLOSE else None

    def through(self, factor: Array) -> Callable[[View], Array | None]:
        """The gradient if the incoming one were multiplied by `factor`, and everything after that right."""

        def candidate(view: View) -> Array | None:
            if self.jacobian is None:
                return None
            return np.asarray((view.g * factor.reshape(-1)) @ self.jacobian).reshape(self.x.shape)

        return candidate

    def dimensions(self) -> Iterator[tuple[int, str]]:
        """Sizes that a forgotten or superfluous 1/N could be, with where they come from: single axes first."""
        arrays = [(self.name, self.x), *self.others]
        arrays += [(f"output {i}" if len(self.outputs) > 1 else "the output", y) for i, y in enumerate(self.outputs)]
        for name, array in arrays:
            for axis, n in enumerate(array.shape):
                yield n, f"the size of {name} along axis {axis}"
        for name, array in arrays:
            for count in range(2, array.ndim + 1):
                for axes in itertools.combinations(range(array.ndim), count):
                    size = int(np.prod([array.shape[a] for a in axes]))
                    place = "the number of elements of " + name
                    yield size, place if count == array.ndim else f"the size of {name} along axes {', '.join(map(str, axes))}"


def placements(v: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Every way in which `v` can be laid along the axes of an array of this shape: as numpy broadcasts, and by channel."""
    try:
        if np.broadcast_shapes(v.shape, shape) == shape:
            yield v
    except ValueError:
        pass
    if v.ndim == 1 and v.size > 1:
        for axis, n in enumerate(shape[:-1]):
            if n == v.size:
                yield v.reshape([n if a == axis else 1 for a in range(len(shape))])
