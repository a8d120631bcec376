"""DataLoader: batches of a data set, drawn in the order of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.core import TensorBase, make_tensor
from minigrad.ops.join import stack
from minigrad.utils.data.dataset import Dataset, Seed
from minigrad.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "default_collate"]


class DataLoader:
    """Iterates over a data set in batches; each iteration is one pass, shuffled anew if asked.

    A data set of tensors is fetched a whole batch at a time; any other sample by sample, put together by `collate_fn`
    (`default_collate` unless given). `generator` (a numpy generator or a seed) draws the order; without it minigrad's own
    does, which `manual_seed` sets.
    """

    def __init__(
        self,
        dataset: Dataset | Sequence[Any],
        batch_size: int | None = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Seed = None,
    ) -> None:
        """`batch_size=None` gives single samples as they are; `batch_sampler` says by itself which samples make a batch.

        Raises ValueError for arguments that contradict each other, and for `num_workers` other than 0: batches are made in the
        calling thread.
        """
        if num_workers != 0:
            raise ValueError(f"DataLoader: num_workers={num_workers}; batches are made in the calling thread, expected 0")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle=True both say the order; give one of them")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("DataLoader: batch_sampler leaves nothing to batch_size, shuffle, sampler and drop_last")
        if batch_size is None and drop_last:
            raise ValueError("DataLoader: drop_last=True without batches (batch_size=None)")
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.sampler: Iterable[int] = (
            sampler
            if sampler is not None
            else RandomSampler(dataset, generator=generator)
            if shuffle
            else SequentialSampler(dataset)
        )
        self.batch_sampler: Iterable[Sequence[int]] | None = None
        if batch_sampler is not None:
            self.batch_sampler, self.batch_size = batch_sampler, None
        elif batch_size is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
            self.batch_size = self.batch_sampler.batch_size
        else:
            self.batch_size = None

    def __iter__(self) -> Iterator[Any]:
        """One pass over the data set."""
        if self.batch_sampler is None:
            collate = self.collate_fn or (lambda sample: sample)
            return (collate(self.dataset[i]) for i in self.sampler)
        return (self._batch(indices) for indices in self.batch_sampler)

    def __len__(self) -> int:
        """The number of batches in a pass."""
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]  # as far as it has one

    def _batch(self, indices: Sequence[int]) -> Any:
        if self.collate_fn is None and isinstance(self.dataset, Dataset) and self.dataset.gathers:
            return self.dataset.gather(np.asarray(indices, dtype=np.intp))
        return (self.collate_fn or default_collate)([self.dataset[i] for i in indices])


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch of samples as one: tensors, arrays and numbers get a new first axis, containers are gone into.

    Samples that are tuples or lists give a list, dictionaries a dictionary, strings stay a list; Python floats become
    float64 as in PyTorch. Raises TypeError for anything else, ValueError if samples differ in length.
    """
    first = batch[0]
    if isinstance(first, TensorBase):
        return stack(list(batch))
    if isinstance(first, (np.ndarray, np.generic)):
        return make_tensor(np.stack([np.asarray(sample) for sample in batch]))
    if isinstance(first, (bool, int, float)):
        return make_tensor(np.asarray(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(sample) for sample in batch}) > 1:
            raise ValueError(f"default_collate: samples of {sorted({len(sample) for sample in batch})} parts in one batch")
        return [default_collate(parts) for parts in zip(*batch, strict=True)]
    raise TypeError(f"default_collate: a sample of type {type(first).__name__}; give a collate_fn that knows how to join them")
