"""Data sets, samplers and the loader that makes batches of them, by PyTorch's names."""

from minigrad.utils.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from minigrad.utils.data.loader import DataLoader, default_collate
from minigrad.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]
