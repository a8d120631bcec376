"""Kernels of pooling and normalisation where their ways begin and end: against plain numpy in float64."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigrad.op import REGISTRY

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
    out = REGISTRY["local_response_norm"].forward(x, **settings)
    dx = REGISTRY["local_response_norm_input"].forward(np.ones_like(x), x, **settings)
    hit = np.flatnonzero(np.isnan(out[0, :, 1, 0]))
    np.testing.assert_array_equal(hit, [2, 3, 4, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dx[0, :, 1, 0])), range(9))
    assert np.isfinite(out[0, :, [0, 2]]).all() and np.isfinite(dx[0, :, [0, 2]]).all()
    np.testing.assert_array_equal(np.flatnonzero(out[0, :, 2, 0] == 0), [7, 8, 9, 10, 11])
