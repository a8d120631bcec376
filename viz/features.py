"""What a network looks for: the image pulled back from a neuron, the image covered up, the images that excite a neuron most.

A neuron is named by the layer, its channel there (`target`; a class, for the model's answer) and, in a map, its place (`at`).
All of these run the model in evaluation mode and leave it, its gradients and the random numbers as they were.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.core import Array, grad, make_tensor
from minigrad.errors import ShapeError
from minigrad.ops.softmax import softmax
from minigrad.viz.layers import BATCH, LayerError, as_images, layer_of, run_watched
from minigrad.viz.rules import relu_rule

__all__ = ["Top", "backprop", "deconvnet", "guided_backprop", "occlusion", "probabilities", "saliency", "top_images"]

Target = int | Sequence[int] | None
Place = tuple[int, int] | None


def backprop(
    model: Any,
    images: Any,
    target: Target = None,
    *,
    layer: str | None = None,
    at: Place = None,
    rule: str = "gradient",
) -> Array:
    """Pull one neuron of each image back to the image: an array of the images' shape (N, C, H, W).

    The neuron is channel `target` (one for all images, or one each; None: the most excited) of `layer` (None: the model's
    answer, where a channel is a class), and in maps the place `at` (row, column; None: where the channel is highest).
    `rule` says what a ReLU does to what comes back: 'gradient', 'deconvnet' or 'guided'; see `viz.rules`.

    Raises LayerError, ShapeError for a neuron that there is not, ValueError for a rule that there is not.
    """
    x = as_images(model, images)
    watched = {} if layer is None else {layer: layer_of(model, layer)}
    answer, seen = run_watched(model, x, watched, grad=True)
    output = answer if layer is None else seen[layer]
    seed = np.zeros(output.shape, output.dtype)
    seed.reshape(len(seed), -1)[np.arange(len(seed)), _neurons(output.array, target, at)] = 1
    with relu_rule(output, rule):
        return grad(output, x, make_tensor(seed))[0].array  # type: ignore[union-attr]  # it was used, or grad raises


def saliency(model: Any, images: Any, target: Target = None, *, layer: str | None = None, at: Place = None) -> Array:
    """How much each pixel matters to a neuron (by default the answer's best class): the gradient's size, (N, H, W).

    Of a pixel's channels the largest counts. Simonyan, Vedaldi and Zisserman 2013, section 3.1. Arguments and errors as of
    `backprop`.
    """
    size: Array = np.abs(backprop(model, images, target, layer=layer, at=at)).max(axis=1)
    return size


def guided_backprop(model: Any, images: Any, target: Target = None, *, layer: str | None = None, at: Place = None) -> Array:
    """The gradient, with what is negative stopped at each ReLU on the way back, (N, C, H, W). Springenberg et al. 2015.

    Arguments and errors as of `backprop`.
    """
    return backprop(model, images, target, layer=layer, at=at, rule="guided")


def deconvnet(model: Any, images: Any, target: Target = None, *, layer: str | None = None, at: Place = None) -> Array:
    """A neuron projected back to the pixels, (N, C, H, W): unpooled by the stored places, rectified, filtered transposed.

    Zeiler and Fergus 2014, section 2.1. It starts from 1, where the paper starts from the neuron's own activation; the
    pictures are the same up to that factor, and without ReLUs this is the gradient. Where pooling windows overlap,
    what comes back to one place is added. Arguments and errors as of `backprop`.
    """
    return backprop(model, images, target, layer=layer, at=at, rule="deconvnet")


def _neurons(output: Array, target: Target, at: Place) -> Array:
    """Where the neuron lies in each image's flattened output (N,)."""
    if output.ndim not in (2, 4) or not output.size:
        raise ShapeError(f"neuron: an output of shape {list(output.shape)}; (N, classes) or (N, C, H, W) is needed")
    n, channels = output.shape[:2]
    planes = output.reshape(n, channels, -1)
    if target is None:
        target = planes.max(axis=2).argmax(axis=1).tolist()
    chosen = np.broadcast_to(np.asarray(target), (n,)) if np.ndim(target) == 0 else np.asarray(target)
    if chosen.shape != (n,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= channels:
        raise ShapeError(f"neuron: target {target!r} for {n} images; expected a whole number from 0 to {channels - 1}, or {n}")
    if at is None:
        places = planes[np.arange(n), chosen].argmax(axis=1)
    else:
        size = output.shape[2:]
        if len(at) != len(size) or not all(0 <= i < length for i, length in zip(at, size, strict=True)):
            raise ShapeError(f"neuron: place {at!r} in an output of shape {list(output.shape)}; (row, column) within a map")
        places = np.full(n, np.ravel_multi_index(at, size))
    flat: Array = chosen * planes.shape[2] + places
    return flat


# ------------------------------------------------------------------------------------------------ covering up


def occlusion(
    model: Any,
    images: Any,
    target: Target = None,
    size: int | tuple[int, int] | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> Array:
    """The probability of a class while a square covers a part of the image, (N, rows, columns): one number a square.

    Square (i, j) covers `size` pixels from row ``i * stride`` and column ``j * stride`` on with `fill`: 0 is grey, where
    images are normalised. `target` is a class for all images or one each (None: the model's answer for the whole image);
    `size` is a quarter of the shorter side unless given, `stride` a quarter of the square. Zeiler and Fergus 2014, section 4.2.
    Raises ShapeError for a square that does not fit, or answers that are not (N, classes).
    """
    x = as_images(model, images).array
    if x.ndim != 4:
        raise ShapeError(f"occlusion: images of shape {list(x.shape)}; expected (N, C, H, W)")
    quarter = max(1, min(x.shape[2:]) // 4)
    height, width = (size, size) if isinstance(size, int) else size or (quarter, quarter)
    step = stride if stride is not None else max(1, min(height, width) // 4)
    if not (1 <= height <= x.shape[2] and 1 <= width <= x.shape[3] and step >= 1):
        raise ShapeError(f"occlusion: a square of {height}x{width}, stride {step}, on images of {x.shape[2]}x{x.shape[3]}")
    whole = probabilities(model, x)
    classes = _neurons(whole, target, None)
    tops, lefts = range(0, x.shape[2] - height + 1, step), range(0, x.shape[3] - width + 1, step)
    corners = list(itertools.product(tops, lefts))
    result = np.empty((len(x), len(corners)), x.dtype)
    for n, (image, label) in enumerate(zip(x, classes, strict=True)):
        for first in range(0, len(corners), BATCH):
            part = corners[first : first + BATCH]
            covered = np.repeat(image[None], len(part), axis=0)
            for copy, (top, left) in zip(covered, part, strict=True):
                copy[:, top : top + height, left : left + width] = fill
            result[n, first : first + len(part)] = probabilities(model, covered)[:, label]
    return result.reshape(len(x), len(tops), len(lefts))


def probabilities(model: Any, images: Any) -> Array:
    """The softmax of the model's answer to a batch of images, (N, classes).

    Raises ShapeError where it answers with something else than (N, classes).
    """
    answer = run_watched(model, as_images(model, images), {}, grad=False)[0]
    if answer.ndim != 2:
        raise ShapeError(f"probabilities: the model answers with {list(answer.shape)}; expected (N, classes)")
    return softmax(answer, 1).array


# ------------------------------------------------------------------------------------------------ what excites


class Top(NamedTuple):
    """The images that excite a channel most, the strongest first: each (count,), or (channels, count) for all channels."""

    images: Array  #: Where they stand among the images that were given.
    values: Array  #: The channel's highest activation in each.
    places: Array  #: (..., count, 2): row and column of it; (..., count, 0) where the layer has no maps.


def top_images(model: Any, images: Any, layer: str, channel: int | None = None, count: int = 9) -> Top:
    """The images in which a channel of a layer is highest, each image counted once; of equals the first comes first.

    ``viz.deconvnet(model, images[top.images], channel, layer=layer)`` reconstructs what excited it there.
    Raises LayerError, and ShapeError for a channel that there is not or a layer that has none.
    """
    if len(images) == 0 or count < 1:
        raise ShapeError(f"top_images: the best {count} of {len(images)} images; there must be one at least")
    module = {layer: layer_of(model, layer)}
    values, flat, size = [], [], ()
    for first in range(0, len(images), BATCH):
        part = as_images(model, images[first : first + BATCH])
        seen = run_watched(model, part, module, grad=False)[1][layer].array
        if seen.ndim < 2:
            raise LayerError(f"{layer!r} gives {list(seen.shape)}; a layer with channels (N, C, ...) is needed")
        size = seen.shape[2:]
        planes = seen.reshape(*seen.shape[:2], -1)
        values.append(planes.max(axis=2))
        flat.append(planes.argmax(axis=2))
    highest, place = np.concatenate(values), np.concatenate(flat)
    channels = highest.shape[1]
    if channel is not None and not 0 <= channel < channels:
        raise ShapeError(f"top_images: channel {channel} of {layer!r}, which has {channels}: from 0 to {channels - 1}")
    order = np.argsort(-highest, axis=0, kind="stable")[:count]
    where = (
        np.stack(np.unravel_index(np.take_along_axis(place, order, 0), size), -1) if size else np.empty((*order.shape, 0), int)
    )
    best = Top(order.T, np.take_along_axis(highest, order, 0).T, np.swapaxes(where, 0, 1))
    return best if channel is None else Top(*(part[channel] for part in best))
