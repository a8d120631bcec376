"""The check itself: a problem in, a report out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigrad.checks.diagnosis import Case, diagnose
from minigrad.checks.findings import after, as_gradient, collect
from minigrad.checks.problem import Problem, Seeded, flat, split
from minigrad.checks.quotient import Quotient, Quotients, judge, steps_around
from minigrad.checks.report import Projection, Report
from minigrad.checks.ties import check_ties
from minigrad.checks.verdict import Finding, InputReport, Tolerance, Verdict
from minigrad.core import Array

__all__ = ["MODES", "Options", "check"]

MODES = ("full", "fast", "sample")
#: Jacobians with more entries than this are contracted and not kept.
_LARGEST_JACOBIAN = 4_000_000
#: How many rows of the analytic Jacobian mode 'full' asks for one by one; beyond, random cotangents stand for them.
_MOST_ROWS = 128


@dataclass(frozen=True)
class Options:
    """How a problem is checked; `gradcheck` explains each."""

    mode: str = "full"
    eps: float | None = None
    tolerance: Tolerance = Tolerance()  # noqa: RUF009 - frozen
    samples: int = 20
    seed: int = 0
    nondet_tol: float = 0.0
    bilinear: bool = False
    #: Whether wrong gradients are held against the known mistakes.
    diagnose: bool = True

    def spelt(self) -> str:
        """The settings that are not the defaults, and always mode and seed, as they are written in a call."""
        plain = {"eps": self.eps, "nondet_tol": self.nondet_tol, "bilinear": self.bilinear}
        shown = {"mode": self.mode, "seed": self.seed} | {k: v for k, v in plain.items() if v}
        shown |= {"samples": self.samples} if self.mode == "sample" else {}
        tolerances = {"rtol": self.tolerance.rtol, "atol": self.tolerance.atol}
        return ", ".join(f"{k}={v!r}" for k, v in (shown | tolerances).items())

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one line."""
        if self.mode not in MODES:
            raise ValueError(f"gradcheck: mode {self.mode!r}; there are 'full', 'fast' and 'sample'")
        if self.eps is not None and not self.eps > 0:
            raise ValueError(f"gradcheck: eps must be positive, got {self.eps}")
        if self.samples < 1:
            raise ValueError(f"gradcheck: samples must be at least 1, got {self.samples}")


def check(problem: Problem, options: Options) -> Report:
    """Check every input of the problem; the caller's random generators stand afterwards where they stood."""
    seeded = Seeded(options.seed)
    with seeded.restored(), np.errstate(all="ignore"):  # what is not finite is found and named
        return _Check(problem, options, seeded).report()


class _Check:
    def __init__(self, problem: Problem, options: Options, seeded: Seeded) -> None:
        self.problem, self.options, self.seeded = problem, options, seeded
        self.rng = np.random.default_rng(options.seed)

    def value(self, arrays: list[Array]) -> Array:
        """All outputs flat, with every generator at the seed."""
        self.seeded.restart()
        return flat(self.problem.value(arrays))

    def report(self) -> Report:
        problem, options = self.problem, self.options
        evidence = collect(problem, self.seeded, self.rng, options.nondet_tol)
        report = Report(problem.label, options.mode, options.seed, evidence.findings)
        report.outputs, report.cotangent = evidence.outputs, evidence.cotangents[0]
        report.settings = problem.settings
        if any(finding.kind == "error" for finding in evidence.findings):
            return report
        flat_cotangents = np.stack([flat(g) for g in evidence.cotangents])
        flat_cotangents[:, ~np.isfinite(flat(evidence.outputs))] = 0.0
        self.quotients = Quotients(self.value, problem.inputs, flat_cotangents)
        self.evidence = evidence
        for which, name in enumerate(problem.names):
            if options.mode == "fast":
                projections = self._projections(which)
                report.projections += projections
                if all(p.ok for p in projections):
                    report.inputs.append(self._blank(which))
                    continue
            report.inputs.append(self._input(which, report.findings, name))
        if options.mode == "full":
            self._rows(report)
        if options.diagnose:
            self._diagnose(report)
        return report

    def _diagnose(self, report: Report) -> None:
        """Ask every hypothesis about every input that is wrong."""
        quick = replace(self.options, mode="sample", samples=40, diagnose=False)
        evidence, finite = self.evidence, self.quotients.finite
        cotangents = [np.where(finite, flat(g), 0.0) for g in evidence.cotangents]
        for which, found in enumerate(report.inputs):
            if not found.ok and not found.count(Verdict.NONDETERMINISTIC):
                case = Case(
                    self.problem,
                    report.inputs,
                    which,
                    cotangents,
                    evidence.gradients,
                    evidence.outputs,
                    self.seeded,
                    lambda problem: check(problem, quick),
                )
                found.diagnoses = diagnose(case)

    # -------------------------------------------------------------------------------------------- one input

    def _blank(self, which: int) -> InputReport:
        x = self.problem.inputs[which]
        numeric, error, step, up, down, left, right = (np.full(x.shape, math.nan) for _ in range(7))
        returned, analytic = self.evidence.returned[which], self.evidence.gradients[0][which].copy()
        verdict = np.full(x.shape, int(Verdict.SKIPPED))
        name = self.problem.names[which]
        return InputReport(name, x, returned, analytic, numeric, error, step, up, down, left, right, verdict)

    def _chosen(self, x: Array) -> list[tuple[int, ...]]:
        if self.options.mode != "sample" or x.size <= self.options.samples:
            return list(np.ndindex(x.shape))
        picked = np.sort(self.rng.choice(x.size, self.options.samples, replace=False))
        return [tuple(int(k) for k in np.unravel_index(i, x.shape)) for i in picked]

    def _input(self, which: int, found: list[Finding], name: str) -> InputReport:
        """Quotients at every chosen element first, since the tolerance depends on the size of the whole; then verdicts."""
        report, x = self._blank(which), self.problem.inputs[which]
        places = self._chosen(x)
        eps = 1.0 if self.options.bilinear and self.options.eps is None else self.options.eps
        steps = {at: steps_around(x, at, eps) for at in places}
        first = {at: self.quotients.element(which, at, steps[at][0]) for at in places}
        sizes = [abs(q.value) for q in first.values() if q.error <= 0.1 * abs(q.value)]
        scale = max(sizes, default=0.0)
        floor = self._floor(x)
        if self.quotients.base.size * x.size <= _LARGEST_JACOBIAN and len(places) == x.size:
            report.jacobian = np.empty((self.quotients.base.size, x.size))
        for number, at in enumerate(places):
            verdict, quotient = self._judged(which, at, first[at], steps[at], scale, floor)
            self._enter(report, at, verdict, quotient)
            if report.jacobian is not None:
                report.jacobian[:, number] = quotient.column
        check_ties(self.quotients, which, report, self.options.tolerance, scale)
        after(report, found, name)
        return report

    def _floor(self, x: Array) -> float:
        """What rounding leaves of a gradient that is exactly zero, such as softmax's under a constant cotangent."""
        size = float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x))) or 1.0
        finite = np.where(self.quotients.finite, self.quotients.base, 0.0)
        return 64 * self.quotients.epsilon * float(np.abs(self.quotients.cotangents[0]) @ np.abs(finite)) / size

    def _judged(
        self, which: int, at: tuple[int, ...], first: Quotient, steps: list[float], scale: float, floor: float
    ) -> tuple[Verdict, Quotient]:
        analytic = [float(gradients[which][at]) for gradients in self.evidence.gradients]
        if first.smooth and abs(analytic[0] - first.value) <= floor and first.error <= floor:
            return Verdict.OK, first
        verdict, quotient = judge(
            lambda step: self.quotients.element(which, at, step),
            first,
            steps,
            analytic[0],
            self.options.tolerance,
            scale,
            exact=lambda: self.quotients.complex_step(which, at),
        )
        if verdict is Verdict.OK and quotient.smooth:  # the second cotangent: right for every g, not for one
            allowed = self.options.tolerance.allowed(analytic[1], quotient.values[1], scale)
            if not abs(analytic[1] - quotient.values[1]) <= allowed + 3 * quotient.errors[1] + floor:
                return Verdict.WRONG, quotient
        return verdict, quotient

    @staticmethod
    def _enter(report: InputReport, at: tuple[int, ...], verdict: Verdict, quotient: Quotient) -> None:
        report.verdict[at] = int(verdict)
        report.numeric[at], report.error[at], report.step[at] = quotient.value, quotient.error, quotient.step
        report.up[at], report.down[at] = quotient.up, quotient.down
        report.left[at], report.right[at] = quotient.left, quotient.right

    # -------------------------------------------------------------------------------------------- mode 'fast'

    def _projections(self, which: int, count: int = 3) -> list[Projection]:
        """The derivative along random directions against the gradient's projection on them."""
        x, gradient = self.problem.inputs[which], self.evidence.gradients[0][which]
        results = []
        for _ in range(count if x.size else 0):
            direction = self.rng.normal(size=x.shape)
            direction /= np.linalg.norm(direction)

            def probe(step: float, direction: Array = direction) -> Quotient:
                return self.quotients.along(which, direction, step)

            steps = steps_around(x, None, self.options.eps)
            analytic, first = float((gradient * direction).sum()), probe(steps[0])
            verdict, quotient = judge(probe, first, steps, analytic, self.options.tolerance, abs(first.value))
            results.append(Projection(self.problem.names[which], analytic, quotient.value, quotient.error, verdict))
        return results

    # -------------------------------------------------------------------------------------------- the Jacobian's rows

    def _rows(self, report: Report) -> None:
        """Ask for the analytic Jacobian row by row, one output at a time: also what a dense cotangent blurs is seen."""
        size = self.quotients.base.size
        rows = np.flatnonzero(self.quotients.finite)
        if not report.inputs or any(not i.ok or i.jacobian is None for i in report.inputs) or size <= 1:
            return
        if len(rows) > _MOST_ROWS:
            rows = np.sort(self.rng.choice(rows, _MOST_ROWS, replace=False))
        changed = any(f.kind in ("cache-changed", "mutated") for f in report.findings)
        repeatable = self.problem.repeatable and not changed
        self.seeded.restart()
        run = self.problem.run([x.copy() for x in self.problem.inputs])
        for row in rows:
            one = np.zeros(size)
            one[row] = 1.0
            if not repeatable:
                self.seeded.restart()
                run = self.problem.run([x.copy() for x in self.problem.inputs])
            returned = run.pull(split(one, run.outputs))
            for found, part in zip(report.inputs, returned, strict=True):
                self._row(found, part, int(row))

    def _row(self, found: InputReport, part: Any, row: int) -> None:
        gradient = as_gradient(part, found.x)
        jacobian = found.jacobian
        assert jacobian is not None
        numeric = jacobian[row].reshape(found.x.shape)
        scale = float(np.max(np.abs(numeric), initial=0.0))
        size = abs(float(self.quotients.base[row])) / (float(np.max(np.abs(found.x), initial=0.0)) or 1.0)
        allowed = 100 * self.options.tolerance.allowed(gradient, numeric, scale) + 1e-8 * size
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(gradient - numeric) <= allowed) & (found.verdict == Verdict.OK) & _is_smooth(found)
        if bad.any():
            found.verdict[bad] = int(Verdict.WRONG)
            found.row = row if found.row is None else found.row
            found.analytic[bad], found.numeric[bad] = gradient[bad], numeric[bad]


def _is_smooth(found: InputReport) -> Any:
    return np.abs(found.right - found.left) <= 1e-3 * (np.abs(found.right) + np.abs(found.left)) + 1e-9
