"""What all figures that matplotlib draws share: size, quiet colours, pictures in rows and columns, files whole or not at all.

matplotlib is imported late: it is heavy, and most of what reads these modules draws nothing.
"""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.io.atomic import replacing
from minigrad.viz.palette import FAMILIES, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

__all__ = ["FORMATS", "ink", "mosaic", "new_figure", "quiet", "save_figure", "sequential", "show", "signed"]

Array = np.ndarray[Any, Any]

#: The endings that a figure can be saved under.
FORMATS = (".png", ".svg", ".pdf")

_DEEP_BLUE, _DEEP_RED = "#1d3147", "#6d1020"
#: Between tiles; and how long a tile's side is, at least half of it.
_GAP, _TILE = "#d9dde3", 30


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, on paper."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor=INK.paper)


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> Path:
    """Write a figure, whole or not at all; the ending says the format. Gives the path. The same figure gives the same bytes.

    Raises ValueError for an ending that there is not, OSError when the file can't be written.
    """
    import matplotlib as mpl

    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: can't draw a {path.suffix or 'file without an ending'}; {', '.join(FORMATS)}")
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with replacing(path) as temporary, mpl.rc_context({"svg.hashsalt": "minigrad"}):
        figure.savefig(temporary, dpi=dpi, metadata=undated)
    return path


# ------------------------------------------------------------------------------------------------ colours


@functools.cache
def sequential(family: str = "conv") -> Colormap:
    """From paper to deep blue, or the deep colour of another family: how much of something there is."""
    colour = FAMILIES[family]
    return _map(family, INK.paper, colour.fill, colour.line, colour.dark_fill)


@functools.cache
def signed() -> Colormap:
    """Blue below 0, paper at 0, red above."""
    return _map("signed", _DEEP_BLUE, FAMILIES["conv"].line, INK.paper, FAMILIES["loss"].line, _DEEP_RED)


@functools.cache
def ink() -> Colormap:
    """From paper to ink: pictures of one channel, what is bright in the data drawn dark."""
    return _map("ink", INK.paper, INK.text)


def _map(name: str, *colours: str) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"minigrad-{name}", list(colours)).with_extremes(bad=_GAP)


# ------------------------------------------------------------------------------------------------ pictures


def mosaic(tiles: Array, columns: int | None = None, gap: int = 1) -> Array:
    """Tiles (n, H, W) or (n, H, W, 3) in rows of `columns` (as square as can be unless given), NaN in the gaps between.

    Small tiles are enlarged, pixel by pixel, so that the gaps stay thin beside them.
    """
    larger = max(1, _TILE // max(tiles.shape[1:3]))
    tiles = tiles.repeat(larger, axis=1).repeat(larger, axis=2)
    n, height, width, *rest = tiles.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = -(-n // columns)
    out = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *rest), np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        out[top : top + height, left : left + width] = tile
    return out


def quiet(axes: Axes) -> Axes:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)
    return axes


def show(axes: Axes, picture: Array, scale: Colormap, low: float | None = None, high: float | None = None) -> Any:
    """A picture, pixel by pixel, without ticks; colours (H, W, 3) from 0 to 1 are drawn as they are."""
    quiet(axes)
    if picture.ndim == 3:
        from matplotlib.colors import to_rgb

        filled = np.where(np.isnan(picture), to_rgb(_GAP), picture)
        return axes.imshow(filled.clip(0, 1), interpolation="nearest")
    return axes.imshow(picture, cmap=scale, vmin=low, vmax=high, interpolation="nearest")


def heading(figure: Figure | SubFigure, text: str, size: float = 10) -> None:
    """A title at the left, in the colour of text."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=size, color=INK.text)
