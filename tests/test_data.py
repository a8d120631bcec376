"""Data sets, samplers and the loader."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)


def numbered(n=10):
    return TensorDataset(mg.arange(n).float().reshape(n, 1) * 10, mg.arange(n))


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return index, float(index**2)

    def __len__(self):
        return self.n


def labels(loader):
    return [y.tolist() for _, y in loader]


# ------------------------------------------------------------------------------------------------ data sets


def test_a_tensor_dataset_gives_rows():
    data = numbered()
    x, y = data[3]
    assert (len(data), x.tolist(), y.item()) == (10, [30.0], 3)
    assert [y.item() for _, y in data] == list(range(10))  # a loop ends
    assert data[-1][1].item() == 9
    with pytest.raises(IndexError, match="sample 10 of 10"):
        data[10]
    with pytest.raises(mg.ShapeError, match=r"\(3, 1\), \(2,\)"):
        TensorDataset(mg.zeros(3, 1), mg.zeros(2))
    with pytest.raises(mg.ShapeError):
        TensorDataset(mg.tensor(1.0))
    with pytest.raises(mg.ShapeError):
        TensorDataset()


def test_subset_and_concat_find_their_samples():
    part = Subset(numbered(), [7, 2, -1])
    assert [y.item() for _, y in part] == [7, 2, 9]
    both = part + Squares(3)
    assert isinstance(both, ConcatDataset)
    assert len(both) == 6
    assert both[0][1].item() == 7
    assert both[3] == (0, 0.0)
    assert both[-1] == (2, 4.0)
    assert Subset(part, [1])[0][1].item() == 2
    for wrong in (6, -7):
        with pytest.raises(IndexError, match=f"sample {wrong} of 6"):
            both[wrong]
    with pytest.raises(IndexError, match="indices from 2 to 10 of a data set of 10 samples"):
        Subset(numbered(), [10, 2])
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])


def test_a_dataset_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="__len__"):
        len(Dataset())


@given(st.integers(0, 50), st.integers(1, 6), st.integers(0, 9))
def test_random_split_covers_everything_once(n, parts, seed):
    split = random_split(numbered(n), [1 / parts] * parts, generator=seed)
    taken = [y.item() for part in split for _, y in part]
    assert sorted(taken) == list(range(n))
    sizes = [len(part) for part in split]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_random_split_by_sizes_and_its_seed():
    first, second = random_split(numbered(), [7, 3], generator=5)
    assert (len(first), len(second)) == (7, 3)
    again = random_split(numbered(), [7, 3], generator=np.random.default_rng(5))
    assert [s.indices.tolist() for s in again] == [first.indices.tolist(), second.indices.tolist()]
    other = random_split(numbered(), [7, 3], generator=6)
    assert other[0].indices.tolist() != first.indices.tolist()
    for lengths in ([7, 2], [0.5, 0.4], [11, -1], [float("nan"), 1.0], [9.5, 0.5]):
        with pytest.raises(ValueError, match="random_split"):
            random_split(numbered(), lengths)


# ------------------------------------------------------------------------------------------------ samplers


def test_samplers_in_order_and_in_batches():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    batches = BatchSampler(SequentialSampler(range(5)), 2, drop_last=False)
    assert (list(batches), len(batches)) == ([[0, 1], [2, 3], [4]], 3)
    batches = BatchSampler(range(5), 2, drop_last=True)
    assert (list(batches), len(batches)) == ([[0, 1], [2, 3]], 2)
    for size in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match="batch_size="):
            BatchSampler(range(5), size, False)


def test_random_sampler_visits_everything_before_anything_twice():
    sampler = RandomSampler(range(6), num_samples=15, generator=1)
    first, second = list(sampler), list(sampler)
    assert len(first) == len(sampler) == 15
    assert sorted(first[:6]) == sorted(first[6:12]) == list(range(6))
    assert first != second
    assert first == list(RandomSampler(range(6), num_samples=15, generator=1))
    drawn = Counter(RandomSampler(range(6), replacement=True, num_samples=6000, generator=1))
    assert all(abs(drawn[i] - 1000) < 150 for i in range(6))
    assert list(RandomSampler([])) == []


def test_subset_and_weighted_samplers():
    assert sorted(SubsetRandomSampler([3, 8, 5], generator=0)) == [3, 5, 8]
    drawn = Counter(WeightedRandomSampler([1, 0, 3], 4000, generator=0))
    assert drawn[1] == 0
    assert abs(drawn[2] - 3000) < 150
    assert sorted(WeightedRandomSampler([1, 0, 3], 2, replacement=False, generator=0)) == [0, 2]
    with pytest.raises(ValueError, match="3 samples without replacement from 2"):
        WeightedRandomSampler([1, 0, 3], 3, replacement=False)
    for weights in ([], [0, 0], [1, -1], [1, float("nan")]):
        with pytest.raises(ValueError, match="finite weights"):
            WeightedRandomSampler(weights, 1)


# ------------------------------------------------------------------------------------------------ loader


def test_batches_in_order():
    assert labels(DataLoader(numbered(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    loader = DataLoader(numbered(5), batch_size=2, drop_last=True)
    assert labels(loader) == labels(loader) == [[0, 1], [2, 3]]
    assert len(loader) == 2
    x, y = next(iter(DataLoader(numbered(5), batch_size=3)))
    assert (x.shape, x.dtype, y.dtype) == ((3, 1), np.float32, np.int64)


def test_the_fast_path_gives_what_sample_by_sample_gives():
    data = numbered(9)
    slow = DataLoader(data, 4, shuffle=True, generator=3, collate_fn=default_collate)
    fast = DataLoader(data, 4, shuffle=True, generator=3)
    nested = DataLoader(Subset(Subset(data, range(9)), range(9)), 4, shuffle=True, generator=3)
    for a, b, c in zip(slow, fast, nested, strict=True):
        for i in range(2):
            np.testing.assert_array_equal(a[i].array, b[i].array)
            np.testing.assert_array_equal(a[i].array, c[i].array)
            assert a[i].dtype == b[i].dtype


def test_batches_have_memory_of_their_own():
    data = numbered(4)
    x, _ = next(iter(DataLoader(data, 4)))
    x.array[...] = -1
    assert data.tensors[0].array.min() == 0


def test_gradients_flow_through_data_that_wants_them():
    x = mg.arange(4).float().requires_grad_()
    for (part,) in DataLoader(TensorDataset(x), 2):
        part.square().sum().backward()
    np.testing.assert_array_equal(x.grad.array, 2 * x.detach().array)


def test_shuffling_is_seeded_and_new_each_pass():
    def passes(**how):
        loader = DataLoader(numbered(20), 20, shuffle=True, **how)
        return labels(loader) + labels(loader)

    first, second = passes(generator=4)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert [first, second] == passes(generator=4)
    mg.manual_seed(11)
    mine = passes()
    mg.manual_seed(11)
    assert mine == passes()


def test_samplers_in_a_loader():
    assert labels(DataLoader(numbered(), 2, sampler=[5, 1, 1])) == [[5, 1], [1]]
    assert labels(DataLoader(numbered(), batch_sampler=[[2], [4, 6]])) == [[2], [4, 6]]
    singles = DataLoader(numbered(3), batch_size=None)
    assert [y.shape for _, y in singles] == [(), (), ()]
    assert len(singles) == 3


def test_any_sequence_of_samples_is_collated():
    samples = [{"x": np.float32([i, 1]), "name": f"n{i}", "n": i, "pair": (i, [2.0 * i])} for i in range(3)]
    (batch,) = DataLoader(samples, batch_size=3)
    assert batch["x"].tolist() == [[0, 1], [1, 1], [2, 1]]
    assert batch["x"].dtype == np.float32
    assert batch["name"] == ["n0", "n1", "n2"]
    assert batch["n"].dtype == np.int64
    assert batch["pair"][1][0].dtype == np.float64
    x, y = next(iter(DataLoader(Squares(5), batch_size=4)))
    assert (x.tolist(), y.tolist()) == ([0, 1, 2, 3], [0, 1, 4, 9])
    assert list(DataLoader(["a", "b"], 2, collate_fn="+".join)) == ["a+b"]
    with pytest.raises(TypeError, match="a sample of type object"):
        default_collate([object()])
    with pytest.raises(ValueError, match="sample 0 has 1 parts, sample 1 has 2 parts"):
        default_collate([(1,), (1, 2)])


def test_arguments_that_contradict_each_other():
    data = numbered()
    for wrong in (
        {"num_workers": 2},
        {"sampler": [1], "shuffle": True},
        {"batch_sampler": [[1]], "batch_size": 4},
        {"batch_sampler": [[1]], "shuffle": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
    ):
        with pytest.raises(ValueError, match=r"=|batch_sampler"):
            DataLoader(data, **wrong)
    with pytest.raises(ValueError, match="num_workers=2; batches are made in the calling thread, expected 0"):
        DataLoader(data, num_workers=2)


def test_names_and_order_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.utils.data
    x = np.arange(7.0, dtype=np.float32)
    ours = DataLoader(TensorDataset(mg.tensor(x)), batch_size=3, drop_last=True)
    other = theirs.DataLoader(theirs.TensorDataset(torch.tensor(x)), batch_size=3, drop_last=True)
    for (a,), (b,) in zip(ours, other, strict=True):
        np.testing.assert_array_equal(a.array, b.numpy())
    for lengths in ([0.3, 0.3, 0.4], [0.5, 0.25, 0.25]):
        sizes = [len(part) for part in theirs.random_split(range(11), lengths)]
        assert [len(part) for part in random_split(numbered(11), lengths)] == sizes
