"""Samplers: in which order, and in which batches, the samples of a data set are visited."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from minigrad.utils.data.dataset import Seed, as_generator

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]


class Sampler:
    """What a sampler must have: iteration over sample numbers, begun anew each time, and how many there will be."""

    def __iter__(self) -> Iterator[Any]:
        """The numbers, in order of visit."""
        raise NotImplementedError(f"{type(self).__name__} gives no numbers: define __iter__")

    def __len__(self) -> int:
        """How many numbers one iteration gives."""
        raise NotImplementedError(f"{type(self).__name__} has no length: define __len__")


class SequentialSampler(Sampler):
    """The samples in their own order."""

    def __init__(self, data_source: Sized) -> None:
        """Remember the data set for its length."""
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        """0, 1, 2, ..."""
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.data_source)


class RandomSampler(Sampler):
    """The samples in random order, another one each time; with `replacement` each drawn from all."""

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Seed = None
    ) -> None:
        """`num_samples` is the data set's length unless given. Raises ValueError if it is below 1."""
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"RandomSampler: num_samples={num_samples}; expected 1 or more")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = as_generator(generator)

    @property
    def num_samples(self) -> int:
        """How many are drawn."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        """Numbers drawn anew; without replacement each comes once before any comes twice."""
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            return iter(self.generator.integers(n, size=wanted).tolist())
        rounds = [self.generator.permutation(n) for _ in range(-(-wanted // n) if n else 0)]
        return iter(np.concatenate([np.empty(0, np.int64), *rounds])[:wanted].tolist())

    def __len__(self) -> int:
        """How many are drawn."""
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """These numbers, in random order."""

    def __init__(self, indices: Sequence[int], generator: Seed = None) -> None:
        """Remember the numbers."""
        self.indices = indices
        self.generator = as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        """The numbers, shuffled anew."""
        return iter(self.generator.permutation(np.asarray(self.indices, dtype=np.int64)).tolist())

    def __len__(self) -> int:
        """How many there are."""
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Numbers drawn in proportion to their weights (which need not add up to 1)."""

    def __init__(self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Seed = None) -> None:
        """Remember the weights. Raises ValueError if one is negative or not finite, or if they can't give `num_samples`."""
        self.weights = np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any() or not self.weights.any():
            raise ValueError("WeightedRandomSampler: expected a row of finite weights from 0, and one above it")
        if not replacement and num_samples > np.count_nonzero(self.weights):
            raise ValueError(
                f"WeightedRandomSampler: {num_samples} samples without replacement from "
                f"{np.count_nonzero(self.weights)} with a weight above 0"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        """Numbers drawn anew."""
        share = self.weights / self.weights.sum()
        return iter(self.generator.choice(share.size, self.num_samples, self.replacement, share).tolist())

    def __len__(self) -> int:
        """How many are drawn."""
        return self.num_samples


class BatchSampler(Sampler):
    """Another sampler's numbers, `batch_size` at a time; `drop_last` leaves an incomplete batch out."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        """Remember the sampler. Raises ValueError if `batch_size` is not a whole number from 1."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r}; expected a whole number from 1")
        self.sampler = sampler
        self.batch_size = int(batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of numbers."""
        numbers = iter(self.sampler)
        while batch := list(itertools.islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        """How many batches one iteration gives."""
        n = len(self.sampler)  # type: ignore[arg-type]  # an iterable without a length has none here either
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
