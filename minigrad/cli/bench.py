"""`minigrad bench`: how fast minigrad is on this machine, beside other frameworks and beside the machine's own limits."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from minigrad.bench import FRAMEWORKS, Case, Framework, Minigrad, all_cases, measure
from minigrad.bench.machine import description, limits
from minigrad.bench.measure import Result
from minigrad.bench.overhead import Overhead, OverheadCase, overhead_cases
from minigrad.bench.processes import Measured, ProcessCase, process_cases
from minigrad.bench.report import Findings, duration, read, tables, write, write_json
from minigrad.cli.codes import INTERRUPTED, RIGHT, WRONG
from minigrad.cli.parsing import positive_number
from minigrad.errors import MinigradError
from minigrad.viz.columns import print_whole

__all__ = ["add_parser", "run"]

AnyCase = Case | OverheadCase | ProcessCase

_DESCRIPTION = """Measure networks and kernels, competitors in turn in one process, with the same numbers and as many
threads; results are compared before anything is timed. Told are medians, minima, ratios with a bootstrap interval, and
the fraction of what the machine could do at best. Ctrl-C ends early and keeps what there is; --resume goes on."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("bench", help="how fast it is, beside others", description=_DESCRIPTION)
    others = ", ".join(name for name in FRAMEWORKS if name != "minigrad")
    parser.add_argument("--against", metavar="NAMES", default="", help=f"whom to compare with, by commas: {others}")
    parser.add_argument("--only", metavar="PATTERN", default="", help="cases whose name has this regular expression")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write JSON here, Markdown and plots beside it")
    parser.add_argument("--resume", action="store_true", help="take from --out's file what it has, and measure the rest")
    parser.add_argument("--patience", type=positive_number, default=1.0, metavar="X", help="so many times the usual time")
    parser.add_argument("--list", action="store_true", help="name the cases and do nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; the exit code is 0, or 1 where a case failed (its results differed), or 130 where Ctrl-C ended it."""
    cases = _chosen(args.only)
    if args.list:
        for case in cases:
            print(case.name)
        return 0
    if args.out is not None and args.out.suffix != ".json":
        raise MinigradError(f"--out {args.out}: expected a name that ends in .json; Markdown and plots are written beside it")
    competitors = _competitors(args.against)  # before numba is loaded, so that each sets up its threads as it would alone
    frameworks = [Minigrad(), *competitors]
    found = _begun(args)
    missing = [case for case in cases if not _told(case, found, frameworks)]
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(f"limits: {found.limits.flops / 1e9:.0f} GFLOP/s, {found.limits.bytes / 1e9:.1f} GB/s")
    wrong: list[str] = []
    interrupted = False
    try:
        _measure(missing, frameworks, args, console, found, wrong)
    except KeyboardInterrupt:
        interrupted = True
    for table in tables(found, console.width if console.is_terminal else None):
        print_whole(console, table)
    if args.out is not None:
        console.print(*(f"wrote {file}" for file in write(args.out, found)), sep="\n")
    for message in wrong:
        console.print(message, style="red", soft_wrap=True)
    if interrupted:
        kept = "told; with --out it is kept" if args.out is None else "written; the same command with --resume goes on"
        print(f"minigrad bench: interrupted; what was measured until then is {kept}", file=sys.stderr)
        return INTERRUPTED
    return WRONG if wrong else RIGHT


def _measure(
    cases: Sequence[AnyCase],
    frameworks: list[Framework],
    args: argparse.Namespace,
    console: Console,
    found: Findings,
    wrong: list[str],
) -> None:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=case.name)
            try:
                console.print(_one(case, frameworks, args.patience, found), soft_wrap=True)
            except MinigradError as error:
                wrong.append(str(error))
            if args.out is not None:  # after each: a run that is killed has lost nothing
                write_json(args.out, found)
            progress.advance(task)


def _one(case: AnyCase, frameworks: list[Framework], patience: float, found: Findings) -> str:
    """Measure one case, enter what was found in its place, and tell it in a line."""
    if isinstance(case, ProcessCase):
        measured = case.measure([framework.name for framework in frameworks])
        found.processes = _entered(measured, found.processes, process_cases())
        return f"{case.name}: {', '.join(f'{measured.shown(name)} ({name})' for name in measured.values)}"
    if isinstance(case, OverheadCase):
        overhead = case.measure(frameworks, patience)
        found.overheads = _entered(overhead, found.overheads, overhead_cases())
        return f"{case.name}: {', '.join(f'{name} {duration(s)}' for name, s in overhead.wholes['minigrad'].items())}"
    result = measure(case, frameworks, found.limits, patience)
    found.results = _entered(result, found.results, all_cases())
    return _line(result)


def _entered(one: Any, others: Sequence[Any], order: Any) -> list[Any]:
    """With one more, in the order of the cases; what was told of the same case gives way."""
    by_name = {other.name: other for other in others} | {one.name: one}
    return [by_name[case.name] for case in order if case.name in by_name]


def _chosen(pattern: str) -> list[AnyCase]:
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise MinigradError(f"--only {pattern!r} is not a regular expression: {error}") from error
    every: list[AnyCase] = [*process_cases(), *overhead_cases(), *all_cases()]
    cases = [case for case in every if wanted.search(case.name)]
    if not cases:
        raise MinigradError(f"--only {pattern!r} is in no case's name; --list names them")
    return cases


def _begun(args: argparse.Namespace) -> Findings:
    """What is there already, or nothing yet."""
    if args.resume and args.out is None:
        raise MinigradError("--resume goes on with the file that --out names; there is no --out")
    here = description()
    if not args.resume or not args.out.exists():
        return Findings(here, limits())
    found = read(args.out)
    for what in ("processor", "threads", "lanes", "python", "packages"):
        if found.machine.get(what) != here[what]:
            raise MinigradError(
                f"--resume: {args.out} was measured with {what} {found.machine.get(what)}, here is {here[what]}; "
                "without --resume everything is measured anew"
            )
    return found


def _told(case: AnyCase, found: Findings, frameworks: list[Framework]) -> bool:
    """Whether the case was measured already, with everybody who is asked now."""
    names = {framework.name for framework in frameworks}
    told: list[Result | Overhead | Measured] = [*found.processes, *found.overheads, *found.results]
    same = next((one for one in told if one.name == case.name), None)
    if isinstance(same, Measured) and isinstance(case, ProcessCase):
        return names & set(case.codes) <= set(same.values)
    if isinstance(same, Overhead):
        return {framework.name for framework in frameworks if framework.eager} <= set(same.wholes)
    return isinstance(same, Result) and names <= set(same.median)


def _competitors(names: str) -> list[Framework]:
    wanted = [name for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in FRAMEWORKS or name == "minigrad"]
    if unknown:
        raise MinigradError(
            f"--against {unknown[0]!r}: there are {', '.join(name for name in FRAMEWORKS if name != 'minigrad')}"
        )
    return [FRAMEWORKS[name]() for name in wanted]


def _line(result: Result) -> str:
    own = result.minimum["minigrad"]
    shown = [f"{name} {ratio.median:.2f}x ({result.minimum[name] / own:.2f}x)" for name, ratio in result.ratio.items()]
    first = f"{duration(result.median['minigrad'])} (least {duration(own)})"
    return f"{result.name}: {', '.join([first, *shown])}"
