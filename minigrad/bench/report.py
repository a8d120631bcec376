"""How the benchmark is told: tables for the terminal and in Markdown, JSON that can be read again. (Plots are in `plots`.)"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from minigrad.bench.machine import Limits
from minigrad.bench.measure import Result
from minigrad.bench.overhead import PARTS, WHOLES, Overhead
from minigrad.bench.plots import plot_ratios, plot_roofline
from minigrad.bench.processes import Measured
from minigrad.errors import FileFormatError
from minigrad.io.atomic import write_text
from minigrad.viz.columns import narrowed

__all__ = ["Findings", "duration", "read", "tables", "write", "write_json"]

Rows = list[list[str]]


@dataclass
class Findings:
    """All that a run of the benchmark has found, and where."""

    machine: dict[str, Any]
    limits: Limits
    processes: list[Measured] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "machine": self.machine,
            "limits": self.limits._asdict(),
            "processes": [m.asdict() for m in self.processes],
            "overheads": [o.asdict() for o in self.overheads],
            "results": [r.asdict() for r in self.results],
        }


def duration(seconds: float) -> str:
    """Three figures, in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


# ------------------------------------------------------------------------------------------------ tables


def _rows(found: Findings) -> Iterator[tuple[Rows, list[str]]]:
    """The tables, each with its head: what was found in processes, on small operations, on everything else.

    With each the columns that a narrow terminal does without, the first first.
    """
    if found.processes:
        names = _named(m.values for m in found.processes)
        yield [["in a process of its own", *names], *([m.name, *map(m.shown, names)] for m in found.processes)], []
    if found.overheads:
        rows = _overhead_rows(found.overheads)
        yield rows, [*reversed(PARTS), *reversed(rows[0][1 + len(PARTS) :])]
    if found.results:
        others = _named(r.ratio for r in found.results)
        shown = [column for other in others for column in (other, "least", "ratio of medians", "of least")]
        head = ["case", "minigrad", "least", *shown, "of limit"]
        yield (
            [head, *(_cells(result, others) for result in found.results)],
            ["least", "of least", "of limit", "ratio of medians"],
        )


def _named(dictionaries: Any) -> list[str]:
    """All keys, in the order in which they first come."""
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def _overhead_rows(overheads: Sequence[Overhead]) -> Rows:
    frameworks = _named(o.wholes for o in overheads)
    wholes = [(name, whole) for name in frameworks for whole in WHOLES]
    head = ["ns of one operation, fastest round", *PARTS]
    head += [whole if name == "minigrad" else f"{name} {whole}" for name, whole in wholes]
    rows = []
    for o in overheads:
        told = [o.parts[part] for part in PARTS] + [o.wholes.get(name, {}).get(whole) for name, whole in wholes]
        rows.append([o.name, *("" if seconds is None else f"{seconds * 1e9:.0f}" for seconds in told)])
    return [head, *rows]


def _cells(result: Result, others: Sequence[str]) -> list[str]:
    own = result.minimum["minigrad"]
    cells = [result.name, duration(result.median["minigrad"]), duration(own)]
    for name in others:
        if name not in result.ratio:
            cells += [""] * 4
            continue
        (middle, low, high), least = result.ratio[name], result.minimum[name]
        cells += [duration(result.median[name]), duration(least), f"{middle:.2f} ({low:.2f} to {high:.2f})"]
        cells.append(f"{least / own:.2f}")
    return [*cells, f"{100 * result.of_limit:.0f} %"]


def tables(found: Findings, width: int | None = None) -> Iterator[Table]:
    """For the terminal: medians and minima, ratios with intervals, the fraction of the machine's limit.

    In `width` cells, for which columns are left out; as wide as they need, if it is not given.
    """
    for rows, spare in _rows(found):
        yield narrowed(functools.partial(_table, rows), spare, width, "a wider terminal shows them, and --out writes them")


def _table(rows: Rows, left_out: Sequence[str]) -> Table:
    made = Table(box=None, header_style="bold")
    kept = [i for i, column in enumerate(rows[0]) if column not in left_out]
    for i in kept:
        made.add_column(rows[0][i], justify="right" if i else "left", no_wrap=True)
    for row in rows[1:]:
        made.add_row(*(row[i] for i in kept))
    return made


def markdown(found: Findings) -> str:
    """The same as Markdown, with the machine."""
    machine, limits = found.machine, found.limits
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['lanes']} float32 a vector; "
        f"{machine['memory_gb']} GB; {machine['system']}; Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
        + f". Measured limits: {limits.flops / 1e9:.0f} GFLOP/s, {limits.bytes / 1e9:.1f} GB/s.",
    ]
    for (head, *rows), _ in _rows(found):
        lines += ["", f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ files


def write(path: Path, found: Findings) -> list[Path]:
    """Write JSON to `path`, and beside it the same as Markdown and as plots; give the files."""
    files = [path, path.with_suffix(".md")]
    write_json(path, found)
    write_text(files[1], markdown(found))
    if found.results:
        files.append(path.with_name(f"{path.stem}-roofline.png"))
        plot_roofline(files[-1], found.results, found.limits)
    if any(result.ratio for result in found.results):
        files.append(path.with_name(f"{path.stem}-ratios.png"))
        plot_ratios(files[-1], found.results)
    return files


def write_json(path: Path, found: Findings) -> None:
    """All that was found; `read` gives it back."""
    write_text(path, json.dumps(found.asdict(), indent=1) + "\n")


def read(path: Path) -> Findings:
    """What `write_json` wrote. Raises FileFormatError for anything else, OSError where there is no such file."""
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise FileFormatError(f"{path}: not JSON, or damaged ({error}); expected what `minigrad bench --out` writes") from error
    try:
        return Findings(
            dict(told["machine"]),
            Limits(**told["limits"]),
            [Measured(**m) for m in told["processes"]],
            [Overhead(**o) for o in told["overheads"]],
            [Result.fromdict(r) for r in told["results"]],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{path}: not what `minigrad bench --out` writes: {what}") from error
