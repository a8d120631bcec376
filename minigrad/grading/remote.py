"""A problem whose functions run in a student's process, and a problem whose measure is a teacher's reference.

The checker takes difference quotients, compares and judges here; from there come arrays and nothing else. What the problem
is (names, arrays, settings) is known here too wherever it can be, and not believed.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.checks.plain import Arguments, as_outputs
from minigrad.checks.problem import Problem, Run
from minigrad.core import Array
from minigrad.grading.sandbox import CodeError, Gone, Student
from minigrad.grading.spec import Check, SpecError

__all__ = ["compare_outputs", "measured_by_reference", "reference_outputs", "remote_problem"]


class _Runs:
    """Forward passes that a student's process keeps until nobody here can pull them back any more."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self.released: list[int] = []

    def call(self, do: str, **more: Any) -> dict[str, Any]:
        released, self.released = self.released, []
        return self.student.call({"do": do, "release": released} | more)

    def keep(self, number: Any, holder: Any) -> None:
        weakref.finalize(holder, self.released.append, int(number))


class _Pull:
    """One forward pass over there."""

    def __init__(self, runs: _Runs, number: Any, given: list[Array], count: int) -> None:
        self.runs, self.number, self.given, self.count = runs, number, given, count
        runs.keep(number, self)

    def __call__(self, cotangents: list[Array]) -> list[Any]:
        reply = self.runs.call("pull", run=self.number, cotangents=cotangents)
        _written_back(reply.get("given"), self.given)
        _written_back(reply.get("cotangents"), cotangents)
        parts = reply.get("parts")
        if not isinstance(parts, list) or len(parts) != self.count:
            raise CodeError(f"backward gives no list of {self.count} gradients")
        for part in parts:
            if not (part is None or isinstance(part, np.ndarray)):
                raise CodeError(f"backward gives something that is no array of numbers: {part!r}"[:200])
        return parts


def remote_problem(student: Student, check: Check, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Problem:
    """The problem that the student's process makes of a check, with these arguments and settings.

    Raises CodeError where the submission's code raises or keeps to none of the known forms, Gone where its process is gone.
    """
    runs = _Runs(student)
    wrt = None if check.checked is None else list(check.checked)
    reply = runs.call("open", inputs=dict(arguments), settings=dict(settings), wrt=wrt, make=dict(check.make))
    known = None
    if check.kind in ("pair", "loss", "function"):
        known = Arguments(check.name, _nothing, dict(arguments), settings, wrt)
    return _mirror(runs, check, reply, known, arguments)


def _nothing() -> None:
    """Stands for a function of which only the arguments matter."""


def _mirror(
    runs: _Runs, check: Check, reply: Mapping[str, Any], known: Arguments | None, arguments: Mapping[str, Any]
) -> Problem:
    number = reply.get("problem")
    if known is None:
        names, inputs = _believed(reply.get("names"), reply.get("inputs"), arguments)
        settings = reply.get("settings")
        described = dict(settings) if isinstance(settings, dict) else {}
    else:
        names, inputs, described = [slot.name for slot in known.slots], known.arrays, known.known
    trusted = known is not None

    def value(arrays: list[Array]) -> list[Array]:
        return _outputs(runs.call("value", problem=number, arrays=arrays))

    def run(arrays: list[Array]) -> Run:
        answer = runs.call("run", problem=number, arrays=arrays)
        _written_back(answer.get("given"), arrays)
        return Run(_outputs(answer), _Pull(runs, answer.get("run", -1), arrays, len(names)), arrays)

    def again(changes: dict[str, Any]) -> Problem:
        if known is None:
            return _mirror(runs, check, runs.call("again", problem=number, changes=changes), None, arguments)
        inputs, settings = known.changed(changes)  # ValueError for unknown names, before anything is sent
        other = Arguments(check.name, _nothing, inputs, settings, names)
        return _mirror(runs, check, runs.call("again", problem=number, changes=changes), other, inputs)

    return Problem(
        check.function,
        names,
        inputs,
        run,
        value,
        described,
        again=again,
        reentrant=trusted or bool(reply.get("reentrant")),
        repeatable=trusted or bool(reply.get("repeatable")),
        unit=check.kind in ("loss", "model"),
    )


def _believed(names: Any, inputs: Any, arguments: Mapping[str, Any]) -> tuple[list[str], list[Array]]:
    """A layer's own parameters are known only over there; whoever needs them to be there names them in the spec.

    Arguments are known here, and stand for whatever comes under their names.
    """
    lists = isinstance(names, list) and isinstance(inputs, list) and len(names) == len(inputs) > 0
    if not lists or not all(isinstance(n, str) for n in names) or not all(isinstance(x, np.ndarray) for x in inputs):
        raise Gone("protocol", "the process sent something that is no answer")
    if not all(x.dtype == np.float64 and np.isfinite(x).all() for x in inputs):
        raise CodeError("a parameter is not finite or not of floating point")
    return [name[:60] for name in names], [arguments.get(n, x) for n, x in zip(names, inputs, strict=True)]


def _outputs(reply: Mapping[str, Any]) -> list[Array]:
    outputs = reply.get("outputs")
    if not isinstance(outputs, list) or not outputs or not all(isinstance(y, np.ndarray) for y in outputs):
        raise CodeError("forward gives no array")
    return outputs


def _written_back(changed: Any, arrays: list[Array]) -> None:
    """What was changed in place over there is changed in place here, so that it is found like any other such mistake."""
    if not isinstance(changed, dict):
        return
    for place, x in changed.items():
        if isinstance(place, int) and 0 <= place < len(arrays) and isinstance(x, np.ndarray):
            target = arrays[place]
            if x.shape == target.shape and x.dtype == target.dtype:
                target[...] = x


# ------------------------------------------------------------------------------------------------ against a reference


def measured_by_reference(problem: Problem, check: Check, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Problem:
    """The same problem with the reference's values: only caches and gradients are the student's."""
    known = Arguments(check.name, _nothing, dict(arguments), settings, problem.names)

    def value(arrays: list[Array]) -> list[Array]:
        return _right(check, *known.filled(arrays))

    def run(arrays: list[Array]) -> Run:
        right = value([x.copy() for x in arrays])
        theirs = problem.run(arrays)
        return Run(right, theirs.pull, theirs.given)

    def again(changes: dict[str, Any]) -> Problem:
        assert problem.again is not None
        inputs, more = known.changed(changes)
        return measured_by_reference(problem.again(changes), check, inputs, more)

    return Problem(
        problem.label,
        problem.names,
        problem.inputs,
        run,
        value,
        problem.settings,
        again=again,
        reentrant=problem.reentrant,
        repeatable=problem.repeatable,
        unit=problem.unit,
    )


def reference_outputs(check: Check, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Array]:
    """What the outputs should be."""
    return _right(check, list(copy.deepcopy(dict(arguments)).values()), copy.deepcopy(dict(settings)))


def _right(check: Check, values: list[Any], keywords: dict[str, Any]) -> list[Array]:
    assert check.reference is not None
    try:
        return as_outputs(_without_cache(check, check.reference(*values, **keywords)), check.name)
    except Exception as error:  # whatever a teacher's own function raises: the student is not to blame
        raise SpecError(f"the reference of {check.name} can't be evaluated: {type(error).__name__}: {error}") from error


def _without_cache(check: Check, result: Any) -> list[Any]:
    if check.kind == "loss" and isinstance(result, tuple):
        return [result[0]]
    if check.kind == "pair" and isinstance(result, tuple):
        return list(result[:-1])
    return list(result) if isinstance(result, tuple) else [result]


def compare_outputs(theirs: list[Array], right: list[Array], rtol: float = 1e-6, atol: float = 1e-8) -> str | None:
    """What is wrong with the outputs, in one line; None where nothing is."""
    if len(theirs) != len(right):
        return f"forward gives {len(theirs)} outputs, there should be {len(right)}"
    for number, (y, wanted) in enumerate(zip(theirs, right, strict=True)):
        place = "the output" if len(right) == 1 else f"output {number}"
        if y.shape != wanted.shape:
            return f"{place} has shape {list(y.shape)}, it should have {list(wanted.shape)}"
        scale = float(np.max(np.abs(wanted), initial=0.0))
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(y - wanted) <= rtol * np.abs(wanted) + atol * max(1.0, scale))
        if wrong.any():
            return f"{place} is wrong at {int(wrong.sum())} of {y.size} places"
    return None
