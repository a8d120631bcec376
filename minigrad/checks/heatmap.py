"""Where a gradient is wrong, as a picture: blocks of text for any terminal or log, a PNG, cells of HTML."""

from __future__ import annotations

import html
import math
import os
from typing import Any

import numpy as np

from minigrad.checks.verdict import InputReport, Verdict
from minigrad.core import Array
from minigrad.io.atomic import replacing

__all__ = ["blocks", "cells", "save_png"]

#: Text for an element: what it was judged, or how wrong it is as a part of the array's largest derivative.
_MARKS = {Verdict.SKIPPED: " ", Verdict.OK: "·", Verdict.KINK: "?", Verdict.UNRESOLVED: "?", Verdict.NONFINITE: "!"}
_SHADES = ((0.01, "░"), (0.1, "▒"), (0.5, "▓"), (math.inf, "█"))
_ROWS, _COLUMNS = 24, 72
_MOST_PLANES = 16


def relative(report: InputReport) -> Array:
    """How far each element is off, as a part of the array's largest derivative; NaN where that is not known."""
    numeric = report.numeric[np.isfinite(report.numeric)]
    scale = float(np.abs(numeric).max(initial=0.0)) or float(np.nan_to_num(np.abs(report.analytic)).max(initial=0.0)) or 1.0
    return np.asarray(report.difference() / scale)


def _planes(array: Array) -> Array:
    """An array as (planes, rows, columns): the last two axes are the picture."""
    if array.ndim < 2:
        return array.reshape(1, 1, -1)
    return array.reshape(-1, *array.shape[-2:])


def _worst_plane(report: InputReport) -> int:
    off = np.where(report.verdict >= Verdict.NONFINITE, np.nan_to_num(relative(report), nan=1.0) + 1e-12, 0.0)
    return int(_planes(off).sum(axis=(1, 2)).argmax())


def _title(report: InputReport, plane: int) -> str:
    if report.x.ndim <= 2:
        return report.name
    index = ", ".join(str(int(k)) for k in np.unravel_index(plane, report.x.shape[:-2]))
    count = int(np.prod(report.x.shape[:-2]))
    return f"{report.name}[{index}]" + (f", the worst of {count} planes" if count > 1 else "")


def blocks(report: InputReport) -> list[str]:
    """Lines of text: one character an element, the worst one of a block where the array is larger than a terminal."""
    if report.x.size < 2:
        return []
    plane = _worst_plane(report)
    verdict, off = _planes(report.verdict)[plane], _planes(relative(report))[plane]
    tall, wide = -(-verdict.shape[0] // _ROWS), -(-verdict.shape[1] // _COLUMNS)
    lines = [f"where {_title(report, plane)} is off (· ok, ? undecided, ░▒▓█ by up to 1 %, 10 %, 50 % and more):"]
    for i in range(0, verdict.shape[0], tall):
        row = ""
        for j in range(0, verdict.shape[1], wide):
            block = slice(i, i + tall), slice(j, j + wide)
            row += _mark(verdict[block], off[block])
        lines.append("  " + row.rstrip())
    if tall * wide > 1:
        lines.append(f"  (each character is the worst of {tall}x{wide} elements)")
    return lines


def _mark(verdict: Array, off: Array) -> str:
    worst = Verdict(int(verdict.max()))
    if worst in _MARKS:
        return _MARKS[worst]
    size = float(np.nan_to_num(off[verdict == worst], nan=1.0).max())
    return next(shade for limit, shade in _SHADES if size <= limit)


def cells(report: InputReport) -> str:
    """The worst plane as an HTML table of coloured cells, each with its numbers as a hint."""
    if report.x.size < 2:
        return ""
    plane = _worst_plane(report)
    verdict, off = _planes(report.verdict)[plane][:_ROWS, :_COLUMNS], _planes(relative(report))[plane]
    analytic, numeric = _planes(report.analytic)[plane], _planes(report.numeric)[plane]
    rows = []
    for i in range(verdict.shape[0]):
        row = ""
        for j in range(verdict.shape[1]):
            hint = f"[{i}, {j}] analytic {analytic[i, j]:.6g}, numeric {numeric[i, j]:.6g}"
            row += (
                f'<td title="{hint}" style="width:12px;height:12px;padding:0;background:{_colour(verdict[i, j], off[i, j])}">'
            )
            row += "</td>"
        rows.append(f"<tr>{row}</tr>")
    cut = " (cut)" if verdict.shape != _planes(report.verdict)[plane].shape else ""
    table = f'<table style="border-collapse:separate;border-spacing:1px">{"".join(rows)}</table>'
    return f"<div>where {html.escape(_title(report, plane))} is off{cut}:</div>{table}"


def _colour(verdict: Any, off: float) -> str:
    if verdict == Verdict.SKIPPED:
        return "#f1f2f4"
    if verdict == Verdict.OK:
        return "#dcf0df"
    if verdict < Verdict.NONFINITE:
        return "#f6f2d4"
    share = min(1.0, max(0.25, 1 + 0.25 * math.log10(max(float(np.nan_to_num(off, nan=1.0)), 1e-6))))
    red, other = (245 - 75 * share, 200 - 170 * share)
    return f"rgb({red:.0f},{other:.0f},{other:.0f})"


def save_png(report: InputReport, path: str | os.PathLike[str]) -> None:
    """The error over the array as a PNG, plane by plane (the worst 16), on a logarithmic scale; written whole or not at all.

    Green is ok, yellow undecided, red off: the darker, the more. Raises OSError where it can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    verdict, off = _planes(report.verdict), _planes(np.nan_to_num(relative(report), nan=1.0))
    bad = np.where(verdict >= Verdict.NONFINITE, off, 0.0)
    chosen = np.sort(np.argsort(-bad.sum(axis=(1, 2)), kind="stable")[:_MOST_PLANES])
    across = min(4, len(chosen)) or 1
    down = -(-len(chosen) // across) or 1
    reds = LinearSegmentedColormap.from_list("off", ["#f5c8c8", "#d5495c", "#7a1020"])
    norm = LogNorm(1e-6, 1.0, clip=True)
    side = 2.2 if len(chosen) > 1 else 4.0
    figure = Figure((side * across + 1.4, side * down + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    for number, plane in enumerate(chosen):
        axes = figure.add_subplot(down, across, number + 1)
        colours = reds(norm(np.maximum(bad[plane], 1e-9)))
        for value, colour in ((Verdict.SKIPPED, "#f1f2f4"), (Verdict.OK, "#dcf0df"), (Verdict.KINK, "#f0e090")):
            colours[verdict[plane] == value] = _rgba(colour)
        colours[verdict[plane] == Verdict.UNRESOLVED] = _rgba("#f0e090")
        axes.imshow(colours, interpolation="nearest", aspect="equal" if min(verdict.shape[1:]) > 1 else "auto")
        axes.set_title(_title(report, int(plane)).split(", the")[0], fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.tick_params(labelsize=7)
    bar = figure.colorbar(ScalarMappable(norm, reds), ax=figure.axes, fraction=0.05)
    bar.set_label("off by, as a part of the largest derivative", fontsize=8)
    figure.suptitle(f"gradient of {report.name}: {report.count(Verdict.WRONG)} of {report.x.size} wrong", fontsize=10)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120, format="png")


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0
