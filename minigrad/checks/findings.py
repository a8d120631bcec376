"""What is found beside numbers that differ: arrays changed in place, wrong shapes, stale caches, nondeterminism."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.checks.problem import Problem, Run, Seeded, flat, split
from minigrad.checks.verdict import Finding, InputReport, Verdict
from minigrad.core import Array
from minigrad.errors import GradientError

__all__ = ["Evidence", "after", "as_gradient", "collect"]


@dataclass
class Evidence:
    """The analytic side: outputs, two random cotangents, and the gradients that came back under each."""

    findings: list[Finding] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    cotangents: list[list[Array]] = field(default_factory=lambda: [[], []])
    #: As they came back under the first cotangent: arrays of any shape and type, or None.
    returned: list[Any] = field(default_factory=list)
    #: Under each cotangent, in the inputs' shapes and float64.
    gradients: list[list[Array]] = field(default_factory=list)

    def add(self, kind: str, message: str, fatal: bool = True, input: str | None = None) -> None:
        """Note a finding, once."""
        finding = Finding(kind, message, fatal, input)
        if finding not in self.findings:
            self.findings.append(finding)


def collect(problem: Problem, seeded: Seeded, rng: np.random.Generator, nondet_tol: float) -> Evidence:
    """Run forward and backward a few times and look at everything but the numbers' rightness."""
    evidence = Evidence()
    _overlaps(problem, evidence)

    def run(arrays: list[Array]) -> Run:
        seeded.restart()
        return problem.run([x.copy() for x in arrays])

    first = run(problem.inputs)
    evidence.outputs = [np.array(y) for y in first.outputs]
    _outputs(evidence)
    _mutated(problem, first, evidence, "forward")
    if any(finding.kind == "error" for finding in evidence.findings):
        return evidence
    base = flat(evidence.outputs)
    drawn = [np.full(base.size, number) if problem.unit else _cotangent(rng, base.size) for number in (1.0, 2.0)]
    evidence.cotangents = [split(g, evidence.outputs) for g in drawn]
    kept = [g.copy() for g in evidence.cotangents[0]]
    evidence.returned = _copied(first.pull(kept))
    _changed_cotangent(evidence, kept)
    _mutated(problem, first, evidence, "backward")
    second = run(problem.inputs)  # only now: where forward keeps its cache in one place, it takes the first one's
    if not _same(base, flat(second.outputs), nondet_tol):
        evidence.add("nondeterministic", "forward gives different outputs for the same inputs and the same seed")
    other = second.pull([g.copy() for g in evidence.cotangents[1]])
    shapes = problem.inputs
    evidence.gradients = [
        [as_gradient(part, x) for part, x in zip(returned, shapes, strict=True)] for returned in (evidence.returned, other)
    ]
    for name, part, x in zip(problem.names, evidence.returned, shapes, strict=True):
        _form(evidence, name, part, x)
    _repeated(evidence, problem, run, nondet_tol)
    if problem.reentrant:
        _stale(evidence, problem, run, rng)
    return evidence


def after(report: InputReport, found: list[Finding], name: str) -> None:
    """What only shows when both gradients of an input are known; also lets nondeterminism speak element by element."""
    looked = report.verdict != Verdict.SKIPPED
    if any(f.kind == "nondeterministic" and f.input in (None, name) for f in found):
        report.verdict[report.verdict == Verdict.WRONG] = int(Verdict.NONDETERMINISTIC)
    exact = looked & (report.numeric == 0) & (report.up == report.down)
    if looked.any() and (exact | ~looked).all() and (report.verdict == Verdict.WRONG).any():
        message = f"the output does not depend on {name} at this point, though its gradient says so"
        found.append(Finding("independent", message, True, name))


def as_gradient(part: Any, x: Array) -> Array:
    """What came back as an array of the input's shape: zeros for None, broadcast where it can be, else NaN."""
    if part is None:
        return np.zeros(x.shape)
    array = np.asarray(part)
    if array.dtype.kind not in "fiub":
        return np.full(x.shape, np.nan)
    if array.size == x.size:
        return array.astype(float).reshape(x.shape)
    try:
        return np.broadcast_to(array, x.shape).astype(float)
    except ValueError:
        return np.full(x.shape, np.nan)


def _copied(parts: list[Any]) -> list[Any]:
    try:
        return [None if part is None else np.array(part) for part in parts]
    except ValueError as error:  # lists of unequal length
        raise GradientError(f"backward returns what is no array: {error}") from error


def _cotangent(rng: np.random.Generator, size: int) -> Array:
    """Normal numbers kept away from 0, so that no output goes unseen; never all equal."""
    g = rng.normal(size=size)
    return np.asarray(np.sign(g) * (0.3 + np.abs(g)))


def _same(a: Array, b: Array, tolerance: float) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))


def _overlaps(problem: Problem, evidence: Evidence) -> None:
    pairs = list(zip(problem.names, problem.originals, strict=False))
    for name, array in pairs:
        if array.size > 1 and np.shares_memory(array, array) and _overlaps_itself(array):
            evidence.add(
                "overlap", f"{name} overlaps itself in memory: one element is several, which no gradient can tell apart"
            )
    for (a, x), (b, y) in itertools.combinations(pairs, 2):
        if x.size and y.size and np.may_share_memory(x, y) and np.shares_memory(x, y):
            evidence.add("aliased", f"{a} and {b} share memory; they were checked as arrays of their own", fatal=False)


def _overlaps_itself(array: Array) -> bool:
    if any(stride == 0 and n > 1 for stride, n in zip(array.strides, array.shape, strict=True)):
        return True
    try:
        offsets = sum((np.arange(n) * s).reshape([-1] + [1] * (array.ndim - 1 - i)) for i, (n, s) in _axes(array))
    except MemoryError:
        return False
    return np.unique(offsets).size < array.size


def _axes(array: Array) -> Any:
    return enumerate(zip(array.shape, array.strides, strict=True))


def _outputs(evidence: Evidence) -> None:
    for number, y in enumerate(evidence.outputs):
        place = f"output {number}" if len(evidence.outputs) > 1 else "the output"
        if y.dtype.kind == "c":
            evidence.add("error", f"{place} is complex: check its real and its imaginary part, which are real functions")
        elif y.dtype.kind != "f":
            evidence.add("error", f"{place} is {y.dtype}, not of floating point: it has no derivative")
        elif y.dtype.itemsize < 8:
            evidence.add("dtype", f"{place} is {y.dtype} although the inputs are float64: something computes in less precision")
        elif not np.isfinite(y).all():
            kind = "NaN" if np.isnan(y).any() else "infinite"
            evidence.add("nonfinite", f"{place} is {kind} at {int((~np.isfinite(y)).sum())} of {y.size} places")
    if sum(y.size for y in evidence.outputs) == 0:
        evidence.add("empty", "the output has no elements: there is nothing to differentiate", fatal=False)


def _mutated(problem: Problem, run: Run, evidence: Evidence, when: str) -> None:
    for name, given, x in zip(problem.names, run.given, problem.inputs, strict=True):
        if any(finding.kind == "mutated" and finding.input == name for finding in evidence.findings):
            continue
        if given.shape != x.shape or not np.array_equal(given, x, equal_nan=True):
            evidence.add("mutated", f"{when} changes its input {name} in place", True, name)


def _changed_cotangent(evidence: Evidence, kept: list[Array]) -> None:
    if not all(np.array_equal(a, b) for a, b in zip(kept, evidence.cotangents[0], strict=True)):
        message = "backward changes its incoming gradient in place: whoever else uses that array gets wrong numbers"
        evidence.add("mutated-gradient", message, fatal=False)


def _form(evidence: Evidence, name: str, part: Any, x: Array) -> None:
    if part is None:
        return
    array = np.asarray(part)
    if array.dtype.kind not in "f" or array.dtype.itemsize < 8:
        evidence.add("dtype", f"the gradient of {name} is {array.dtype}, its input is float64", True, name)
    if array.shape != x.shape:
        hidden = " (broadcasting would hide it)" if _broadcasts(array.shape, x.shape) else ""
        message = f"the gradient of {name} has shape {list(array.shape)}, {name} has {list(x.shape)}{hidden}"
        evidence.add("shape", message, True, name)


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _repeated(evidence: Evidence, problem: Problem, run: Any, nondet_tol: float) -> None:
    """The same cotangent again, on a fresh forward pass and once more on the same one; and another cotangent."""
    fresh = run(problem.inputs)
    again = fresh.pull([g.copy() for g in evidence.cotangents[0]])
    once_more = fresh.pull([g.copy() for g in evidence.cotangents[0]]) if problem.repeatable else again
    for which, name in enumerate(problem.names):
        x = problem.inputs[which]
        first, second = evidence.gradients[0][which], evidence.gradients[1][which]
        if not _same(first, as_gradient(again[which], x), nondet_tol + 1e-13 * _largest(first)):
            message = f"two backward passes give different gradients of {name} for the same inputs and the same seed"
            evidence.add("nondeterministic", message, True, name)
        elif not np.allclose(first, as_gradient(once_more[which], x), 1e-9, nondet_tol, equal_nan=True):
            message = (
                f"a second backward pass over the same forward gives another gradient of {name}: backward changes its cache"
            )
            evidence.add("cache-changed", message, False, name)
        if np.array_equal(first, second) and first.any() and np.isfinite(first).all():
            message = f"the gradient of {name} is the same for another incoming gradient: backward ignores what comes in"
            evidence.add("ignores", message, True, name)


def _largest(x: Array) -> float:
    return float(np.abs(x).max(initial=0.0, where=np.isfinite(x)))


def _stale(evidence: Evidence, problem: Problem, run: Any, rng: np.random.Generator) -> None:
    """Forward on two inputs, then the first one's backward: does it still know its own numbers?"""
    kept = run(problem.inputs)
    elsewhere = [x + 0.01 * (np.abs(x) + 0.1) * rng.random(x.shape) for x in problem.inputs]
    try:
        run(elsewhere)
    except (ArithmeticError, ValueError):  # the other point may be outside the function's domain
        return
    late = kept.pull([g.copy() for g in evidence.cotangents[0]])
    for which, name in enumerate(problem.names):
        first = evidence.gradients[0][which]
        if not np.allclose(first, as_gradient(late[which], problem.inputs[which]), 1e-9, 1e-12, equal_nan=True):
            message = f"after a second forward pass the first one's gradient of {name} changes: its cache went stale"
            evidence.add("stale", message, True, name)
