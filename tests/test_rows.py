"""Loops over rows in vectors, and exponentials: at every width, for every length, beside plain numpy."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.jit import interpreted, kernel, late
from minigrad.kernels import exponential, norm, response, rows, softmax
from minigrad.kernels.exponential import exp
from minigrad.kernels.rows import largest

KINDS = st.sampled_from([np.float32, np.float64])
#: Names of what is compiled of rows: where, how many rows are written and read, how many numbers are given.
LOOPS = [
    (exponential.exponentials, 1, 1, 1),
    (exponential.mass, 0, 1, 1),
    (exponential.sigmoids, 1, 1, 0),
    (exponential.elus, 1, 1, 1),
    (norm._total, 0, 1, 0),
    (norm._about, 0, 1, 1),
    (norm._scaled, 1, 1, 3),
    (norm._both, 0, 2, 1),
    (norm._pulled, 1, 2, 4),
    (response._square, 1, 1, 0),
    (response._normed_34, 1, 7, 2),
    (response._terms_34, 2, 8, 2),
    (response._less_sum, 1, 8, 1),
    (softmax._sum, 0, 1, 0),
    (softmax._dot, 0, 2, 0),
    (softmax._scaled, 1, 1, 1),
    (softmax._pulled, 1, 2, 1),
]


@kernel
def _each_exp(out, x):
    for i in range(x.size):
        out[i] = exp(x[i])


# ---------------------------------------------------------------------------------------------- exponentials


def every_so_many(low, high, step):
    """Neighbouring float32 from one to the other, each so many-th of them."""
    ends = np.array([low, high], np.float32).view(np.uint32)
    return np.arange(ends.min(), ends.max(), step, dtype=np.uint32).view(np.float32)


def test_the_exponential_is_good_to_one_unit_in_the_last_place_over_the_whole_range():
    spread = (every_so_many(-1e-30, -87.3, 1501), every_so_many(1e-30, 88.0, 1501), every_so_many(-0.34, -0.71, 5))
    x = np.concatenate([*spread, np.arange(-126, 127) * np.float32(np.log(2)), [0, -0.0]]).astype(np.float32)
    out = np.empty_like(x)
    _each_exp(out, x)
    exact = np.exp(x.astype(np.float64))
    units = np.abs(out - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() < 1, x[units.argmax()]
    assert (out[-2:] == 1).all()


def test_the_exponential_ends_in_zero_and_keeps_nan():
    low = every_so_many(-87.3, -3e38, 9973)
    out = np.empty_like(low)
    _each_exp(out, low)
    assert (out >= 0).all() and np.abs(out - np.exp(low.astype(np.float64))).max() < 2.0**-126
    assert interpreted() or (out[low < -88] == 0).all()
    odd = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF812345, 0x7FFFFFFF, 0xFF800000], np.uint32).view(np.float32)
    _each_exp(out[:6], odd)
    np.testing.assert_array_equal(np.isnan(out[:6]), [True] * 5 + [False])
    assert out[5] == 0  # of -Inf
    wide = np.array([-700.0, 0.5])
    _each_exp(found := np.empty(2), wide)
    np.testing.assert_allclose(found, np.exp(wide), rtol=1e-15)


@given(st.lists(st.sampled_from([0.0, 1.5, -3.0, np.nan, np.inf, -np.inf]), min_size=1, max_size=40), KINDS)
def test_softmax_beside_special_values(values, kind):
    x = np.array(values, kind)
    p, logs = mg.softmax(mg.tensor(x), 0).array, mg.log_softmax(mg.tensor(x), 0).array
    if np.isnan(x).any() or x.max() in (np.inf, -np.inf):
        assert np.isnan(p).all() and np.isnan(logs[x != -np.inf]).all()
    else:
        assert (p[x == -np.inf] == 0).all() and (logs[x == -np.inf] == -np.inf).all()
        assert abs(p.sum() - 1) < 1e-6


# ---------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: f"{loop[1:]}")
def test_rows_are_their_python_at_every_width(loop, lanes, monkeypatch):
    if interpreted():
        pytest.skip("nothing is compiled")
    monkeypatch.setattr(rows, "machine_lanes", lambda: lanes)
    intrinsic, writes, reads, numbers = loop
    loop_compiled = intrinsic.dispatcher.__wrapped__()  # anew, for these lanes

    @late("numba").njit
    def compiled(*arguments):
        return loop_compiled(*arguments)

    rng = np.random.default_rng(lanes)
    for kind in (np.float32, np.float64):
        for length in (0, 1, 3, 15, 16, 17, 32, 47, 255, 256, 257, 511, 512, 700):
            least = -2 if intrinsic in (exponential.sigmoids, exponential.elus) else 0.5
            read = [rng.uniform(least, 2, length).astype(kind) for _ in range(reads)]
            given_ = [kind(v) for v in rng.uniform(0.5, 2, numbers)]
            framed = [np.full(length + 2, 77, kind) for _ in range(2 * writes)]
            plain, fast = framed[:writes], framed[writes:]
            wanted = intrinsic.python(*(a[1:-1] for a in plain), *read, *given_)
            found = compiled(*(a[1:-1] for a in fast), *read, *given_)
            close = {"rtol": 3e-6, "atol": 1e-7} if kind is np.float32 else {"rtol": 1e-13, "atol": 1e-15}
            for a, b in zip(fast, plain, strict=True):
                np.testing.assert_allclose(a, b, **close)
                assert a[0] == a[-1] == 77, "it wrote beside its row"
            if wanted is not None:
                scale = {**close, "atol": close["rtol"] * max(1, length)}
                np.testing.assert_allclose(found, wanted, **scale)


@pytest.mark.parametrize(("name", "most"), [("sigmoid", 2.3), ("elu", 1.0), ("softplus", 3.2)])
def test_smooth_activations_are_good_to_a_few_units_in_the_last_place(name, most):
    function = getattr(F, name)
    sides = every_so_many(1e-44, 100.0, 3001), every_so_many(-1e-44, -110.0, 3001)
    x = np.concatenate([*sides, np.arange(-127, 128) * np.float32(np.log(2))]).astype(np.float32)
    wide = x.astype(np.longdouble)
    with np.errstate(under="ignore"):
        e = np.exp(-np.abs(wide))
        exact = {
            "sigmoid": np.where(wide >= 0, 1, e) / (1 + e),
            "elu": np.where(wide < 0, np.expm1(wide), wide),
            "softplus": np.maximum(wide, 0) + np.log1p(e),
        }[name]
        units = np.abs(function(mg.tensor(x)).numpy() - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert units.max() < (4 if interpreted() else most), x[units.argmax()]  # un-jitted it is numpy's
    for kind in (np.float32, np.float64):
        odd = function(mg.tensor(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], kind))).numpy()
        ends = {"sigmoid": [1, 0, 0.5, 0.5], "elu": [np.inf, -1, 0, 0], "softplus": [np.inf, 0, np.log(2), np.log(2)]}[name]
        assert np.isnan(odd[0])
        np.testing.assert_allclose(odd[1:], ends, rtol=3e-7 if kind is np.float32 else 1e-15)


@kernel
def _largest_of(out, x):
    for i in range(len(x)):
        out[i] = largest(x[i])


@pytest.mark.parametrize("lanes", [16, 8, 4])
def test_the_largest_of_a_row(lanes, monkeypatch):
    if interpreted():
        pytest.skip("nothing is compiled")
    monkeypatch.setattr(rows, "machine_lanes", lambda: lanes)
    largest_compiled = rows._largest_compiled()

    @late("numba").njit
    def compiled(x):
        return largest_compiled(x)

    rng = np.random.default_rng(lanes)
    for kind in (np.float32, np.float64):
        assert compiled(np.empty(0, kind)) == -np.inf
        for length in (1, 3, 15, 16, 17, 100, 300):
            x = (rng.normal(size=length) - 5).astype(kind)
            assert compiled(x) == x.max()
            x[0], x[-1] = -np.inf, np.inf
            assert compiled(x) == np.inf


def test_rows_that_are_not_contiguous_are_refused():
    if interpreted():
        pytest.skip("nothing is compiled")
    x = np.zeros((4, 10), np.float32)
    with pytest.raises(Exception, match="contiguous"):
        _largest_of(np.empty(4, np.float32), x[:, ::2])


# ---------------------------------------------------------------------------------------------- batch statistics


@example(2, 1, 64, np.float32, 1000.0)
@example(300, 3, 1, np.float32, 1000.0)
@example(40, 2, 9, np.float64, 1e8)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 70), KINDS, st.sampled_from([0.0, 1.0, -300.0]))
def test_a_batch_far_from_zero_has_its_deviation(n, channels, length, kind, shift):
    rng = np.random.default_rng(n * length)
    x = (rng.normal(size=(n, channels, length)) + shift).astype(kind)
    wide = x.astype(np.longdouble)
    _, mean, rstd = mg.op.REGISTRY["batch_norm"].forward(x, eps=1e-3)
    exact = wide.mean(axis=(0, 2)), 1 / np.sqrt(wide.var(axis=(0, 2)) + 1e-3)
    rounding = (1e-6 if kind is np.float32 else 1e-14) * (1 + abs(shift))
    np.testing.assert_allclose(mean, exact[0].astype(float), rtol=0, atol=rounding)
    np.testing.assert_allclose(rstd, exact[1].astype(float), rtol=max(rounding, 2e-6 if kind is np.float32 else 1e-12))
