"""What runs in a student's process: it evaluates, on request, and judges nothing.

Started by `sandbox.Student` with the socket's number; imports numpy and the problem builders, locks itself in, and only then
loads the submission. From there on nothing it says is believed further than as the student's numbers.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.fft
import numpy.linalg
import numpy.random  # now, while Python's own files can be reached

from minigrad.checks.classes import function_problem, layer_problem, model_problem
from minigrad.checks.plain import forward_backward_problem, loss_problem
from minigrad.checks.problem import Problem, Run, Seeded
from minigrad.errors import MinigradError
from minigrad.grading.isolation import isolate
from minigrad.grading.wire import frame, read

__all__ = ["main"]


class _Server:
    """Answers one request after another about problems made of the submission's functions."""

    def __init__(self, module: Any, job: dict[str, Any]) -> None:
        self.module, self.job = module, job
        self.problems: list[Problem] = []
        self.runs: dict[int, tuple[Run, list[Any]]] = {}
        self.numbers = itertools.count()
        self.seeded = Seeded(job["seed"])

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        for number in request.get("release", ()):
            self.runs.pop(number, None)
        return getattr(self, request["do"])(request)  # type: ignore[no-any-return] # each gives a dict

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        self.seeded.restart()
        return self._opened(_problem(self.module, self.job, request))

    def again(self, request: dict[str, Any]) -> dict[str, Any]:
        before = self.problems[request["problem"]]
        if before.again is None:
            raise MinigradError("this problem can't be made again")
        return self._opened(before.again(request["changes"]))

    def _opened(self, problem: Problem) -> dict[str, Any]:
        self.problems.append(problem)
        return {
            "problem": len(self.problems) - 1,
            "names": problem.names,
            "inputs": problem.inputs,
            "settings": dict(problem.settings),
            "reentrant": problem.reentrant,
            "repeatable": problem.repeatable,
        }

    def value(self, request: dict[str, Any]) -> dict[str, Any]:
        self.seeded.restart()
        return {"outputs": list(self.problems[request["problem"]].value(request["arrays"]))}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        self.seeded.restart()
        arrays = request["arrays"]
        before = [x.copy() for x in arrays]
        run = self.problems[request["problem"]].run(arrays)
        number = next(self.numbers)
        self.runs[number] = (run, before)
        return {"outputs": list(run.outputs), "run": number, "given": _changed(run.given, before)}

    def pull(self, request: dict[str, Any]) -> dict[str, Any]:
        run, before = self.runs[request["run"]]
        cotangents = request["cotangents"]
        sent = [g.copy() for g in cotangents]
        parts = [None if part is None else np.asarray(part) for part in run.pull(cotangents)]
        return {"parts": parts, "given": _changed(run.given, before), "cotangents": _changed(cotangents, sent)}


def _changed(arrays: list[Any], before: list[Any]) -> dict[int, Any]:
    """The arrays that are no longer what they were, by position."""
    pairs = enumerate(zip(arrays, before, strict=True))
    return {i: x for i, (x, kept) in pairs if x.shape == kept.shape and not np.array_equal(x, kept, equal_nan=True)}


def _named(module: Any, name: str) -> Any:
    if not hasattr(module, name):
        own = [key for key, x in vars(module).items() if callable(x) and getattr(x, "__module__", "") == module.__name__]
        raise MinigradError(f"the submission has no {name!r}; there is: {', '.join(own) or 'no function and no class'}")
    return getattr(module, name)


def _problem(module: Any, job: dict[str, Any], request: dict[str, Any]) -> Problem:
    inputs, settings, wrt = request["inputs"], request["settings"], request["wrt"]
    function = _named(module, job["function"])
    if job["kind"] == "pair":
        return forward_backward_problem(function, _named(module, job["backward"]), inputs, settings, wrt=wrt)
    if job["kind"] == "loss":
        return loss_problem(function, inputs, settings, wrt=wrt)
    if job["kind"] == "function":
        return function_problem(function, inputs, settings, wrt=wrt)
    made = function(**request["make"])
    if job["kind"] == "layer":
        return layer_problem(made, inputs, settings, wrt=wrt)
    if job["kind"] == "model":
        return model_problem(made, inputs, settings, wrt=wrt)
    tensor, tensors = (importlib.import_module(f"minigrad.{room}") for room in ("tensor", "checks.tensors"))
    given = tuple(tensor.Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs.values())
    return tensors.module_problem(made, given)  # type: ignore[no-any-return] # a Problem


def _load(file: str) -> Any:
    """The submission's module; one inside a folder as part of that package, so that its relative imports work."""
    sys.path.insert(0, str(Path.cwd()))
    parts = Path(file).with_suffix("").parts
    if len(parts) > 1:
        return importlib.import_module(".".join(parts))
    spec = importlib.util.spec_from_file_location(parts[0], Path.cwd() / file)
    if spec is None or spec.loader is None:
        raise MinigradError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[parts[0]] = module
    spec.loader.exec_module(module)
    return module


def _trouble(error: BaseException) -> dict[str, Any]:
    """An exception as the student sees it: their own lines of the traceback only."""
    if isinstance(error, MinigradError):
        return {"error": str(error)[:2000], "where": ""}
    here = f"{Path.cwd()}/"
    if isinstance(error, SyntaxError) and str(error.filename).startswith(here):
        place = f"{str(error.filename).removeprefix(here)}:{error.lineno}: {str(error.text or '').strip()[:120]}"
        return {"error": f"{type(error).__name__}: {error.msg}"[:2000], "where": place}
    own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(here)]
    where = [f"{f.filename.removeprefix(here)}:{f.lineno} in {f.name}: {(f.line or '')[:120]}" for f in own[-3:]]
    text = "".join(traceback.format_exception_only(error)).strip()
    return {"error": text[-1500:], "where": "\n".join(where)[:2000]}


def _flush(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # the submission may have closed it
        stream.flush()


def main(number: int) -> None:
    """Serve the connection with this file descriptor until it closes."""
    connection = socket.socket(fileno=number)

    def receive(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

    job = read(receive)
    printed = sys.stdout  # the submission may put another in its place
    had = isolate(job)
    connection.sendall(frame({"isolation": had}))
    try:
        server = _Server(_load(job["file"]), job)
        reply = frame({"loaded": True})
    except BaseException as error:  # SystemExit too: whatever the submission raises
        _flush(printed)
        connection.sendall(frame(_trouble(error)))
        os._exit(0)
    while True:
        _flush(printed)
        connection.sendall(reply)
        request = read(receive)
        try:
            with np.errstate(all="ignore"):
                reply = frame(server.answer(request))
        except BaseException as error:
            reply = frame(_trouble(error))
