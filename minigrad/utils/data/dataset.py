"""Data sets: anything with a length whose samples are had by number."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.core import make_tensor
from minigrad.errors import ShapeError
from minigrad.random import generator as default_generator
from minigrad.tensor import Tensor

__all__ = ["ConcatDataset", "Dataset", "Seed", "Subset", "TensorDataset", "as_generator", "random_split"]

#: What can be given where random numbers are drawn: a generator, a number to seed one with, or None for minigrad's own.
Seed = np.random.Generator | int | None


class Dataset:
    """What a data set must have: ``dataset[i]``, a sample, and ``len(dataset)``.

    One that can fetch many samples at once by an index array, already put together as a batch, says so with `gather`;
    the loader then does not call it once a sample.
    """

    def __getitem__(self, index: int) -> Any:
        """The sample with this number."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a sample is: define __getitem__")

    def __len__(self) -> int:
        """The number of samples."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many samples it has: define __len__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        """The samples of both, one after the other."""
        return ConcatDataset([self, other])

    @property
    def gathers(self) -> bool:
        """Whether `gather` can be called."""
        return False

    def gather(self, indices: npt.NDArray[np.intp]) -> list[Tensor]:
        """A batch of these samples: for each part of a sample one tensor with a new first axis."""
        raise NotImplementedError(f"{type(self).__name__} gives samples one by one")


class TensorDataset(Dataset):
    """Tensors that share their first axis; sample i is the tuple of their i-th rows."""

    def __init__(self, *tensors: Tensor) -> None:
        """Keep the tensors. Raises ShapeError if their first axes differ in length, or if there is no tensor."""
        shapes = [tensor.shape for tensor in tensors]
        if not tensors or any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            raise ShapeError(f"TensorDataset: tensors of shapes {shapes}; expected one or more with first axes of one length")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """The rows with this number (or slice, or array of numbers) of each tensor.

        Raises IndexError for a number out of range, which also ends a loop over the data set.
        """
        if isinstance(index, (int, np.integer)) and not -len(self) <= index < len(self):
            raise IndexError(f"TensorDataset: sample {index} of {len(self)}")
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        """The number of rows."""
        return self.tensors[0].shape[0]

    @property
    def gathers(self) -> bool:
        """Unless gradients flow through the data: those need the graph, sample by sample."""
        return not any(tensor.requires_grad for tensor in self.tensors)

    def gather(self, indices: npt.NDArray[np.intp]) -> list[Tensor]:
        """The rows with these numbers, copied once."""
        return [make_tensor(tensor.array[indices]) for tensor in self.tensors]


class Subset(Dataset):
    """Some samples of a data set, in the order of `indices`."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> None:
        """Keep the data set and the numbers. Raises IndexError if it has no such samples."""
        self.dataset = dataset
        self.indices = indices
        numbers = np.asarray(indices, dtype=np.intp).reshape(-1)
        if numbers.size and not -len(dataset) <= numbers.min() <= numbers.max() < len(dataset):
            raise IndexError(f"Subset: indices from {numbers.min()} to {numbers.max()} of a data set of {len(dataset)} samples")
        self._numbers = numbers

    def __getitem__(self, index: int) -> Any:
        """The sample whose number stands at this place."""
        return self.dataset[int(self._numbers[index])]

    def __len__(self) -> int:
        """The number of samples kept."""
        return self._numbers.size

    @property
    def gathers(self) -> bool:
        """As the data set."""
        return self.dataset.gathers

    def gather(self, indices: npt.NDArray[np.intp]) -> list[Tensor]:
        """A batch from the data set."""
        return self.dataset.gather(self._numbers[indices])


class ConcatDataset(Dataset):
    """Data sets one after the other."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        """Keep the data sets. Raises ValueError if there is none."""
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: no data sets given; expected at least one")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Any:
        """The sample with this number, counted through all data sets."""
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"ConcatDataset: sample {index} of {len(self)}")
        which = bisect.bisect_right(self.cumulative_sizes, at)
        return self.datasets[which][at - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        """The number of samples of all."""
        return self.cumulative_sizes[-1]


def random_split(dataset: Dataset, lengths: Sequence[float], generator: Seed = None) -> list[Subset]:
    """Parts of a data set, drawn at random without overlap.

    `lengths` are sizes that add up to the data set's, or fractions that add up to 1: sizes are then rounded down and what is
    left over goes to the first parts, one sample each. `generator`: see `Seed`. Raises ValueError for other lengths.
    """
    total = len(dataset)
    sizes = _sizes(lengths, total)
    order = as_generator(generator).permutation(total)
    edges = [0, *itertools.accumulate(sizes)]
    return [Subset(dataset, order[start:stop]) for start, stop in itertools.pairwise(edges)]


def _sizes(lengths: Sequence[float], total: int) -> list[int]:
    if any(not length >= 0 for length in lengths):
        raise ValueError(f"random_split: lengths {list(lengths)}; expected none below 0")
    if math.isclose(sum(lengths), 1) and any(isinstance(length, float) for length in lengths):
        sizes = [math.floor(total * fraction) for fraction in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        return sizes
    if sum(lengths) != total or any(length != int(length) for length in lengths):
        raise ValueError(
            f"random_split: lengths {list(lengths)} for {total} samples; "
            f"expected sizes that add up to {total} or fractions that add up to 1"
        )
    return [int(length) for length in lengths]


def as_generator(seed: Seed) -> np.random.Generator:
    """The generator that a `Seed` stands for."""
    if seed is None:
        return default_generator()
    return np.random.default_rng(seed)
