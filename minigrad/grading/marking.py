"""From a submission and a spec to points: every check in a process of its own, every verdict made here."""

from __future__ import annotations

import functools
import hashlib
import inspect
import linecache
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minigrad
from minigrad.checks.compare import Options
from minigrad.checks.compare import check as run_check
from minigrad.checks.plain import as_outputs
from minigrad.checks.problem import Problem
from minigrad.checks.report import Report
from minigrad.checks.verdict import InputReport, Tolerance, Verdict
from minigrad.errors import MinigradError
from minigrad.grading.remote import compare_outputs, measured_by_reference, reference_outputs, remote_problem
from minigrad.grading.results import Outcome, Result
from minigrad.grading.sandbox import CodeError, Gone, Limits, Student, base_of, printable, staged
from minigrad.grading.spec import Check, Draw, Spec, SpecError

__all__ = ["SubmissionError", "file_of", "key_of", "mark", "nothing_for"]

#: Stands for the command that repeats a check until the place where it is known.
_AGAIN = "COMMAND"
_MOST_REPORT = 40_000

Progress = Callable[[Outcome], None]


class SubmissionError(MinigradError):
    """There is nothing to check where a submission should be."""


def mark(
    submission: str | Path,
    spec: Spec,
    *,
    seed: int | None = None,
    neighbours: bool = False,
    hidden: tuple[str, ...] = (),
    told: Progress | None = None,
) -> Result:
    """Check one submission, a file or a folder, against a spec.

    `seed` stands for the spec's own. `neighbours` lets a single file import the files beside it. `hidden` are paths that no
    submission may read, besides the spec's own folder. `told` hears of each outcome as it comes. Raises SubmissionError where
    there is nothing of that name; whatever the submission does costs the check in which it does it.
    """
    submission, seed = Path(submission), spec.seed if seed is None else seed
    try:
        file = file_of(submission, spec.file)
        there = submission.resolve() if neighbours else submission.absolute()  # one's own file may be a link
        if there.is_file():
            file = str(there.relative_to(base_of(there, neighbours)))
    except SubmissionError as error:
        if not submission.exists():
            raise
        return nothing_for(submission, spec, str(error))
    away = (*hidden, *([str(spec.path.resolve().parent)] if spec.path else []))
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="minigrad-marking-") as scratch:
        folder = Path(scratch) / "submission"
        staged(there, folder, neighbours)
        Path(scratch).chmod(0o755)
        for check in spec.checks:
            outcome = _outcome(folder, file, check, spec, seed, away)
            outcome.numbers = outcome.numbers.replace(_AGAIN, _again(submission, check, spec, seed))
            outcomes.append(outcome)
            if told is not None:
                told(outcome)
    result = nothing_for(submission, spec, "")
    result.outcomes, result.seed, result.key = outcomes, seed, key_of(submission, spec, seed)
    return result


def nothing_for(submission: Path, spec: Spec, reason: str) -> Result:
    """The result of a submission that can't be marked: no points, and the reason beside every check."""
    lost = [_lost(check, "error", printable(reason), []) for check in spec.checks]
    return Result(submission.name, spec.title, lost, spec.shown, spec.all_or_nothing, spec.marked, spec.seed)


def _again(submission: Path, check: Check, spec: Spec, seed: int) -> str:
    """The command that repeats a check. The student reads it too: of the teacher's files it has the names alone."""
    if spec.path is None:
        return f"minigrad gradcheck {submission} --function {check.function} --seed {seed}"
    return f"minigrad gradcheck {submission.name} --spec {spec.path.name} --seed {seed}"


def file_of(submission: Path, wanted: str | None) -> str:
    """The file of a submission that is imported, relative to its folder."""
    if submission.is_file():
        return submission.name
    if not submission.is_dir():
        raise SubmissionError(f"{submission}: no such file or folder")
    if wanted is not None:
        if not (submission / wanted).is_file():
            raise SubmissionError(f"{submission}: there is no {wanted} in it")
        return wanted
    files = sorted(path.name for path in submission.glob("*.py"))
    if len(files) != 1:
        found = ", ".join(files) or "none"
        raise SubmissionError(f"{submission}: which file? The spec can say file = ...; Python files there: {found}")
    return files[0]


def key_of(submission: Path, spec: Spec, seed: int) -> str:
    """A hash of everything that a result depends on."""
    digest = hashlib.sha256(f"{minigrad.__version__} {seed} {_lasting(replace(spec, path=None))}".encode())
    for path in [submission] if submission.is_file() else sorted(submission.rglob("*")):
        if path.is_file() and not path.is_symlink():
            digest.update(str(path.relative_to(submission.parent)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _lasting(value: Any) -> str:
    """A text that is the same in every process: a function stands as its name and what it was written in."""
    if is_dataclass(value):
        return _lasting(vars(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_lasting(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_lasting, value)) + "]"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.tolist()}"
    if isinstance(value, functools.partial):
        return _lasting([value.func, value.args, value.keywords])
    if callable(value) and not isinstance(value, np.ufunc):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__qualname__} {hashlib.sha256(_source(named)).hexdigest()}"
    return repr(value)


def _source(function: Any) -> bytes:
    """The file in which it is defined, or the notebook's cell, which is a file in name only; of what is built in, nothing."""
    try:
        name = inspect.getsourcefile(function) or ""
    except TypeError:
        return b""
    path = Path(name)
    return path.read_bytes() if path.is_file() else "".join(linecache.getlines(name)).encode()


# ------------------------------------------------------------------------------------------------ one check


def _outcome(folder: Path, file: str, check: Check, spec: Spec, seed: int, hidden: tuple[str, ...]) -> Outcome:
    """One check's outcome, whatever happens."""
    limits = Limits(check.timeout or spec.timeout, spec.memory << 20)
    job = {"kind": check.kind, "function": check.function, "backward": check.backward, "seed": seed}
    engine = check.kind == "module" or any(b"minigrad" in path.read_bytes() for path in folder.rglob("*.py"))
    student = Student(folder, file, job, limits, hidden, engine)
    began = time.monotonic()
    try:
        with student:
            found = _judged(student, check, seed)
    except CodeError as error:
        said = f"{error}".removeprefix(f"{check.function}: ")  # the check's name stands before it anyway
        found = _lost(check, "error", printable(said), [error.where] if error.where else [])
    except Gone as error:
        found = _lost(check, "timeout" if error.kind == "timeout" else "crash", str(error), [])
    except (SpecError, OSError):  # the teacher's and the machine's, not the student's
        raise
    except Exception as error:  # whatever numbers came back, over which the checker itself stumbled
        found = _lost(check, "error", printable(f"the answer can't be judged: {type(error).__name__}: {error}"), [])
    found.about = ", ".join(_described(check))
    found.printed, found.isolation, found.seconds = student.output, student.isolation, time.monotonic() - began
    return found


def _described(check: Check) -> Iterator[str]:
    for name, value in {**check.arguments, **check.settings, **check.make}.items():
        yield f"{name} {value.shape}" if isinstance(value, Draw) else f"{name} {value!r}"


def _lost(check: Check, status: str, summary: str, hints: list[str]) -> Outcome:
    return Outcome(check.name, status, 0.0, check.points, summary, hints, visibility=check.visibility)


def _judged(student: Student, check: Check, seed: int) -> Outcome:
    arguments, settings = check.drawn(seed)
    problem = remote_problem(student, check, arguments, settings)
    missing = [name for name in check.checked or () if name not in problem.names]
    if missing:
        return _lost(check, "failed", f"{check.function} has no gradient of {', '.join(missing)}", [])
    wrong = None if check.part == "backward" else _values(problem, check, arguments, settings)
    if check.part == "forward" or wrong is not None:
        status, points = ("passed", check.points) if wrong is None else ("failed", 0.0)
        return Outcome(check.name, status, points, check.points, wrong or "right", visibility=check.visibility)
    if check.reference is not None:
        problem = measured_by_reference(problem, check, arguments, settings)
    options = Options(check.mode, None, Tolerance(check.rtol, check.atol), check.samples, seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # a student's NaN is for the report, not for the terminal
        warnings.simplefilter("ignore", RuntimeWarning)
        report = run_check(problem, options)
    report.reproduce = _AGAIN
    return _scored(check, report)


def _values(problem: Problem, check: Check, arguments: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """What is wrong with the output's values, where they are known."""
    if check.reference is None and check.verify is None:
        return None
    outputs = as_outputs(problem.value([x.copy() for x in problem.inputs]), check.name)
    if check.verify is not None:
        said = check.verify(arguments, outputs)
        if said is not None:
            return said
    if check.reference is None:
        return None
    return compare_outputs(outputs, reference_outputs(check, arguments, settings))


# ------------------------------------------------------------------------------------------------ points


def _scored(check: Check, report: Report) -> Outcome:
    right, judged = _elements(report)
    status = report.status
    constant = check.reference is None and report.inputs and not report.projections and _constant(report)
    if constant:
        status = "failed"
    share = 1.0 if status == "passed" else right / judged if check.partial and judged and not constant else 0.0
    if status == "passed":
        summary = "right"
    elif constant:
        summary = "forward's output does not change with any input: there is no gradient to check"
    else:
        summary = _summary(report, status)
    hints = [finding.message for finding in report.findings if finding.fatal or status != "passed"]
    hints += [str(diagnosis) for i in report.inputs for diagnosis in i.diagnoses]
    return Outcome(
        check.name,
        status,
        round(check.points * min(share, 1.0), 10),
        check.points,
        summary,
        [printable(hint) for hint in hints],
        printable(textwrap.dedent(report.text().partition("\n")[2]), _MOST_REPORT),
        visibility=check.visibility,
        elements=(right, judged),
    )


def _constant(report: Report) -> bool:
    """Whether nothing that was looked at changes any output: a forward and a backward of zeros agree, and are worth nothing."""
    looked = [i for i in report.inputs if i.x.size and (i.verdict != Verdict.SKIPPED).any()]
    return bool(looked) and not any(np.nan_to_num(side).any() for i in looked for side in (i.left, i.right))


def _elements(report: Report) -> tuple[int, int]:
    """How many elements of the gradients are right, of how many that could be judged.

    An input with a fatal finding of its own has none right, and neither has one whose gradient came back as nothing but
    zeros where it should not be: zeros that happen to be right are no knowledge.
    """
    if any(f.fatal and f.input is None for f in report.findings):
        return 0, sum(i.conclusive for i in report.inputs)
    damned = {f.input for f in report.findings if f.fatal}
    return sum(_right(i) for i in report.inputs if i.name not in damned), sum(i.conclusive for i in report.inputs)


def _right(report: InputReport) -> int:
    return report.count(Verdict.OK) if report.ok or np.nan_to_num(report.analytic).any() else 0


def _summary(report: Report, status: str) -> str:
    if status == "inconclusive":
        return "inconclusive: no element could be judged, since every one lies at a kink or is not resolved"
    parts = list(_wrong_inputs(report))
    return "; ".join(parts) or next((f.message for f in report.findings if f.fatal), status)


def _wrong_inputs(report: Report) -> Iterator[str]:
    for found in report.inputs:
        if not found.ok:
            bad = sum(found.count(v) for v in Verdict if v.failed)
            yield f"the gradient of {found.name} is wrong at {bad} of {found.conclusive or found.verdict.size} elements"
