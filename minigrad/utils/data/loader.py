"""DataLoader: batches of a data set, drawn in the order of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.core import TensorBase, make_tensor
from minigrad.errors import ShapeError
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
        samples = [self.dataset[i] for i in indices]
        return self.collate_fn(samples) if self.collate_fn is not None else _joined(samples, indices, "")


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch of samples as one: tensors, arrays and numbers get a new first axis, containers are gone into.

    Samples that are tuples or lists give a list, dictionaries a dictionary, strings stay a list; Python floats become
    float64 as in PyTorch. Raises TypeError for anything else, ValueError if samples differ in length, ShapeError in shape.
    """
    return _joined(batch, range(len(batch)), "")


def _joined(batch: Sequence[Any], numbers: Sequence[int], place: str) -> Any:
    """What stands at `place` in each of the samples with these numbers, as one."""
    first = batch[0]
    if isinstance(first, TensorBase):
        _check_alike(batch, numbers, place, TensorBase)
        return stack(list(batch))
    if isinstance(first, (np.ndarray, np.generic)):
        _check_alike(batch, numbers, place, (np.ndarray, np.generic, int, float))
        return make_tensor(np.stack([np.asarray(sample) for sample in batch]))
    if isinstance(first, (bool, int, float)):
        _check_alike(batch, numbers, place, (np.ndarray, np.generic, int, float))
        return make_tensor(np.asarray(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        _check_alike(batch, numbers, place, Mapping)
        return {key: _joined([sample[key] for sample in batch], numbers, f"{place}[{key!r}]") for key in first}
    if isinstance(first, (tuple, list)):
        _check_alike(batch, numbers, place, (tuple, list))
        return [_joined(parts, numbers, f"{place}[{i}]") for i, parts in enumerate(zip(*batch, strict=True))]
    raise TypeError(f"default_collate: a sample of type {type(first).__name__}; give a collate_fn that knows how to join them")


def _check_alike(batch: Sequence[Any], numbers: Sequence[int], place: str, kinds: Any) -> None:
    """Name the first sample that can't be joined with the first of all."""
    first, wanted = batch[0], _form(batch[0], batch[0])
    for number, sample in zip(numbers, batch, strict=True):
        fits = isinstance(sample, kinds)
        if fits and _form(sample, first) == wanted:
            continue
        one, other = (_described(x, first) if fits else f"is a {type(x).__name__}" for x in (first, sample))
        told = f"sample {numbers[0]}{place} {one}, sample {number}{place} {other}"
        raise (ShapeError if fits else TypeError)(
            f"default_collate: {told}; the samples of one batch must be alike, or a collate_fn join them"
        )


def _form(sample: Any, first: Any) -> Any:
    """What samples must have in common; a dictionary may have more keys than the first."""
    if isinstance(first, Mapping):
        return [key for key in first if key in sample]
    return len(sample) if isinstance(first, (tuple, list)) else getattr(sample, "shape", ())


def _described(sample: Any, first: Any) -> str:
    form = _form(sample, first)
    if isinstance(first, Mapping):
        return f"has the keys {form}"
    return f"has {form} parts" if isinstance(first, (tuple, list)) else f"has shape {list(form)}"
