"""How activations and their gradients spread, layer by layer, while a model learns: what saturates, what vanishes.

with Histograms(model) as watch:
    for epoch in range(10):
        for images, labels in loader:
            ...  # forward, backward, step
        watch.end_epoch()
histograms({"sigmoid": watch}).savefig("histograms.png")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from minigrad import nn
from minigrad.core import Array, TensorBase
from minigrad.modes import is_grad_enabled
from minigrad.viz.figures import new_figure, sequential
from minigrad.viz.layers import LayerError, layer_of, leaves
from minigrad.viz.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Histograms", "Spread", "histograms"]

_ACTIVATIONS = (nn.ELU, nn.LeakyReLU, nn.Maxout, nn.PReLU, nn.ReLU, nn.Sigmoid, nn.Softplus, nn.Tanh)


class Spread(NamedTuple):
    """What was drawn of a layer in one epoch, each (n,) in float32."""

    values: Array  #: Of the layer's output.
    gradients: Array  #: Of the loss with respect to the layer's input: what came back through it. Empty if none came by.


class Histograms:
    """Watches layers of a model while it learns; `epochs` holds what each epoch showed, a `Spread` by layer.

    Of every `every`-th batch that is learned from (training mode, recording on), `sample` numbers of each layer's output are
    kept, drawn at random, and as many of the gradient that comes back through it: some microseconds a batch, and no number
    that the training draws is another for it. `layers` are the activations of `minigrad.nn` in the model unless given, by
    their dotted names.

    `end_epoch()` closes an epoch, `remove()` (or leaving a ``with`` block) takes the hooks away.
    Raises LayerError for a layer that there is not, or a model without activations where none are named.
    """

    def __init__(self, model: Any, layers: Sequence[str] | None = None, every: int = 5, sample: int = 500) -> None:
        """Hang hooks into the model."""
        if layers is None:
            layers = [path for path, module in leaves(model).items() if isinstance(module, _ACTIVATIONS)]
            if not layers:
                raise LayerError(
                    f"Histograms: {type(model).__name__} has no activation layers; name some: {list(leaves(model))}"
                )
        if every < 1 or sample < 1:
            raise ValueError(f"Histograms: every = {every}, sample = {sample}; each must be 1 at least")
        self.layers = tuple(layers)
        self.epochs: list[dict[str, Spread]] = []
        self._every, self._sample, self._batches = every, sample, 0
        self._rng = np.random.default_rng(0)  # its own: the training's draws stay as they are
        self._open = self._fresh()
        modules = {path: layer_of(model, path) for path in self.layers}
        self._handles = [model.register_forward_pre_hook(self._next_batch)]
        self._handles += [module.register_forward_hook(self._looking(path)) for path, module in modules.items()]

    def _fresh(self) -> dict[str, tuple[list[Array], list[Array]]]:
        return {path: ([], []) for path in self.layers}

    def _next_batch(self, model: Any, _: Any) -> None:
        learning = model.training and is_grad_enabled()
        self._looks = learning and self._batches % self._every == 0
        self._batches += learning

    def _looking(self, path: str) -> Any:
        def returned(_module: Any, args: Any, output: Any) -> None:
            if self._looks and isinstance(output, TensorBase):
                values, gradients = self._open[path]
                values.append(self._drawn(output.array))
                if args and isinstance(args[0], TensorBase) and args[0].requires_grad:
                    args[0].register_hook(lambda g: gradients.append(self._drawn(g.array)))

        return returned

    def _drawn(self, array: Array) -> Array:
        at = self._rng.integers(array.size, size=self._sample) if array.size > self._sample else slice(None)
        return array.reshape(-1)[at].astype(np.float32)

    def end_epoch(self) -> None:
        """Close the epoch: what was seen since the last call. Raises ValueError if no batch was learned from."""
        if not any(values for values, _ in self._open.values()):
            raise ValueError("Histograms.end_epoch: nothing was seen; the model must be called in training mode, recording")
        none = [np.empty(0, np.float32)]
        self.epochs.append({path: Spread(*(np.concatenate(p or none) for p in parts)) for path, parts in self._open.items()})
        self._open, self._batches = self._fresh(), 0

    def remove(self) -> None:
        """Take the hooks away; what was seen stays."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()


# ------------------------------------------------------------------------------------------------ the figure

_BINS = 48


def histograms(watched: Histograms | Mapping[str, Histograms], title: str = "") -> Figure:
    """Activations and gradients over the epochs: a row for each layer, a pair of columns for each run that was watched.

    Each stripe of a picture is one epoch's histogram, the fuller the darker; a line goes through the medians. Gradients stand
    by the power of ten of their size, on one scale for all runs and layers; those that are 0 are left out, and their share
    in the last epoch is told. Layers are matched by their place, the first at the top.
    Raises ValueError without a closed epoch, or for runs with different numbers of layers.
    """
    runs = {"": watched} if isinstance(watched, Histograms) else dict(watched)
    depths = {len(run.layers) for run in runs.values()}
    if len(depths) != 1 or not all(run.epochs for run in runs.values()):
        raise ValueError(f"histograms: runs of {sorted(depths)} layers; expected some with as many each, and a closed epoch")
    figure = new_figure(0.4 + 3.2 * len(runs), 0.9 + 1.1 * max(depths))
    powers = _range([_powers(s.gradients) for run in runs.values() for epoch in run.epochs for s in epoch.values()])
    parts = figure.subfigures(1, len(runs), squeeze=False)[0]
    for i, (part, (name, run)) in enumerate(zip(parts, runs.items(), strict=True)):
        part.suptitle(name, fontsize=10.5, color=INK.text)
        _draw_run(part, run, powers, named=i == 0)
    figure.suptitle(title, color=INK.text)
    return figure


def _draw_run(part: SubFigure, run: Histograms, powers: tuple[float, float], named: bool) -> None:
    grid = part.subplots(len(run.layers), 2, squeeze=False, sharex=True, sharey="col")
    values = _range([spread.values for epoch in run.epochs for spread in epoch.values()])
    for (left, right), layer in zip(grid, run.layers, strict=True):
        own = [epoch[layer] for epoch in run.epochs]
        _stripes(left, [spread.values for spread in own], values, "conv")
        _stripes(right, [_powers(spread.gradients) for spread in own], powers, "loss")
        right.yaxis.set_major_formatter(lambda power, _: f"$10^{{{power:g}}}$")
        _tell(left, own[-1].values, "")
        _tell(right, own[-1].gradients, "0")
        if named:
            left.set_ylabel(layer, fontsize=9, color=INK.text)
    for axes, name in zip(grid[0], ("activation", "gradient's size"), strict=True):
        axes.set_title(name, fontsize=8.5, color=INK.soft)
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=8.5, color=INK.soft)


def _powers(gradients: Array) -> Array:
    powers: Array = np.log10(np.abs(gradients[gradients != 0]), dtype=np.float64)
    return powers[np.isfinite(powers)]


def _range(parts: Sequence[Array]) -> tuple[float, float]:
    """What holds all but the outermost five in a thousand on either side, and a little more."""
    every = np.concatenate(parts)
    every = every[np.isfinite(every)]
    if not every.size:
        return 0.0, 1.0
    low, high = np.quantile(every, (0.005, 0.995)).tolist()
    rim = 0.04 * (high - low) or 0.5
    return low - rim, high + rim


def _stripes(axes: Axes, epochs: Sequence[Array], limits: tuple[float, float], family: str) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    counts = np.stack(
        [np.histogram(np.clip(e[np.isfinite(e)], low, high), _BINS, limits)[0] / max(1, len(e)) for e in epochs], axis=1
    )
    edge = len(epochs) + 0.5
    axes.imshow(
        np.sqrt(counts / (np.quantile(counts[counts > 0], 0.95) if counts.any() else 1)),  # the root: what is rare is seen too
        cmap=sequential(family),
        aspect="auto",
        origin="lower",
        extent=(0.5, edge, low, high),
        interpolation="nearest",
        vmin=0,
        vmax=1,
    )
    middles = [np.median(e) if len(e) and np.isfinite(e).all() else np.nan for e in epochs]
    axes.step(np.arange(len(epochs) + 2), [middles[0], *middles, middles[-1]], where="mid", color=INK.text, linewidth=0.9)
    axes.set_xlim(0.5, edge)
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=family == "loss"))
    axes.tick_params(labelsize=7.5, length=2, colors=INK.soft)
    for spine in axes.spines.values():
        spine.set_color(INK.frame)


def _tell(axes: Axes, numbers: Array, zero: str) -> None:
    """Write into a picture what it can't show: the share that is 0 (where that is asked for) or not a finite number."""
    from matplotlib.patheffects import withStroke

    shares = {
        zero: np.mean(numbers == 0) if zero and len(numbers) else 0.0,
        "not finite": np.mean(~np.isfinite(numbers)) if len(numbers) else 0.0,
    }
    told = [f"{name}: {share:.0%}" for name, share in shares.items() if share >= 0.005]
    if told:
        rim = withStroke(linewidth=2.5, foreground=INK.paper)  # read on any ground, however dark
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "fontsize": 7.5, "path_effects": [rim]}
        axes.text(0.97, 0.06, ", ".join(told), color=INK.text, **place)
