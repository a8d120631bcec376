"""How the benchmark is told: a table, JSON, a plot, Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from minigrad.bench.machine import Limits
from minigrad.bench.measure import Result
from minigrad.bench.processes import Measured
from minigrad.io.atomic import replacing, write_text

__all__ = ["duration", "markdown", "table", "write"]


def duration(seconds: float) -> str:
    """Three figures, in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _columns(results: Sequence[Result]) -> list[str]:
    others = list(results[0].ratios()) if results else []
    shown = [column for other in others for column in (other, "least", "ratio of medians", "of least")]
    return ["case", "minigrad", "least", *shown, "of limit"]


def _cells(result: Result) -> list[str]:
    medians, ratios = result.medians, result.ratios()
    cells = [result.name, duration(medians["minigrad"]), duration(result.minima["minigrad"])]
    for name, (middle, low, high) in ratios.items():
        least = result.minima[name]
        cells += [duration(medians[name]), duration(least), f"{middle:.2f} ({low:.2f} to {high:.2f})"]
        cells.append(f"{least / result.minima['minigrad']:.2f}")
    return [*cells, f"{100 * result.of_limit:.0f} %"]


def table(results: Sequence[Result]) -> Table:
    """For the terminal: medians and minima, ratios with intervals, the fraction of the machine's limit."""
    made = Table(box=None, header_style="bold")
    for i, column in enumerate(_columns(results)):
        made.add_column(column, justify="right" if i else "left", no_wrap=True)
    for result in results:
        made.add_row(*_cells(result))
    return made


def markdown(results: Sequence[Result], processes: Sequence[Measured], machine: dict[str, Any], limits: Limits) -> str:
    """The same as Markdown, with the machine and what was measured in processes of their own."""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['lanes']} float32 a vector; "
        f"{machine['memory_gb']} GB; {machine['system']}; Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
        + f". Measured limits: {limits.flops / 1e9:.0f} GFLOP/s, {limits.bytes / 1e9:.1f} GB/s.",
        "",
    ]
    if processes:
        lines += ["| in a process of its own | | |", "|---|---:|---:|"]
        lines += [f"| {m.name} | {m.shown} | {m.other or ''} |" for m in processes]
        lines.append("")
    if results:
        columns = _columns(results)
        lines += [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
        lines += [f"| {' | '.join(_cells(result))} |" for result in results]
    return "\n".join(lines) + "\n"


def write(
    path: Path, results: Sequence[Result], processes: Sequence[Measured], machine: dict[str, Any], limits: Limits
) -> list[Path]:
    """Write JSON to `path`, and beside it the same as Markdown (.md) and as a plot (.png); give the files."""
    told = {
        "machine": machine,
        "limits": limits._asdict(),
        "processes": [m.asdict() for m in processes],
        "results": [r.asdict() for r in results],
    }
    files = [path, path.with_suffix(".md")]
    write_text(files[0], json.dumps(told, indent=1) + "\n")
    write_text(files[1], markdown(results, processes, machine, limits))
    if results and results[0].ratios():
        files.append(path.with_suffix(".png"))
        _plot(files[-1], results)
    return files


def _plot(path: Path, results: Sequence[Result]) -> None:
    """A row for each case: how many times as fast minigrad is, on a logarithmic scale, with the intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.22 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(results))
    for (other, colour), shift in zip((("torch", "#c44e52"), ("jax", "#4c72b0")), (-0.15, 0.15), strict=True):
        found = [result.ratios().get(other) for result in results]
        if None in found:
            continue
        middle = [r[0] for r in found if r]
        spread = [[r[0] - r[1] for r in found if r], [r[2] - r[0] for r in found if r]]
        places = [row + shift for row in rows]
        axes.errorbar(middle, places, xerr=spread, fmt="o", markersize=4, color=colour, elinewidth=1, label=other)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_yticks(list(rows), [result.name for result in results], fontsize=7)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("how many times as long the other takes (right of 1: minigrad is faster)")
    axes.legend(loc="lower right")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)
