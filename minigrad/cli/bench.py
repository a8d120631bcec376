"""`minigrad bench`: how fast minigrad is on this machine, beside other frameworks and beside the machine's own limits."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from minigrad.bench import FRAMEWORKS, Case, Framework, Minigrad, Result, all_cases, measure
from minigrad.bench.machine import Limits, description, limits
from minigrad.bench.processes import Measured, ProcessCase, process_cases
from minigrad.bench.report import duration, table, write
from minigrad.cli.parsing import positive_number
from minigrad.errors import MinigradError

__all__ = ["add_parser", "run"]

_DESCRIPTION = """Measure networks and kernels, competitors in turn in one process, with the same numbers and as many
threads; results are compared before anything is timed. Told are medians, minima, ratios with a bootstrap interval, and
the fraction of what the machine could do at best. The full set takes some ten minutes a competitor."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("bench", help="how fast it is, beside others", description=_DESCRIPTION)
    others = ", ".join(name for name in FRAMEWORKS if name != "minigrad")
    parser.add_argument("--against", metavar="NAMES", default="", help=f"whom to compare with, by commas: {others}")
    parser.add_argument("--only", metavar="PATTERN", default="", help="cases whose name has this regular expression")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write JSON here, Markdown and a plot beside it")
    parser.add_argument("--patience", type=positive_number, default=1.0, metavar="X", help="so many times the usual time")
    parser.add_argument("--list", action="store_true", help="name the cases and do nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; the exit code is 0, or 1 where a case failed (its results differed) or Ctrl-C ended it early."""
    cases, alone = _chosen(args.only)
    if args.list:
        for name in [case.name for case in alone] + [case.name for case in cases]:
            print(name)
        return 0
    competitors = _competitors(args.against)  # before numba is loaded, so that each sets up its threads as it would alone
    frameworks = [Minigrad(), *competitors]
    limit, console = limits(), Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(f"limits: {limit.flops / 1e9:.0f} GFLOP/s, {limit.bytes / 1e9:.1f} GB/s")
    found = _Found()
    try:
        _measure(cases, alone, frameworks, limit, args.patience, console, found)
    except KeyboardInterrupt:
        found.wrong.append("interrupted: what was measured until then is told and written")
    if found.results:
        console.print(table(found.results))
    if args.out is not None:
        files = write(args.out, found.results, found.processes, description(), limit)
        console.print(*(f"wrote {file}" for file in files), sep="\n")
    for message in found.wrong:
        console.print(message, style="red", soft_wrap=True)
    return 1 if found.wrong else 0


@dataclass
class _Found:
    results: list[Result] = field(default_factory=list)
    processes: list[Measured] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _measure(
    cases: list[Case],
    alone: list[ProcessCase],
    frameworks: list[Framework],
    limit: Limits,
    patience: float,
    console: Console,
    found: _Found,
) -> None:
    items: list[Case | ProcessCase] = [*alone, *cases]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(items))
        for item in items:
            progress.update(task, description=item.name)
            try:
                if isinstance(item, Case):
                    found.results.append(measure(item, frameworks, limit, patience))
                    console.print(_line(found.results[-1]), soft_wrap=True)
                else:
                    found.processes.append(item.measure(with_torch=any(f.name == "torch" for f in frameworks)))
                    console.print(f"{item.name}: {found.processes[-1].shown} {found.processes[-1].other or ''}")
            except MinigradError as error:
                found.wrong.append(str(error))
            progress.advance(task)


def _chosen(pattern: str) -> tuple[list[Case], list[ProcessCase]]:
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise MinigradError(f"--only {pattern!r} is not a regular expression: {error}") from error
    cases = [case for case in all_cases() if wanted.search(case.name)]
    alone = [case for case in process_cases() if wanted.search(case.name)]
    if not cases and not alone:
        raise MinigradError(f"--only {pattern!r} is in no case's name; --list names them")
    return cases, alone


def _competitors(names: str) -> list[Framework]:
    wanted = [name for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in FRAMEWORKS or name == "minigrad"]
    if unknown:
        raise MinigradError(
            f"--against {unknown[0]!r}: there are {', '.join(name for name in FRAMEWORKS if name != 'minigrad')}"
        )
    return [FRAMEWORKS[name]() for name in wanted]


def _line(result: Result) -> str:
    own = result.minima["minigrad"]
    shown = [f"{name} {middle:.2f}x ({result.minima[name] / own:.2f}x)" for name, (middle, _, _) in result.ratios().items()]
    first = f"{duration(result.medians['minigrad'])} (least {duration(own)})"
    return f"{result.name}: {', '.join([first, *shown])}"
