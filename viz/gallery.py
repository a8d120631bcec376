"""Figures of what a network looks for. Each takes the arrays that `viz.features` and `viz.layers` give, and gives a figure.

Ink is drawn dark. Amounts run from paper to blue; what has a sign, blue below 0 and red above, the same range either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array
from minigrad.viz.features import Top
from minigrad.viz.figures import heading, ink, mosaic, new_figure, quiet, sequential, show, signed
from minigrad.viz.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["draw_activations", "draw_filters", "draw_reasons", "draw_top", "over_image"]

#: What is drawn of a layer; of more the first, and the heading says so: maps, filters over one channel or over three,
#: filters over other numbers of channels, and those channels.
_MAPS, _PLAIN, _FILTERS, _CHANNELS = 64, 128, 24, 8
#: Pixels between filters, which are pictures full of contrast.
_APART = 4
#: The end of the range of a picture in which there is nothing.
_TINY = 1e-30
#: A page across, and what a heading takes, in inches.
_WIDTH, _HEADING = 10.0, 0.4

# ------------------------------------------------------------------------------------------------ layers


def draw_filters(weights: Mapping[str, Array], title: str = "") -> Figure:
    """Filters by layer, each (filters, channels, rows, columns): a row for each channel; of three channels, in colours.

    Blue weights are negative, red ones positive; the range is the layer's own.
    """
    kept = {name: _first(weight).astype(np.float64) for name, weight in weights.items()}
    grids = [_filter_grid(weight.shape) for weight in kept.values()]
    figure = new_figure(_WIDTH, _height(grids, _WIDTH) + 0.3 * bool(title))
    for part, (columns, _), (name, weight) in zip(_stacked(figure, grids, _WIDTH), grids, kept.items(), strict=True):
        n, channels, *window = weights[name].shape
        text = f"{name}: {n} filters of {window[0]}x{window[1]} over {channels} channel{'s' * (channels > 1)}"
        text += _left_out(weights[name].shape, weight.shape, ("filters", "channels"))
        if channels == 3:
            heading(part, text)
            show(_axes(part), mosaic(_coloured(weight), columns, _APART), ink())
        else:
            by_channel = weight.transpose(1, 0, 2, 3).reshape(-1, *window)
            _measured(part, text + ", a row for each channel" * (channels > 1), by_channel, columns, True, _APART)
    figure.suptitle(title, color=INK.text)
    return figure


def _first(weight: Array) -> Array:
    return weight[:_PLAIN] if weight.shape[1] in (1, 3) else weight[:_FILTERS, :_CHANNELS]


def _filter_grid(shape: Sequence[int]) -> tuple[int, float]:
    """How many columns of tiles, and how many rows, in units of a tile's width."""
    n, channels, height, width = shape
    columns = min(n, 16) if channels in (1, 3) else n
    rows = -(-n // columns) if channels in (1, 3) else channels
    return columns, rows * height / width


def _coloured(weight: Array) -> Array:
    """Filters over three channels as colours (n, H, W, 3), each filter filling the range."""
    low, high = weight.min(axis=(1, 2, 3), keepdims=True), weight.max(axis=(1, 2, 3), keepdims=True)
    return np.moveaxis((weight - low) / np.where(high > low, high - low, 1), 1, -1)


def draw_activations(image: Array, maps: Mapping[str, Array], title: str = "") -> Figure:
    """An image (C, H, W) and what each layer makes of it, (channels, H, W) by the layer's name: a tile for each channel.

    Each layer has its own range.
    """
    kept = {name: layer[:_MAPS] for name, layer in maps.items()}
    grids = [_map_grid(layer.shape) for layer in kept.values()]
    across = _WIDTH * 5 / 6
    figure = new_figure(_WIDTH, _height(grids, across) + 0.3 * bool(title))
    halves = figure.subfigures(1, 2, width_ratios=(1, 5), squeeze=False)
    left, right = halves[0]
    heading(left, "image")
    axes = left.subplots()
    axes.set_anchor("N")
    show(axes, *_shown(image[None]))
    for part, (columns, _), (name, layer) in zip(_stacked(right, grids, across), grids, kept.items(), strict=True):
        shape = maps[name].shape
        text = f"{name}: {shape[0]} map{'s' * (shape[0] > 1)} of {shape[1]}x{shape[2]}"
        text += _left_out(shape[:1], layer.shape[:1], ("maps",))
        _measured(part, text, layer, columns, bool(layer.min() < 0))
    figure.suptitle(title, color=INK.text)
    return figure


def _map_grid(shape: Sequence[int]) -> tuple[int, float]:
    n, height, width = shape
    columns = n if n <= 8 else math.ceil(n / 2) if n <= 16 else 16
    return columns, -(-n // columns) * height / width


def _left_out(all_of: Sequence[int], drawn: Sequence[int], names: Sequence[str]) -> str:
    parts = [f"{few} {name}" for name, many, few in zip(names, all_of, drawn, strict=False) if few < many]
    return f"; drawn: the first {' and '.join(parts)}" if parts else ""


# ------------------------------------------------------------------------------------------------ reasons


def draw_reasons(
    images: Array,
    columns: Mapping[str, Array],
    labels: Sequence[str] = (),
    least: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Images (N, C, H, W) and, beside each, why the network answers as it does: columns by their name.

    A column is (N, C, H, W), drawn by its sign, or (N, H, W), an amount from 0 on. Each picture has a range of its own, up to
    what stands below it, but no smaller one than `least` says for its column, so that traces of an amount stay pale.
    """
    least = least or {}
    side = min(1.45, _WIDTH / (len(columns) + 1.7), max(1.0, 12 / len(images)))
    height = side * images.shape[2] / images.shape[3]
    figure = new_figure(side * (len(columns) + 1) + 1.0, (height + 0.22) * len(images) + 0.4 + 0.3 * bool(title))
    grid = figure.subplots(len(images), len(columns) + 1, squeeze=False)
    for row, image in enumerate(images):
        show(grid[row, 0], *_shown(image[None]))
        if labels:
            grid[row, 0].set_ylabel(labels[row], rotation=0, ha="right", va="center", fontsize=9, color=INK.text)
        for axes, (name, values) in zip(grid[row, 1:], columns.items(), strict=True):
            top = float(np.nanmax(np.abs(values[row]) if values.ndim == 4 else values[row]))
            if values.ndim == 4:
                show(axes, *_shown(values[row : row + 1], by_sign=True))
            else:
                show(axes, values[row], sequential().with_extremes(bad=INK.panel), 0, max(top, least.get(name, _TINY)))
            axes.set_xlabel(f"{'±' * (values.ndim == 4)}{top:.2g}", fontsize=7, color=INK.soft, labelpad=1)
    for axes, name in zip(grid[0], ["image", *columns], strict=True):
        axes.set_title(name, fontsize=9.5, color=INK.text)
    figure.suptitle(title, color=INK.text)
    return figure


def over_image(numbers: Array, image: Sequence[int], size: int, stride: int) -> Array:
    """What `occlusion` gives for squares, (N, rows, columns), on pictures of the image's size (N, H, W).

    Each number stands round the middle of its square; the rim, where no square has its middle, is NaN.
    """
    spread = numbers.repeat(stride, axis=1).repeat(stride, axis=2)
    picture = np.full((len(numbers), *image), np.nan)
    top = left = max(0, (size - stride) // 2)
    room = spread[:, : image[0] - top, : image[1] - left]
    picture[:, top : top + room.shape[1], left : left + room.shape[2]] = room
    return picture


# ------------------------------------------------------------------------------------------------ what excites


def draw_top(
    images: Array, reconstructions: Array, top: Top, channels: Sequence[int], across: int = 4, title: str = ""
) -> Figure:
    """For each channel the images that excite it most, and at their right what in each does it, as the deconvnet tells.

    `images` and `reconstructions` are (channels, count, C, H, W); `top` is of all the layer's channels. All are cut to one
    size: what a neuron of the layer sees. After Zeiler and Fergus 2014, figure 2.
    """
    images, reconstructions = _seen(images, reconstructions)
    place = _WIDTH / across
    side = place / 2 - 0.1
    height = side * images.shape[3] / images.shape[4]
    down, above = -(-len(channels) // across), 0.4 * bool(title)
    figure = new_figure(_WIDTH, above + down * (height + 0.3) + 0.05)
    figure.set_layout_engine("none")  # all is of one size: placed by hand, in a tenth of the time
    for i, (channel, own, back) in enumerate(zip(channels, images, reconstructions, strict=True)):
        left, top_edge = i % across * place + 0.05, above + i // across * (height + 0.3) + 0.25
        for axes_left, picture in ((left, _shown(own)), (left + side + 0.05, _shown(back, by_sign=True))):
            axes = _placed(figure, axes_left, top_edge, side, height)
            show(axes, *picture)
            if axes_left == left:
                name = f"channel {channel}" + ("" if top.values[channel, 0] > 0 else ": never excited")
                axes.set_title(name, loc="left", fontsize=8.5, pad=3, color=INK.text)
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top", color=INK.text)
    return figure


def _placed(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def _seen(images: Array, reconstructions: Array) -> tuple[Array, Array]:
    """Both cut to windows of one size, each round the part of the image that its reconstruction is not 0 in."""
    marked = np.abs(reconstructions).max(axis=2) > 0  # (channels, count, H, W)
    spans = [_span(marked.any(axis=axis)) for axis in (3, 2)]  # rows, columns
    windows = []
    for (first, last), length in zip(spans, images.shape[3:], strict=True):
        size = max(1, int((last - first).max()))
        start = np.clip((first + last - size) // 2, 0, length - size)
        windows.append(start[..., None] + np.arange(size))
    rows, columns = windows
    channel, place = np.indices(marked.shape[:2])[..., None, None]
    at = (channel, place, slice(None), rows[..., :, None], columns[..., None, :])
    return np.moveaxis(images[at], -1, 2), np.moveaxis(reconstructions[at], -1, 2)


def _span(marked: Array) -> tuple[Array, Array]:
    """The first marked place along the last axis, and the one behind the last; 0 and 0 where there is none."""
    some, length = marked.any(axis=-1), marked.shape[-1]
    return np.where(some, marked.argmax(axis=-1), 0), np.where(some, length - marked[..., ::-1].argmax(axis=-1), 0)


# ------------------------------------------------------------------------------------------------ parts


def _tile(columns: int, width: float) -> float:
    return min(1.1, (width - 0.4) / columns)


def _height(grids: Sequence[tuple[int, float]], width: float) -> float:
    """Inches that these grids of tiles (columns, rows) need one below the other."""
    return sum(_tile(columns, width) * rows + _HEADING for columns, rows in grids)


def _stacked(figure: Figure | SubFigure, grids: Sequence[tuple[int, float]], width: float) -> list[SubFigure]:
    """A part of the figure for each grid, as high as it needs."""
    heights = [_height([grid], width) for grid in grids]
    return list(figure.subfigures(len(grids), 1, height_ratios=heights, squeeze=False).flat)


def _axes(part: SubFigure) -> Axes:
    axes = quiet(part.subplots())
    axes.set_anchor("W")
    return axes


def _measured(part: SubFigure, text: str, tiles: Array, columns: int, by_sign: bool, gap: int = 1) -> None:
    """Tiles in one range, which the heading tells."""
    top = float(np.abs(tiles).max())
    heading(part, f"{text}; from {-top if by_sign else 0:.2g} to {top:.2g}")
    scale, low = (signed(), -top) if by_sign else (sequential(), 0.0)
    show(_axes(part), mosaic(tiles.astype(np.float64), columns, gap), scale, low, top or 1.0)


def _shown(images: Array, by_sign: bool = False) -> tuple[Array, Any, float | None, float | None]:
    """Images (n, C, H, W) as one picture, with the colours and the range to draw it in; each image fills the range."""
    values = images.astype(np.float64)
    if by_sign:
        top = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
        values = values / np.where(top > 0, top, 1)
        low, high = -1.0, 1.0
    else:
        least, most = values.min(axis=(1, 2, 3), keepdims=True), values.max(axis=(1, 2, 3), keepdims=True)
        values = (values - least) / np.where(most > least, most - least, 1)
        low, high = 0.0, 1.0
    if values.shape[1] == 3:
        return mosaic(np.moveaxis(values / 2 + 0.5 if by_sign else values, 1, -1)), ink(), None, None
    return mosaic(values.mean(axis=1)), signed() if by_sign else ink(), low, high
