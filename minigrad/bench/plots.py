"""The benchmark's two plots: where each case stands below the machine's limits, and how far competitors are behind or ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.bench.machine import Limits
from minigrad.bench.measure import Result
from minigrad.io.atomic import replacing

__all__ = ["plot_ratios", "plot_roofline"]

#: Colours that differ in brightness too (Okabe and Ito, Color Universal Design, 2008).
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "networks": ("#000000", ("lenet", "alexnet")),
    "convolution": ("#0072b2", ("conv2d",)),
    "linear": ("#009e73", ("linear",)),
    "normalisation": ("#d55e00", ("local_response_norm", "batch_norm")),
    "pooling": ("#cc79a7", ("max_pool2d",)),
    "softmax, loss": ("#e69f00", ("softmax", "cross_entropy")),
    "relu": ("#56b4e9", ("relu",)),
}
_OTHERS = {"torch": ("PyTorch", "#d55e00"), "jax": ("JAX, compiled", "#0072b2")}
_MARKERS = {"forward": "o", "by input": "^", "by weight": "s", "step": "D"}
_DPI = 110


def plot_roofline(path: Path, results: Sequence[Result], limits: Limits) -> None:
    """Each case's operations a second over its operations a byte, in its fastest round, under the machine's limits.

    (Williams, Waterman and Patterson, Roofline: An Insightful Visual Performance Model, 2009.) PyTorch's are the grey dots
    that a line ties to minigrad's.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.add_subplot()
    _draw_limits(axes, limits, [result.flops / result.bytes for result in results])
    tied = [r for r in results if "torch" in r.minimum]
    places = [r.flops / r.bytes for r in tied]
    others = [r.flops / r.minimum["torch"] for r in tied]
    axes.vlines(places, others, [r.flops / r.minimum["minigrad"] for r in tied], color="#bbbbbb", linewidth=0.7, zorder=1)
    axes.plot(places, others, "o", color="#999999", markersize=2.5, label="PyTorch, same case" if tied else None, zorder=2)
    for family, (colour, names) in _FAMILIES.items():
        own = [r for r in results if r.name.split()[0] in names]
        places = [r.flops / r.bytes for r in own]
        reached = [r.flops / r.minimum["minigrad"] for r in own]
        axes.plot(places, reached, "o", color=colour, markersize=4.5, label=family if own else None, zorder=3)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("floating-point operations for each byte that must be moved")
    axes.set_ylabel("operations a second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e9:g} G")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(which="major", linewidth=0.3)
    axes.legend(loc="lower right", fontsize=8, framealpha=1)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=_DPI)


def _draw_limits(axes: Any, limits: Limits, places: Sequence[float]) -> None:
    ridge = limits.flops / limits.bytes
    ends = np.array([min(*places, ridge) / 2, ridge, max(*places, ridge) * 2])
    axes.plot(ends, np.minimum(ends * limits.bytes, limits.flops), color="black", linewidth=1, zorder=0)
    # Named beside the lines' outer ends, where no case can lie.
    outside = {"textcoords": "offset points", "fontsize": 8, "va": "center"}
    axes.annotate(f"{limits.flops / 1e9:.0f} GFLOP/s", (ends[2], limits.flops), xytext=(3, 0), ha="left", **outside)
    axes.annotate(f"{limits.bytes / 1e9:.1f} GB/s", (ends[0], ends[0] * limits.bytes), xytext=(-3, 0), ha="right", **outside)
    axes.set_xlim(ends[0] / 3, ends[2] * 5)


def plot_ratios(path: Path, results: Sequence[Result]) -> None:
    """A row for each thing that is done, a mark for each of its passes: how many times as long the others take."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = list(dict.fromkeys(_row_and_pass(result.name)[0] for result in results))
    figure = Figure(figsize=(8, 1.3 + 0.24 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    there = [name for name in _OTHERS if any(name in result.ratio for result in results)]
    for result in results:
        row, kind = _row_and_pass(result.name)
        for i, name in enumerate(there):
            if name in result.ratio:
                middle, low, high = result.ratio[name]
                at = rows.index(row) + 0.18 * (2 * i - len(there) + 1)
                axes.plot([low, high], [at, at], color=_OTHERS[name][1], linewidth=0.8, alpha=0.5)
                axes.plot(middle, at, _MARKERS[kind], color=_OTHERS[name][1], markersize=4, markeredgewidth=0)
    for edge in range(1, len(rows), 2):
        axes.axhspan(edge - 0.5, edge + 0.5, color="#f4f4f4", zorder=0)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x" if value >= 1 else f"1/{1 / value:g}")
    axes.tick_params(axis="x", top=True, labeltop=True)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("how many times as long the other takes (right of 1: minigrad is faster)")
    marks = [Line2D([], [], marker="o", linestyle="", color=_OTHERS[n][1], markersize=5, label=_OTHERS[n][0]) for n in there]
    kinds = dict.fromkeys(_row_and_pass(result.name)[1] for result in results)
    marks += [Line2D([], [], marker=_MARKERS[k], linestyle="", color="#555555", markersize=4, label=k) for k in kinds]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=8, frameon=False)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=_DPI)


def _row_and_pass(name: str) -> tuple[str, str]:
    """A case's name without its pass, and the pass: 'conv2d a, batch 8: by input' or 'lenet step, batch 8'."""
    before, colon, after = name.rpartition(": ")
    if colon:
        return before, after
    kind = next(kind for kind in ("step", "forward") if kind in name.split(",")[0].split())
    return name.replace(f" {kind}", ""), kind
