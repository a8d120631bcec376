"""Pictures of a training run: how loss and accuracy went, and which classes were taken for which."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.viz.figures import new_figure, save_figure, sequential
from minigrad.viz.palette import FAMILIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "curves"]

Array = np.ndarray[Any, Any]

_TRAIN, _TEST = FAMILIES["other"].line, FAMILIES["conv"].line


def curves(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], title: str = "") -> None:
    """Draw loss and error over the epochs into a file, whole or not at all; the ending says the format.

    `history` has a record for each epoch with ``epoch``, ``train_loss``, ``test_loss``, ``train_accuracy``, ``test_accuracy``
    (fractions). Raises OSError when the file can't be written.
    """
    from matplotlib.ticker import LogLocator, NullFormatter  # late, as in figures.py

    figure = new_figure(9, 3.8)
    losses, errors = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    parts = (("train", "training part, while learning", _TRAIN), ("test", "held-out part", _TEST))
    for part, name, colour in parts:
        loss = [record[f"{part}_loss"] for record in history]
        error = [100 * (1 - record[f"{part}_accuracy"]) for record in history]
        losses.plot(epochs, loss, color=colour, marker=_marker(epochs), label=name)
        errors.plot(epochs, error, color=colour, marker=_marker(epochs), label=f"{name}: {error[-1]:.2f} %")
    for axes, name in ((losses, "loss"), (errors, "error in %")):
        axes.set(xlabel="epoch", ylabel=name)
        if any(max(line.get_ydata()) > 0 for line in axes.get_lines()):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="best", fontsize=9)
    _save(figure, path, title)


def confusion(counts: Array, path: str | os.PathLike[str], title: str = "", names: Sequence[str] | None = None) -> None:
    """Draw a table of ``counts[truth, answer]`` into a file, whole or not at all.

    What is right stands on the diagonal; colour shows the mistakes, as a share of their row. `names` are the classes', else
    their numbers. Raises OSError when the file can't be written.
    """
    classes = len(counts)
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    wrong = counts * (1 - np.eye(classes)) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    top = max(wrong.max(), 0.05)  # a single mistake stays pale
    axes.imshow(wrong, cmap=sequential("loss"), vmin=0, vmax=top)
    for truth in range(classes):
        for answer in range(classes):
            if counts[truth, answer]:
                weight = "bold" if truth == answer else "normal"
                colour = "white" if wrong[truth, answer] > 0.6 * top else "black"
                axes.text(answer, truth, str(counts[truth, answer]), ha="center", va="center", weight=weight, color=colour)
    labels = list(names) if names is not None else [str(i) for i in range(classes)]
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_xticks(range(classes), labels)
    axes.set_yticks(range(classes), labels)
    _lines_between(axes, classes)
    _save(figure, path, title)


def _lines_between(axes: Axes, classes: int) -> None:
    axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="black", alpha=0.1)
    axes.tick_params(which="minor", length=0)


def _marker(epochs: Sequence[int]) -> str:
    """A lone point would not show as a line."""
    return "o" if len(epochs) == 1 else ""


def _save(figure: Figure, path: str | os.PathLike[str], title: str) -> None:
    figure.suptitle(title)
    save_figure(figure, path)
