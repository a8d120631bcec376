"""`minigrad draw MODEL --what features`: what a trained model looks for, as a folder of pictures.

filters.png      the windows of its convolutions
activations.png  an image, and what each layer makes of it
reasons.png      images, and why it answers as it does: gradients, guided backprop, deconvnet, occlusion
top-LAYER.png    the images that excite each channel most, and what in them does it
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import viz
from minigrad.cli.modelspec import ModelError, input_shape, model_of
from minigrad.errors import FileFormatError, StateDictError
from minigrad.io.safetensors import load_file, load_metadata
from minigrad.nn import Module
from minigrad.viz.figures import FORMATS, save_figure
from minigrad.viz.gallery import draw_activations, draw_filters, draw_reasons, draw_top, over_image
from minigrad.zoo.data import NAMES, ImageData, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["add_options", "draw_features"]

Array = np.ndarray[Any, Any]

#: Channels of a layer whose images are shown, and images for each.
_CHANNELS, _IMAGES = 16, 9
_OCCLUSION = "occlusion\n(probability lost)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only these pictures take."""
    group = parser.add_argument_group("with --what features; --out is then a folder (or NAME.svg: the folder NAME, of SVG)")
    group.add_argument(
        "--weights", metavar="FILE", type=Path, help="a model.safetensors, or the folder of the run that left it"
    )
    group.add_argument("--data", metavar="SET", help=f"{', '.join(NAMES)}, or a folder of IDX files (default: mnist5k)")
    group.add_argument("--layer", metavar="NAME", help="only this layer: its filters, its maps, what excites its channels")


def draw_features(args: argparse.Namespace) -> Path:
    """Draw the pictures; give the folder that they are in.

    Raises ModelError, StateDictError, FileFormatError or LayerError for weights, data or a layer that don't fit the model.
    """
    ending = args.out.suffix.lower() if args.out else ""
    if ending and ending not in FORMATS:
        raise ModelError(f"--out {args.out}: features are drawn as {', '.join(FORMATS)}")
    if args.weights is None:
        raise ModelError("--what features needs a trained model: --weights runs/.../model.safetensors")
    model, shape = model_of(args), input_shape(args)
    about = _load_weights(model, args.weights, args.model)
    source = args.data or "mnist5k"
    data = load(source, 0)
    images = _as_inputs(data, shape[1:], about, args.model, source)
    folder: Path = args.out.with_suffix("") if args.out else Path(f"{Path(args.model.partition(':')[0]).stem}-features")
    drawn = _figures(model, images, data.test_labels) if args.layer is None else _figures_of(model, images, args.layer)
    for name, figure in drawn:
        folder.mkdir(parents=True, exist_ok=True)
        save_figure(figure, folder / f"{name}{ending or '.png'}")
    return folder


def _load_weights(model: Module, path: Path, name: str) -> dict[str, str]:
    """Take the weights over; give what else the file says."""
    path = path / "model.safetensors" if path.is_dir() else path
    about = load_metadata(path)
    if about.get("model", name) != name:
        raise ModelError(f"{path} holds the weights of {about['model']}, not of {name}")
    try:
        model.load_state_dict(load_file(path))
    except StateDictError as error:
        raise StateDictError(f"{path}: {error}") from error
    return about


def _as_inputs(data: ImageData, shape: tuple[int, ...], about: dict[str, str], model: str, source: str) -> Array:
    """The images held out, framed with ground to the model's size and normalised as for its training."""
    channels, *size = data.test_images.shape[1:]
    if len(shape) != 3 or shape[0] != channels or any(wanted < n for wanted, n in zip(shape[1:], size, strict=True)):
        wanted, had = ("x".join(map(str, lengths)) for lengths in (shape, (channels, *size)))
        raise ModelError(f"{model} takes images of {wanted}; {source} has images of {had}, which can only be framed")
    before = [(n - had) // 2 for n, had in zip(shape[1:], size, strict=True)]
    frame = [(b, n - had - b) for b, n, had in zip(before, shape[1:], size, strict=True)]
    part = data.train_images / np.float32(255)
    try:
        mean, std = (
            float(about[key]) if key in about else default() for key, default in (("mean", part.mean), ("std", part.std))
        )
    except ValueError as error:
        raise FileFormatError(f"the weights' file: mean or std of the images is not a number ({error})") from error
    pixels = np.pad(data.test_images, ((0, 0), (0, 0), *frame)) / np.float32(255)
    return ((pixels - mean) / (std or 1)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ the pictures


def _figures(model: Module, images: Array, labels: Array) -> Iterator[tuple[str, Figure]]:
    filters = viz.filters(model)
    if filters:
        yield "filters", draw_filters(filters)
    layers = viz.feature_layers(model, images)
    every = viz.activations(model, images[:1])
    if layers:
        yield "activations", draw_activations(images[0], {name: every[name][0] for name in layers})
    for layer in _not_pooled(layers, every):
        yield f"top-{layer}", _top(model, images, layer)
    yield "reasons", _reasons(model, images, labels)


def _figures_of(model: Module, images: Array, layer: str) -> Iterator[tuple[str, Figure]]:
    """What there is to be seen of one layer."""
    given = viz.activations(model, images[:1], layer)[0]
    filters = viz.filters(model)
    if layer in filters:
        yield "filters", draw_filters({layer: filters[layer]})
    if given.ndim == 3:
        yield "activations", draw_activations(images[0], {layer: given})
    yield f"top-{layer}", _top(model, images, layer)


def _not_pooled(layers: list[str], maps: dict[str, Array]) -> Iterator[str]:
    """The layers that make something new of the one before, not the same maps smaller."""
    channels = 0
    for layer in layers:
        if maps[layer].shape[1] != channels:
            yield layer
        channels = maps[layer].shape[1]


def _reasons(model: Module, images: Array, labels: Array) -> Figure:
    """The first image of each class."""
    classes, first = np.unique(labels, return_index=True)
    chosen = images[first]
    size = max(1, min(chosen.shape[2:]) // 4)
    stride = max(1, size // 4)
    chances = viz.probabilities(model, chosen)
    answers, sure = chances.argmax(axis=1), chances.max(axis=1)
    drop = sure[:, None, None] - viz.occlusion(model, chosen, answers.tolist(), size, stride)
    gradient, deconvnet = viz.backprop(model, chosen), viz.deconvnet(model, chosen)
    columns = {"gradient": gradient, "saliency\n(gradient's size)": viz.saliency(model, chosen)}
    title = "no ReLU: guided backprop and deconvnet are the gradient"
    if not np.array_equal(gradient, deconvnet):
        columns |= {"guided backprop": viz.guided_backprop(model, chosen), "deconvnet": deconvnet}
        title = ""
    columns[_OCCLUSION] = over_image(drop, chosen.shape[2:], size, stride)
    says = [f"{label}, taken for {answer}\n({p:.0%})" for label, answer, p in zip(classes, answers, sure, strict=True)]
    return draw_reasons(chosen, columns, says, least={_OCCLUSION: 0.05}, title=title)


def _top(model: Module, images: Array, layer: str) -> Figure:
    """The channels that are excited most, in their order."""
    top = viz.top_images(model, images, layer, count=_IMAGES)
    channels = np.sort(np.argsort(-top.values[:, 0], kind="stable")[:_CHANNELS])
    count = top.images.shape[1]
    own = images[top.images[channels]]
    flat = own.reshape(-1, *images.shape[1:])
    back = viz.deconvnet(model, flat, np.repeat(channels, count).tolist(), layer=layer).reshape(own.shape)
    title = f"{layer}: the images that excite each channel most, cut to what it sees, and what in them does it"
    return draw_top(own, back, top, channels.tolist(), title=title)
