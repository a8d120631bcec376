"""Winograd's convolution with images along the lanes: its micro-kernel, every shape and vector, accuracy, special numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.jit import get_num_threads, kernel, python_mode
from minigrad.kernels import conv, conv_winograd_images, vector
from minigrad.kernels.frames import Geometry
from minigrad.kernels.vector import run
from minigrad.kernels.vector_nested import Mixing
from minigrad.kernels.winograd_matrices import SIZES, transforms
from minigrad.kernels.winograd_tiles import points_of, tiling

LENET = (6, 14, 14), (16, 6, 5, 5)


@kernel
def once(micro, to, source, start, inner, count, rows, weights):
    run(micro, to, source, start, inner, count, rows, weights)


@pytest.mark.parametrize(("lanes", "kind"), [(16, "float32"), (8, "float32"), (4, "float32"), (8, "float64"), (2, "float64")])
@pytest.mark.parametrize(("outputs", "filters"), [(2, 1), (4, 2), (1, 3)])
def test_a_compiled_mixing_is_a_sum_over_channels_and_a_matrix_product(lanes, kind, outputs, filters):
    rng, across = np.random.default_rng(lanes), transforms(outputs, 3).outputs
    points, channels, apart = len(across[0]), 5, outputs * lanes + 3
    x = rng.normal(size=(channels, points, lanes)).astype(kind)
    w = rng.normal(size=(points, channels, 8)).astype(kind)
    source, to, firsts = np.concatenate([np.zeros(7, kind), x.ravel()]), np.full(8 * apart, np.nan, kind), np.array([0, 5, 4])
    micro = Mixing(across, filters, 8, 8 * channels, lanes, kind)
    exact = 1e-5 if kind == "float32" else 1e-13
    for handle, python in {(micro.handle, micro.handle is micro), (micro, True)}:
        found = to.copy()
        if python:
            with python_mode():
                once(handle, found, source, 7, np.array([channels, apart]), 3, firsts, w)
        else:
            once(handle, found, source, 7, np.array([channels, apart]), 3, firsts, w)
        expected = to.copy().reshape(8, apart)
        for f in {first + i for first in firsts for i in range(filters)}:
            sums = (w[:, :, f, None].swapaxes(0, 1) * x).sum(axis=0, dtype=float)
            expected[f, : outputs * lanes] = (np.array(across, float) @ sums).ravel()
        np.testing.assert_allclose(found.reshape(8, apart), expected, rtol=exact, atol=exact)


@given(st.integers(1, 60), st.integers(1, 7))
def test_an_axis_is_covered_by_few_products(length, taps):
    axes = tiling(length, taps)
    assert axes[0].first == 0
    assert all(one.first + one.step * one.tiles == other.first for one, other in itertools.pairwise(axes))
    assert axes[-1].first + axes[-1].step * axes[-1].tiles >= length
    whole = [length * taps]
    for step in (2, 4):
        if taps > 1 and step + taps - 1 in SIZES:
            whole.append(-(-length // step) * transforms(step, taps).products)
    assert points_of(length, taps) <= min(whole), "two sizes of tiles are taken only where they spare products"


def test_the_tiles_of_lenets_second_layer():
    assert [(axis.step, axis.tiles) for axis in tiling(10, 5)] == [(4, 2), (2, 1)]
    assert points_of(10, 5) ** 2 == 729  # where direct sums take 2500 products


def written_out(x, w, bias, padding, groups):
    framed = np.pad(x.astype(float), [(0, 0), (0, 0), *[(p, p) for p in padding]])
    windows = np.lib.stride_tricks.sliding_window_view(framed, w.shape[2:], (2, 3))
    windows = windows.reshape(len(x), groups, -1, *windows.shape[2:])
    out = np.einsum("ngcyxrs,gfcrs->ngfyx", windows, w.astype(float).reshape(groups, -1, *w.shape[1:]), optimize=True)
    return out.reshape(len(x), len(w), *out.shape[3:]) + bias[:, None, None]


def error_of(x, w, padding, groups=1, kind=np.float64):
    rng = np.random.default_rng(0)
    x, w, bias = (rng.normal(size=shape).astype(kind) for shape in (x, w, w[:1]))
    exact = written_out(x, w, bias, padding, groups)
    out = np.full(exact.shape, np.nan, kind)
    assert conv_winograd_images.forward(out, x, w, bias, Geometry((1, 1), padding, (1, 1), groups))
    return out - exact


@st.composite
def cases(draw):
    window = draw(st.tuples(*[st.sampled_from([1, 2, 3, 3, 4, 5, 6, 7])] * 2))
    padding = draw(st.tuples(*[st.integers(0, 4)] * 2))
    image = tuple(max(1, k - 2 * p) + draw(st.integers(0, 9)) for k, p in zip(window, padding, strict=True))
    groups, channels, filters = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return (draw(st.integers(1, 9)), channels * groups, *image), (filters * groups, channels, *window), padding, groups


@given(cases(), st.sampled_from([16, 4]))
def test_any_shape_in_plain_python(case, lanes):
    with python_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_winograd_images, "machine_lanes", lambda: lanes)
        np.testing.assert_allclose(error_of(*case), 0, atol=1e-12)


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize(
    ("x", "w", "padding", "groups"),
    [
        ((35, *LENET[0]), LENET[1], (0, 0), 1),
        ((9, 6, 9, 5), (10, 3, 5, 5), (2, 2), 2),  # one or two blocks of images, whose planes are shared out; groups
        ((3, 2, 3, 70), (19, 2, 3, 1), (0, 3), 1),  # planes that fill no vector, a window of one column, only padding
    ],
)
def test_machines_with_other_vectors(x, w, padding, groups, lanes, monkeypatch):
    for module in (conv_winograd_images, vector):
        monkeypatch.setattr(module, "machine_lanes", lambda: lanes)
    monkeypatch.setattr("minigrad.kernels.images_in_lanes._SHARED_FROM", 1)
    conv_winograd_images._plan.cache_clear()
    np.testing.assert_allclose(error_of(x, w, padding, groups), 0, atol=1e-11)
    conv_winograd_images._plan.cache_clear()


@pytest.mark.skipif(get_num_threads() < 2, reason="a single thread")
@pytest.mark.parametrize("batch", [16, 50])
def test_the_same_bits_for_any_number_of_threads(batch):
    most, found = get_num_threads(), set()
    try:
        for threads in (1, 2, 2):
            mg.set_num_threads(threads)
            found.add(error_of((batch, *LENET[0]), LENET[1], (0, 0), 1, np.float32).tobytes())
    finally:
        mg.set_num_threads(most)
    assert len(found) == 1


@pytest.mark.parametrize("rectified", [False, True])
def test_it_is_as_accurate_as_pytorch(rectified):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(64, *LENET[0])).astype(np.float32), rng.normal(size=LENET[1]).astype(np.float32)
    x = np.maximum(x, 0) if rectified else x
    exact = written_out(x, w, np.zeros(len(w)), (0, 0), 1)
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
    ours = np.empty_like(theirs)
    conv_winograd_images.forward(ours, x, w, None, Geometry((1, 1), (0, 0), (1, 1), 1))
    assert np.linalg.norm(ours - exact) <= 1.1 * np.linalg.norm(theirs - exact)
    assert np.abs(ours - exact).max() <= 1.5e-6 * np.sqrt((exact**2).mean())


@np.errstate(all="ignore")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_calculated_again(value):
    x, w = np.ones((3, 2, 9, 9), np.float32), np.ones((4, 2, 3, 3), np.float32)
    x[1, 0, 4, 4] = value
    x[1, 0, 4, 5] = abs(value)  # of huge numbers the sum overflows, in a transform or directly
    found = {}
    for way in ("winograd-images", "direct"):
        found[way] = np.empty((3, 4, 7, 7), np.float32)
        conv.conv2d(found[way], x, w, None, Geometry((1, 1), (0, 0), (1, 1), 1), way)
    np.testing.assert_allclose(found["winograd-images"], found["direct"], rtol=1e-5)


def test_when_it_is_chosen():
    def way(batch, channels, filters, size, window, kind="forward", asked=None):
        x, w, out = (
            (batch, channels, size, size),
            (filters, channels, window, window),
            (batch, filters, *[size - window + 1] * 2),
        )
        task = conv.task_of(kind, x, w, out, Geometry((1, 1), (0, 0), (1, 1), 1))._replace(lanes=16)
        return conv.choose(task, asked)

    assert way(256, 6, 16, 14, 5) == way(32, 6, 16, 14, 5) == way(32, 6, 16, 14, 5, asked="winograd") == "winograd-images"
    assert way(1, 6, 16, 14, 5) == "pixels", "lanes without images"
    assert way(256, 1, 6, 32, 5) == "images", "the transforms of planes take longer than what they spare"
    assert way(32, 6, 16, 14, 5, "input") == way(32, 6, 16, 14, 5, "weight") == "images"
    assert way(32, 6, 16, 14, 5, "weight", "winograd") == "winograd-channels"
    assert way(32, 64, 64, 14, 3) == "winograd-channels"
