"""Training images distorted at random, a little differently each time they are seen.

Small affine distortions of handwritten digits leave the digit what it is and make a small training set count for many
times its size (P. Simard, D. Steinkraus, J. Platt: Best practices for convolutional neural networks applied to visual
document analysis, 2003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.errors import ShapeError
from minigrad.kernels import image as kernels

__all__ = ["RandomAffine"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RandomAffine:
    """Turns, stretches, shears and shifts each image by amounts drawn evenly from ranges round nothing."""

    #: The largest turn either way, in degrees.
    degrees: float = 15.0
    #: The largest change of size, as a fraction; height and width change separately.
    scale: float = 0.12
    #: The largest sideways slant: columns a row further down are shifted by, in columns.
    shear: float = 0.15
    #: The largest shift along each axis, in pixels.
    translate: float = 2.0

    def __call__(self, images: Array, rng: np.random.Generator, fill: float = 0.0) -> Array:
        """New images of the same shape (N, C, H, W) and type, drawn with `rng`; `fill` comes in from beside the image.

        Raises ShapeError for images of another number of axes.
        """
        if images.ndim != 4:
            raise ShapeError(f"RandomAffine: images of shape {list(images.shape)}; expected (N, C, H, W)")
        out = np.empty_like(images, order="C")
        maps = self.maps(len(images), (images.shape[2], images.shape[3]), rng).astype(images.dtype)
        kernels.affine(out, np.ascontiguousarray(images), maps, images.dtype.type(fill))
        return out

    def maps(self, count: int, size: tuple[int, int], rng: np.random.Generator) -> Array:
        """The maps (count, 2, 3) from places (y, x, 1) in the distorted images of this size back to the originals."""
        angle, slant, *stretch_and_shift = rng.uniform(-1, 1, (6, count))
        angle *= math.radians(self.degrees)
        slant *= self.shear
        stretch = 1 / (1 + self.scale * np.stack(stretch_and_shift[:2]))  # backwards: a larger digit is read in smaller steps
        shift = self.translate * np.stack(stretch_and_shift[2:])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        lean = np.array([[np.ones(count), np.zeros(count)], [slant, np.ones(count)]])
        linear = np.einsum("ijn,jkn,kn->nik", turn, lean, stretch)
        centre = (np.array(size) - 1) / 2
        offset = centre - np.einsum("nik,kn->ni", linear, centre[:, None] + shift)
        return np.concatenate([linear, offset[:, :, None]], axis=2)
