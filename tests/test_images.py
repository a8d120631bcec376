"""Convolution with images along a vector's lanes: batches that fill no vector, special values beside others, threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.jit import python_mode
from minigrad.kernels import conv
from minigrad.kernels.frames import Geometry
from minigrad.op import REGISTRY

PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def calculated(x, g, w, bias, geometry):
    """Forward, by input and by weight; what is not written stays NaN."""
    out, dx, dw = (np.full(shape, np.nan, x.dtype) for shape in (g.shape, x.shape, w.shape))
    conv.conv2d(out, x, w, bias, geometry, "images")
    conv.conv2d_input(dx, g, w, geometry, "images")
    conv.conv2d_weight(dw, g, x, geometry, "images")
    return out, dx, dw


def written_out(x, g, w, bias, geometry):
    """The same, window by window in float64."""
    x, g, w = (a.astype(np.float64) for a in (x, g, w))
    (py, px), (dy, dx), groups = geometry.padding, geometry.dilation, geometry.groups
    framed = np.pad(x, [(0, 0), (0, 0), (py, py), (px, px)])
    out, spread, by_weight = np.zeros(g.shape), np.zeros(framed.shape), np.zeros(w.shape)
    height, width = g.shape[2:]
    for group in range(groups):
        f, c = (slice(group * n, (group + 1) * n) for n in (len(w) // groups, w.shape[1]))
        for r, s in np.ndindex(w.shape[2:]):
            seen = (slice(None), c, slice(r * dy, r * dy + height), slice(s * dx, s * dx + width))
            out[:, f] += np.einsum("ncyx,fc->nfyx", framed[seen], w[f, :, r, s])
            spread[seen] += np.einsum("nfyx,fc->ncyx", g[:, f], w[f, :, r, s])
            by_weight[f, :, r, s] = np.einsum("ncyx,nfyx->fc", framed[seen], g[:, f])
    inside = spread[:, :, py : py + x.shape[2], px : px + x.shape[3]]
    return out + (0 if bias is None else bias[:, None, None]), inside, by_weight


@st.composite
def tasks(draw):
    # Few different numbers, since each shape of a micro-kernel is compiled.
    groups, channels, filters = (draw(st.sampled_from(some)) for some in ([1, 1, 2], [1, 3], [1, 4, 9]))
    window = draw(st.sampled_from([(1, 1), (3, 2), (5, 5), (2, 4)]))
    dilation, padding = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)])), draw(st.tuples(*[st.integers(0, 2)] * 2))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, window, padding, strict=True)]
    image = [n + draw(st.sampled_from([0, 3, 9])) for n in least]
    size = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(image, padding, dilation, window, strict=True)]
    batch = draw(st.sampled_from([1, 3, 8, 15, 16, 17, 33, 48]))
    shapes = (batch, channels * groups, *image), (batch, filters * groups, *size), (filters * groups, channels, *window)
    return *shapes, Geometry((1, 1), padding, dilation, groups)


@given(tasks(), st.sampled_from([np.float32, np.float64]), st.booleans(), st.integers(0, 2**32 - 1))
def test_images_in_lanes_give_the_written_out_sums(task, kind, biased, seed):
    *shapes, geometry = task
    rng = np.random.default_rng(seed)
    x, g, w, bias = (rng.normal(size=shape).astype(kind) for shape in (*shapes, shapes[2][:1]))
    bias = bias if biased else None
    exact = 2e-5 if kind is np.float32 else 1e-13
    for found, expected in zip(calculated(x, g, w, bias, geometry), written_out(x, g, w, bias, geometry), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=exact * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("window", [(2, 5), (1, 11), (1, 40)])
def test_rows_longer_than_a_tile_and_windows_wider_than_one(window):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(3, 1, 3, 63)), rng.normal(size=(3, 2, 4 - window[0], 64 - window[1]))
    w, geometry = rng.normal(size=(2, 1, *window)), Geometry((1, 1), (0, 0), (1, 1), 1)
    for found, expected in zip(calculated(x, g, w, None, geometry), written_out(x, g, w, None, geometry), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@np.errstate(all="ignore")  # operations switch numpy's warnings off, which plain Python would give
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e-42])
def test_special_values_stay_with_their_image_and_their_windows(special):
    rng = np.random.default_rng(0)
    geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
    x, g = (rng.uniform(1, 2, (19, n, 6, 7)).astype(np.float32) for n in (2, 3))
    w = rng.uniform(1, 2, (3, 2, 3, 3)).astype(np.float32)
    x[3, 1, 0, 6] = x[18, 0, 5, 0] = g[3, 2, 2, 6] = g[18, 1, 0, 0] = special
    expected = written_out(x, g, w, None, geometry)
    for found, wanted in zip(calculated(x, g, w, None, geometry), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@np.errstate(all="ignore")
def test_infinite_weights_reach_only_the_pixels_that_they_see():
    x, g = np.ones((17, 1, 6, 7), np.float32), np.ones((17, 1, 4, 5), np.float32)
    w = np.ones((1, 1, 3, 3), np.float32)
    w[0, 0, 0, 2] = np.inf
    for found, wanted in zip(
        calculated(x, g, w, None, Geometry(**PLAIN)), written_out(x, g, w, None, Geometry(**PLAIN)), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_products_of_denormals_are_kept():
    x, w = np.full((16, 1, 4, 4), 2.0**-140, np.float32), np.ones((1, 1, 2, 2), np.float32)
    out, dx, dw = calculated(x, x[:, :, :3, :3], w, None, Geometry(**PLAIN))
    assert out[5, 0, 1, 1] == dx[5, 0, 1, 1] == np.float32(2.0**-138) and dw[0, 0, 0, 0] == 0


@pytest.mark.parametrize("batch", [16, 48, 50, 256])
def test_threads_share_blocks_of_images_or_their_filters(batch):
    rng = np.random.default_rng(batch)
    x, g = (rng.normal(size=(batch, n, 10, 10)).astype(np.float32) for n in (3, 8))
    w, bias = rng.normal(size=(8, 3, 5, 5)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    geometry, results, threads = Geometry((1, 1), (2, 2), (1, 1), 1), [], mg.get_num_threads()
    try:
        for n in (1, min(2, threads), min(2, threads)):
            mg.set_num_threads(n)
            results.append(calculated(x, g, w, bias, geometry))
    finally:
        mg.set_num_threads(threads)
    for one, two, again in zip(*results, strict=True):
        np.testing.assert_array_equal(two, again)
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    for one, two in zip(results[0][:2], results[1][:2], strict=True):  # no sum is cut between threads
        np.testing.assert_array_equal(one, two)


def test_plain_python_gives_the_same():
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(17, n, 3, 5)) for n in (2, 3))
    w, geometry = rng.normal(size=(3, 2, 1, 3)), Geometry((1, 1), (0, 1), (1, 1), 1)
    compiled = calculated(x, g, w, None, geometry)
    with python_mode():
        plain = calculated(x, g, w, None, geometry)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_weights_gradients_over_many_pixels_are_summed_in_chunks():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, g = (rng.uniform(0, 1, (256, n, 28, 28)).astype(np.float32) for n in (1, 2))
    geometry = Geometry((1, 1), (2, 2), (1, 1), 1)
    weight = torch.zeros(2, 1, 5, 5, requires_grad=True)
    out = torch.nn.functional.conv2d(torch.from_numpy(x), weight, padding=2)
    theirs = torch.autograd.grad(out, weight, torch.from_numpy(g))[0].numpy()
    exact = written_out(x, g, np.zeros((2, 1, 5, 5)), None, geometry)[2]
    ours = np.empty((2, 1, 5, 5), np.float32)
    conv.conv2d_weight(ours, g, x, geometry, "images")
    assert np.linalg.norm(ours - exact) <= np.linalg.norm(theirs - exact)
    assert np.linalg.norm(ours - exact) <= 1e-7 * np.linalg.norm(exact)


def test_the_table_takes_images_for_few_channels_and_many_images():
    def way(kind, batch, channels, filters, size, window):
        geometry = Geometry((1, 1), (window // 2,) * 2, (1, 1), 1)
        shapes = (batch, channels, size, size), (filters, channels, window, window), (batch, filters, size, size)
        return conv.choose(conv.task_of(kind, *shapes, geometry)._replace(lanes=16))

    for kind in ("forward", "input", "weight"):
        assert way(kind, 256, 1, 6, 28, 5) == way(kind, 32, 1, 6, 28, 5) == "images"
        assert way(kind, 1, 6, 16, 14, 5) != "images"
        assert way(kind, 256, 256, 256, 28, 3) != "images", "a block of images would not stay in the cache"


def test_memory_with_gaps_is_taken_as_it_is():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(32, 4, 8, 9))[::2, ::2, ::-1], rng.normal(size=(6, 3, 3, 2)).transpose(0, 3, 1, 2)
    op = REGISTRY["conv2d"]
    found = op.forward(x, w, None, algorithm="images", **PLAIN)
    np.testing.assert_array_equal(found, op.forward(x.copy(), w.copy(), None, algorithm="images", **PLAIN))
