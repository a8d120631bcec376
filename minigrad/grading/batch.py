"""A folder of submissions, marked in parallel: a table, a page for each student, and a run that can be picked up again.

Each submission's result is written, whole, as soon as it is there. A run over the same folder takes the results it finds
whose key (of submission, spec and seed) is still right, and marks the rest. Pages and forms are made of the results in every
run, so that they are whole and in the form that was asked for last.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minigrad.errors import MinigradError
from minigrad.grading.discover import discover
from minigrad.grading.formats import FORMATS
from minigrad.grading.load import load_spec
from minigrad.grading.marking import file_of, key_of, mark, nothing_for
from minigrad.grading.results import Outcome, Result
from minigrad.grading.sandbox import printable
from minigrad.grading.spec import Spec, SpecError
from minigrad.io.atomic import sweep, write_text

__all__ = ["Batch", "submissions_in", "write_table"]

#: How often a submission may bring down the process that marks it (not its own) before it is given up.
_TRIES = 2
_COLUMNS = ("submission", "points", "max_points", "passed", "checks", "seconds")


@dataclass(frozen=True)
class Batch:
    """What to mark and where to leave it. `spec` is a file, since a spec may hold functions; without it files are searched."""

    folder: Path
    out: Path
    spec: Path | None = None
    function: str | None = None
    seed: int | None = None
    timeout: float | None = None
    form: str = "html"

    def results(self, told: Callable[[Result], None], jobs: int | None = None) -> list[Result]:
        """Mark everything that is not yet marked; `told` hears of each result as it comes, of old ones first.

        Raises SpecError for a spec that can't be used, OSError where results can't be written; nothing that a submission does.
        """
        for name in ("results", "pages"):
            (self.out / name).mkdir(parents=True, exist_ok=True)
            sweep(self.out / name)
        sweep(self.out)
        found: dict[str, Result] = {}
        todo = []
        for submission in submissions_in(self.folder, self.out):
            old = self._old(submission)
            if old is None:
                todo.append(submission)
            else:
                self._show(old)  # in the form of this run, whatever an earlier one left there
                found[submission.name] = old
                told(old)
        for submission, result in self._marked(todo, jobs or os.cpu_count() or 1):
            self._write(result)
            found[submission.name] = result
            told(result)
        ordered = [found[name] for name in sorted(found)]
        write_table(ordered, self.out / "marks.csv")
        return ordered

    def _marked(self, todo: list[Path], jobs: int) -> Iterator[tuple[Path, Result]]:
        """Results as they come. Where a marking process dies, what was being marked is tried again, each alone."""
        tries = dict.fromkeys(todo, 0)
        while tries:
            suspects = [submission for submission, count in tries.items() if count][:1]
            try:
                for submission, result in self._through(suspects or list(tries), 1 if suspects else jobs, tries):
                    del tries[submission]
                    yield submission, result
            except BrokenProcessPool:
                for submission in [s for s, count in tries.items() if count > _TRIES]:
                    del tries[submission]
                    yield submission, self.given_up(submission, "the marking process itself ended; mark it by hand")

    def _through(self, todo: list[Path], jobs: int, tries: dict[Path, int]) -> Iterator[tuple[Path, Result]]:
        """One pool's work. Before BrokenProcessPool comes out, `tries` counts one more for what was in the works."""
        waiting, pending = list(todo), dict[Future[Result], Path]()
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(todo)), context, _settle, (replace(self),)) as pool:
            try:
                while waiting or pending:
                    while waiting and len(pending) < jobs:
                        submission = waiting.pop(0)
                        pending[pool.submit(_mark_one, submission)] = submission
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield pending.pop(future), result
            except BrokenProcessPool:
                for submission in pending.values():
                    tries[submission] += 1
                raise
            except BaseException:  # interrupted, or a disk that is full: nobody waits for what is still being marked
                for process in multiprocessing.active_children():
                    process.terminate()
                raise

    @functools.cached_property
    def teachers(self) -> Spec:
        """The teacher's spec, read once."""
        assert self.spec is not None
        spec = load_spec(self.spec)
        return spec if self.timeout is None else replace(spec, timeout=self.timeout)

    def spec_for(self, submission: Path) -> Spec:
        """The spec for one submission: the teacher's, or what is found in the file."""
        if self.spec is not None:
            return self.teachers
        file = submission if submission.is_file() else submission / file_of(submission, None)
        more = {} if self.timeout is None else {"timeout": self.timeout}
        return discover(file).spec(file.name, self.function, **more)

    def _old(self, submission: Path) -> Result | None:
        try:
            old = Result.from_dict(json.loads(self._place(submission.name).read_text("utf-8")))
            spec = self.spec_for(submission)
            same = bool(old.key) and old.key == key_of(submission, spec, spec.seed if self.seed is None else self.seed)
        except SpecError:
            raise
        except (OSError, ValueError, KeyError, TypeError, MinigradError):
            return None
        return old if same else None

    def _place(self, name: str) -> Path:
        return self.out / "results" / f"{name}.json"

    def _write(self, result: Result) -> None:
        """A new result. First of all the old one's forms go: those that this run does not write would tell other points."""
        for suffix in {_suffix(form) for form in FORMATS}:
            (self.out / "pages" / f"{result.submission}{suffix}").unlink(missing_ok=True)
        self._show(result)
        write_text(self._place(result.submission), FORMATS["json"](result))

    def _show(self, result: Result) -> None:
        """The page and the form that was asked for."""
        for form in dict.fromkeys(("html", self.form)):
            _keep(self.out / "pages" / f"{result.submission}{_suffix(form)}", FORMATS[form](result))

    def given_up(self, submission: Path, reason: str) -> Result:
        """A submission that can't be marked at all: no points, and the reason."""
        if self.spec is not None:
            return nothing_for(submission, self.teachers, reason)
        return Result(submission.name, "gradient check", [Outcome("file", "error", 0.0, 1.0, printable(reason))])


def _suffix(form: str) -> str:
    """Gradescope's, Otter's and our own JSON share one: the last run's is there."""
    return {"html": ".html", "junit": ".xml", "text": ".txt", "nbgrader": ".ipynb"}.get(form, ".json")


def _keep(path: Path, text: str) -> None:
    """Write a file, unless it is there and says the same."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


_settled: list[Batch] = []


def _settle(batch: Batch) -> None:
    """In a process of the pool, before its first submission. An interrupt is for the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _settled[:] = [batch]


def _mark_one(submission: Path) -> Result:
    """In a process of the pool. Whatever is wrong with one submission becomes its result."""
    (batch,) = _settled
    try:
        hidden = (str(batch.folder.resolve()), str(batch.out.resolve()))
        return mark(submission, batch.spec_for(submission), seed=batch.seed, hidden=hidden)
    except SpecError:
        raise
    except (MinigradError, OSError, RecursionError, MemoryError) as error:
        return batch.given_up(submission, str(error) or type(error).__name__)


def submissions_in(folder: Path, out: Path) -> list[Path]:
    """Every Python file and every folder in it, by name; what begins with a dot or underscore, and `out`, is passed over."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.name[0] not in "._" and path.resolve() != out.resolve() and (path.is_dir() or path.suffix == ".py")
    ]
    if not found:
        raise MinigradError(f"{folder}: no submissions in it; each is a .py file or a folder")
    return found


def write_table(results: list[Result], path: Path) -> None:
    """A line for each submission: name, points, how many checks passed, each check's points and status."""
    names = list(dict.fromkeys(outcome.name for result in results for outcome in result.outcomes))
    titles = [f"check {name}" if name in _COLUMNS else name for name in names]
    columns = [f"{title}{suffix}" for title in titles for suffix in ("", " status")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_harmless(cell) for cell in (*_COLUMNS, *columns)])
    for result in results:
        writer.writerow([_harmless(cell) for cell in _row(result, names)])
    write_text(path, text.getvalue())


def _row(result: Result, names: list[str]) -> list[Any]:
    found = {outcome.name: outcome for outcome in result.outcomes}
    cells: list[Any] = []
    for name in names:
        outcome = found.get(name)
        cells += ["", ""] if outcome is None else [f"{result.awarded(outcome):g}", outcome.status]
    passed = sum(outcome.ok for outcome in result.outcomes)
    points = [f"{result.points:g}", f"{result.max_points:g}"]
    return [result.submission, *points, passed, len(result.outcomes), f"{result.seconds:.1f}", *cells]


def _harmless(cell: Any) -> Any:
    """A spreadsheet takes a text that begins with one of these for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
