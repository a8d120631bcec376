"""`minigrad gradcheck SUBMISSION`: gradients written by hand, checked; with a spec, marked; with --batch, a whole folder."""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from minigrad.cli.codes import INTERRUPTED, RIGHT, WRONG
from minigrad.cli.parsing import positive_number, whole_number
from minigrad.cli.streams import print_document
from minigrad.errors import MinigradError
from minigrad.grading.batch import Batch, submissions_in
from minigrad.grading.discover import discover
from minigrad.grading.formats import FORMATS, marks
from minigrad.grading.isolation import readable_by_all
from minigrad.grading.load import load_spec
from minigrad.grading.marking import file_of, mark
from minigrad.grading.results import Outcome, Result
from minigrad.grading.spec import Spec
from minigrad.io.atomic import write_text

__all__ = ["add_parser", "run"]

#: How an error begins that a wrong shape, or a wrong setting, may have brought about: no missing module, no exit, no typo.
_SHAPES_FAULT = re.compile(
    r"\S*(Value|Index|Key|Assertion|ZeroDivision|Axis|LinAlg)Error\b"
    r"|TypeError: (?!.*(argument|NoneType))"
    r"|AttributeError: '(int|float|bool|str|dict)'"
    r"|\w+: .*\[\d"  # a ShapeError of minigrad's has every shape in it
)


class RequestError(MinigradError, ValueError):
    """Options that don't go together."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("gradcheck", help="check gradients written by hand, or mark an assignment")
    parser.add_argument("submission", metavar="SUBMISSION", nargs="?", type=Path, help="a .py file, or a folder with one")
    parser.add_argument("--spec", metavar="FILE", type=Path, help="checks.toml or checks.py (default: what is found by name)")
    parser.add_argument("--function", metavar="NAME", help="check this function, pair or class only")
    parser.add_argument("--format", choices=tuple(FORMATS), help="form of the report (default: text; with --batch: html)")
    parser.add_argument("--out", metavar="F", type=Path, help="write the report to this file; with --batch: this folder")
    parser.add_argument("--seed", metavar="N", type=whole_number(0), help="draw other numbers (default: the spec's seed, or 0)")
    parser.add_argument("--timeout", metavar="S", type=positive_number, help="seconds for each check (default: 30)")
    parser.add_argument("--batch", metavar="DIR", type=Path, help="mark every submission in this folder")
    parser.add_argument("--jobs", metavar="N", type=whole_number(1), help="submissions marked at a time (default: one a core)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, report, and say by the exit code whether all is right."""
    if (args.submission is None) == (args.batch is None):
        raise RequestError("expected either SUBMISSION or --batch DIR")
    if args.spec is not None and args.function is not None:
        raise RequestError("--function chooses among what is found by name; with a spec, the spec says what is checked")
    if not hasattr(os, "fork"):
        raise RequestError("a check runs in a process that is forked, which this system can't; Linux, macOS and WSL can")
    return _batch(args) if args.batch is not None else _one(args)


# ------------------------------------------------------------------------------------------------ one submission


def _one(args: argparse.Namespace) -> int:
    if args.jobs is not None:
        raise RequestError("--jobs belongs to --batch")
    spec, remarks, guessed = _spec(args)
    console = _Console(args, spec)
    result = mark(args.submission, spec, seed=args.seed, neighbours=args.spec is None, told=console.told)
    for outcome in result.outcomes:
        if outcome.name in guessed and outcome.status == "error" and _SHAPES_FAULT.match(outcome.summary):
            outcome.hints.append("the shapes were guessed from names; write them into the docstring ('x: input, shape (N, D)')")
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    if args.spec is not None:
        _warn_of_rights([result])
    console.report(result)
    return RIGHT if result.ok else WRONG


def _spec(args: argparse.Namespace) -> tuple[Spec, list[str], set[str]]:
    """The teacher's spec, or one made of what the file has; remarks, and the checks whose shapes were guessed."""
    more = {} if args.timeout is None else {"timeout": args.timeout}
    if args.spec is not None:
        return replace(load_spec(args.spec), **more), [], set()
    file = file_of(args.submission, None)
    path = args.submission if args.submission.is_file() else args.submission / file
    found = discover(path)
    spec = found.spec(path, args.function, **more)
    return spec, found.remarks if args.function is None else [], found.guessed


def _warn_of_rights(results: list[Result]) -> None:
    """Marking someone else's code with less around it than there could be is worth a word."""
    had = {word for result in results for outcome in result.outcomes for word in outcome.isolation}
    if had and "files" not in had:
        print(
            "note: no file system of its own for submissions here: what everybody may read, they may read too "
            "(docs/gradient-checking.md says what to do)",
            file=sys.stderr,
        )
        if os.getuid() == 0 and not readable_by_all(sys.prefix):
            print(
                f"note: nobody but root can read {sys.prefix}, so submissions can import numpy and little else", file=sys.stderr
            )
    if had and "user" not in had and os.getuid() == 0:
        print("note: submissions run as root here: there is no other user", file=sys.stderr)


class _Console:
    """The report: to a file, or to standard output; on a terminal in colour, each check as it is done."""

    def __init__(self, args: argparse.Namespace, spec: Spec) -> None:
        self.form, self.out = args.format or "text", args.out
        self.count, self.done = len(spec.checks), 0
        self.live = sys.stderr.isatty()
        self._show(f"checking {spec.checks[0].name}")

    def told(self, outcome: Outcome) -> None:
        """One more is done."""
        self.done += 1
        self._show(f"{self.done} of {self.count} checked: {outcome.name}" if self.done < self.count else "")

    def _show(self, text: str) -> None:
        if self.live:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def report(self, result: Result) -> None:
        """Write it where it was asked for."""
        text = FORMATS[self.form](result)
        if self.out is not None:
            write_text(self.out, text)
            print(f"{marks(result)}; {self.out}")
        elif self.form == "text":
            _coloured(text)
        else:
            print_document(text)


def _coloured(text: str) -> None:
    from rich.console import Console  # late: the command line starts sooner without
    from rich.text import Text

    shown = Text(text)
    shown.highlight_regex(r"(?m)^✓.*?(?=:)", "green")
    shown.highlight_regex(r"(?m)^[✗!].*?(?=:)", "bold red")
    shown.highlight_regex(r"(?m)^\?.*?(?=:)", "yellow")
    shown.highlight_regex(r"diagnosis: .*", "bold")
    Console(highlight=False, soft_wrap=True).print(shown, end="")


# ------------------------------------------------------------------------------------------------ a folder of them


def _batch(args: argparse.Namespace) -> int:
    if not args.batch.is_dir():
        raise RequestError(f"--batch {args.batch}: no such folder")
    out = args.out or args.batch.resolve().parent / f"{args.batch.resolve().name}-marks"
    batch = Batch(args.batch, out, args.spec, args.function, args.seed, args.timeout, args.format or "html")
    if args.spec is not None:
        load_spec(args.spec)  # a bad one is a bad request, before anything is made
    try:
        results = _with_bar(batch, args.jobs, len(submissions_in(args.batch, out)))
    except KeyboardInterrupt:
        print("minigrad gradcheck: interrupted; the same command goes on with what is not yet marked", file=sys.stderr)
        return INTERRUPTED
    _warn_of_rights(results)
    right = sum(result.ok for result in results)
    print(f"{len(results)} submissions, {right} without a fault; {out / 'marks.csv'}, a page each in {out / 'pages'}")
    return RIGHT if right == len(results) else WRONG


def _with_bar(batch: Batch, jobs: int | None, count: int) -> list[Result]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("marking"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as bar:
        task = bar.add_task("", total=count, last="")

        def told(result: Result) -> None:
            bar.update(task, advance=1, last=f"{result.submission[:30]}: {result.points:g}/{result.max_points:g}")

        return batch.results(told, jobs)
