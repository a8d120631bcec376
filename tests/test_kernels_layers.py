"""Kernels of pooling and normalisation where their ways begin and end: against plain numpy in float64."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import make_tensor
from minigrad.jit import interpreted, late
from minigrad.kernels import windows
from minigrad.op import REGISTRY
from minigrad.ops import pool
from minigrad.ops.pool import Window

KINDS = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)


def agree(found, exact, kind, factor=1):
    """As close as the type allows, on the scale of the largest number."""
    assert found.dtype == kind
    scale = np.abs(exact).max(initial=1e-30)
    np.testing.assert_allclose(found, exact, rtol=0, atol=scale * factor * (2e-6 if kind is np.float32 else 1e-14))


# ---------------------------------------------------------------------------------------------- response normalisation


@given(
    st.integers(1, 2), st.integers(1, 14), st.sampled_from([1, 9, 64, 65, 1023, 1024, 1025, 2100]), st.integers(1, 13),
    st.sampled_from([0.75, 0.6]), KINDS, SEEDS,
)  # fmt: skip
def test_response_normalisation_in_stretches(n, channels, length, size, beta, kind, seed):
    rng = np.random.default_rng(seed)
    x, g = (rng.normal(size=(n, channels, length, 1)).astype(kind) for _ in range(2))
    settings = {"size": size, "alpha": 0.7, "beta": beta, "k": 1.5}
    for name, arrays in (("local_response_norm", (x,)), ("local_response_norm_input", (g, x))):
        op = REGISTRY[name]
        exact = op.reference(*(a.astype(np.float64) for a in arrays), **settings)
        agree(op.forward(*arrays, **settings), exact, kind)


def test_response_normalisation_keeps_nan_and_large_numbers_to_their_windows():
    x = np.ones((1, 12, 3, 1), np.float32)
    x[0, 4, 1], x[0, 9, 2] = np.nan, 1e25  # whose square is infinite
    settings = {"size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0}
    with np.errstate(all="ignore"):
        out = REGISTRY["local_response_norm"].forward(x, **settings)
        dx = REGISTRY["local_response_norm_input"].forward(np.ones_like(x), x, **settings)
    hit = np.flatnonzero(np.isnan(out[0, :, 1, 0]))
    np.testing.assert_array_equal(hit, [2, 3, 4, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dx[0, :, 1, 0])), range(9))
    assert np.isfinite(out[0, :, [0, 2]]).all() and np.isfinite(dx[0, :, [0, 2]]).all()
    np.testing.assert_array_equal(np.flatnonzero(out[0, :, 2, 0] == 0), [7, 8, 9, 10, 11])


# ---------------------------------------------------------------------------------------------- batch normalisation


@given(st.integers(1, 4), st.sampled_from([1, 3, 4, 7, 8, 33, 70]), st.sampled_from([2, 9, 50]), KINDS, SEEDS)
def test_batch_normalisation_of_a_few_channels_at_a_time(n, channels, length, kind, seed):
    rng = np.random.default_rng(seed)
    x, g = (rng.normal(size=(n, channels, length)).astype(kind) for _ in range(2))
    w, b = (rng.normal(size=channels).astype(kind) for _ in range(2))
    wide = [a.astype(np.float64) for a in (x, w, b, g)]
    out, mean, rstd = REGISTRY["batch_norm"].forward(x, w, b, eps=1e-2)
    for found, exact in zip((out, mean, rstd), REGISTRY["batch_norm"].reference(*wide[:3], eps=1e-2), strict=True):
        agree(found.astype(kind), exact, kind, 4)
    exact = (
        REGISTRY["batch_norm_input"].reference(wide[3], *wide[:2], eps=1e-2),
        REGISTRY["batch_norm_weight"].reference(wide[3], wide[0], eps=1e-2),
        wide[3].sum(axis=(0, 2)),
    )
    leaves = [make_tensor(a).requires_grad_() for a in (x, w, b)]
    pulled = mg.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=1e-2)
    for create_graph in (True, False):  # by operations, and all at once
        found = mg.grad(pulled, leaves, make_tensor(g), create_graph=create_graph)
        for part, wanted in zip(found, exact, strict=True):
            agree(part.array, wanted, kind, 10)
    pulled = mg.batch_norm(leaves[0].detach(), None, None, leaves[1], leaves[2].detach(), training=True, eps=1e-2)
    agree(mg.grad(pulled, leaves[1], make_tensor(g))[0].array, exact[1], kind, 10)


def test_batch_normalisation_in_half_precision_is_pulled_back():
    x, w, b = (mg.ones(*shape, dtype=np.float16).requires_grad_() for shape in ((3, 2), (2,), (2,)))
    mg.batch_norm(x, None, None, w, b, training=True).sum().backward()
    assert x.grad.dtype == np.float16 and b.grad.tolist() == [3, 3] and w.grad.tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------- pooling


@st.composite
def poolings(draw):
    """Windows of all kinds over images of all widths: less than a vector, its multiples, and beside them."""
    window, stride = draw(st.tuples(*[st.integers(1, 4)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    if draw(st.booleans()):
        window, stride = draw(
            st.sampled_from([((2, 2), (2, 2)), ((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (3, 2)), ((16, 17), (2, 2))])
        )
    padding = tuple(draw(st.integers(0, k // 2)) for k in window)
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, window, padding, strict=True)]
    size = (least[0] + draw(st.integers(0, 6)), least[1] + draw(st.sampled_from([0, 1, 3, 7, 8, 15, 16, 31, 32, 33, 70])))
    return size, Window(window, stride, padding, dilation, draw(st.booleans()))


SIDE_BY_SIDE, RESNETS = (Window(*[(n, n) for n in sizes], False) for sizes in ((2, 2, 0, 1), (3, 2, 1, 1)))


@example(((4, 8), SIDE_BY_SIDE), np.float32, False, 0)
@example(((5, 8), SIDE_BY_SIDE), np.float32, False, 0)
@example(((4, 9), SIDE_BY_SIDE), np.float64, False, 0)
@example(((5, 67), SIDE_BY_SIDE), np.float32, True, 0)
@example(((12, 12), RESNETS), np.float32, True, 0)
@given(poolings(), KINDS, st.booleans(), SEEDS)
def test_pooling_of_all_kinds(case, kind, ties, seed):
    size, window = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, *size))
    if ties:  # and NaN and -inf
        x = rng.choice(np.array([-np.inf, -1, 0, 1, 2, np.nan]), x.shape)
    x = x.astype(kind)
    op, settings = REGISTRY["max_pool2d"], window._asdict()
    out, taps = op.forward(x, **settings)
    best, exact = op.reference(x, **settings)
    np.testing.assert_array_equal(out, best)
    np.testing.assert_array_equal(taps, exact)
    assert out.dtype == kind and taps.dtype == (np.uint8 if window.kernel_size[0] < 16 else np.int32)
    g = rng.normal(size=out.shape).astype(kind)
    for name, given_, scale in (("max_pool2d_scatter", g, 4), ("max_pool2d_pick", rng.normal(size=x.shape).astype(kind), 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool, "empty", lambda shape, dtype: np.full(shape, 77, dtype))  # memory that was used before
            found = REGISTRY[name].forward(given_, taps, size=size, window=window)
        agree(found, REGISTRY[name].reference(given_.astype(np.float64), taps, size=size, window=window), kind, scale)


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_of_windows_are_their_loops_at_every_width(lanes, kind, monkeypatch):
    monkeypatch.setattr(windows, "machine_lanes", lambda: lanes)
    if interpreted():
        pytest.skip("nothing is compiled")
    rng, best_compiled, spread_compiled = np.random.default_rng(lanes), windows._best_compiled(), windows._spread_compiled()

    @late("numba").njit
    def compiled(best, taps, dx, values, g, count, step, inner, first, end):
        best_compiled(best, taps, 1, values, 2, count, step, inner, first, end)
        spread_compiled(dx, 3, g, taps, 1, count, first)

    values = rng.choice(np.array([-np.inf, -1, 0, 1, 2, np.nan], kind), 400)
    inner, g = np.array([0, 1, 2, 100, 101, 102, 200]), rng.normal(size=80).astype(kind)
    for count in (0, 1, 3, 4, 5, 8, 15, 16, 17, 33, 63):
        for step, first, end in ((1, 0, 7), (2, 3, 6), (3, 1, 3)):
            plain = [np.full(n, 7, t) for n, t in ((80, kind), (80, np.uint8), (140, kind))]
            fast = [a.copy() for a in plain]
            windows.best_of_row(*plain[:2], 1, values, 2, count, step, inner, first, end)
            windows.spread_row(plain[2], 3, g, plain[1], 1, count, first)
            compiled(*fast, values, g, count, step, inner, first, end)
            for a, b in zip(fast, plain, strict=True):
                np.testing.assert_array_equal(a, b)
