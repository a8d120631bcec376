"""The micro-kernels, compiled for every width of vectors, against their own loop nests in plain Python."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.jit import kernel, python_mode
from minigrad.kernels import (
    conv,
    conv_direct,
    conv_filters,
    conv_images,
    conv_pixels,
    conv_winograd,
    conv_winograd_images,
    conv_winograd_weight,
    vector,
)
from minigrad.kernels.lanes import Fold, Scatter, Spread, Transpose, Turn
from minigrad.kernels.program import Step, Tables, handles_of, perform
from minigrad.kernels.vector import Block, Strip, run
from minigrad.op import REGISTRY

#: Those that ask how wide vectors are.
MODULES = (
    conv,
    conv_direct,
    conv_filters,
    conv_images,
    conv_pixels,
    conv_winograd,
    conv_winograd_images,
    conv_winograd_weight,
    vector,
)


@kernel
def once(block, tile, source, start, inner, count, rows, weights):
    run(block, tile, source, start, inner, count, rows, weights)


@given(st.data(), st.integers(0, 2**32 - 1))
def test_a_compiled_block_is_its_loop_nest(data, seed):
    lanes, dtype = data.draw(st.sampled_from([4, 8, 16])), data.draw(st.sampled_from(["float32", "float64"]))
    draw = {"rows": st.sampled_from([1, 3]), "columns": st.sampled_from([1, 5]), "vectors": st.sampled_from([1, 2])}
    block = Block(
        lanes=lanes, dtype=dtype, step=data.draw(st.sampled_from([1, 2])), **{k: data.draw(v) for k, v in draw.items()}
    )
    count = data.draw(st.integers(0, 6))
    rng = np.random.default_rng(seed)
    source = rng.normal(size=200).astype(dtype)
    inner, rows = rng.integers(0, 50, count), rng.integers(0, 50, block.rows)
    weights = rng.normal(size=(max(count, 1), block.width)).astype(dtype)
    tile = rng.normal(size=(block.rows, block.columns, block.width)).astype(dtype)
    expected = tile.copy()
    with python_mode():
        once(block.handle, expected, source, 7, inner, count, rows, weights)
    if block.handle is not block:
        once(block.handle, tile, source, 7, inner, count, rows, weights)
        np.testing.assert_allclose(tile, expected, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-5)


@given(st.data(), st.sampled_from([2, 4, 8, 16]), st.sampled_from(["float32", "float64"]), st.integers(0, 2**32 - 1))
def test_micro_kernels_for_images_are_their_loop_nests(data, lanes, dtype, seed):
    shape = data.draw(
        st.one_of(
            st.builds(Scatter, st.integers(1, 6), st.integers(1, 3), st.integers(1, 2), st.just(lanes), st.just(dtype)),
            st.builds(Spread, st.integers(1, 6), st.integers(1, 3), st.integers(1, 2), st.just(lanes), st.just(dtype)),
            st.builds(Turn, st.booleans(), st.just(lanes), st.just(dtype)),
            st.builds(Fold, st.just(lanes), st.just(dtype)),
        )
    )
    count = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(seed)
    source, weights = rng.normal(size=1000).astype(dtype), rng.normal(size=200).astype(dtype)
    inner, rows = rng.integers(0, 200, count * lanes), rng.permutation(count * lanes) * lanes
    found = rng.normal(size=1000).astype(dtype)
    expected = found.copy()
    with python_mode():
        once(shape.handle, expected, source, 7, inner, count, rows, weights)
    once(shape.handle, found, source, 7, inner, count, rows, weights)
    exact = isinstance(shape, Turn)  # nothing is summed, at most a number added
    np.testing.assert_allclose(found, expected, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)


@kernel
def performed(ways, steps, times, memory, tables):
    for time in range(times):
        perform(ways, steps, time, memory, tables)


@pytest.mark.parametrize(("lanes", "dtype"), [(16, "float32"), (4, "float32"), (2, "float64")])
def test_a_program_is_its_steps_one_after_the_other(lanes, dtype):
    """Sums of two and of three neighbouring vectors, then both turned round, two times, each time further on."""
    kernels, tables, rng = [Strip(1, 1, lanes, dtype), Transpose(lanes, dtype)], Tables(), np.random.default_rng(lanes)
    near, first, square = tables.place(0, lanes, 2 * lanes), tables.place(0), tables.place(lanes, 2, lanes)
    assert tables.place(0) == first
    length = 16 * lanes
    memory = np.concatenate([rng.normal(size=length), np.zeros(2 * length), np.ones(3)]).astype(dtype)
    steps = np.array(
        [
            Step(0, length, 0, near, 2, first, 3 * length, 4 * lanes, lanes),
            Step(0, length + lanes, 5, near, 3, first, 3 * length, 4 * lanes, lanes),
            Step(1, 2 * length, length, square, 2, first, to_again=4 * lanes, source_again=4 * lanes),
        ]
    )
    expected = memory.copy()
    for t in range(2):
        sums = [sum(expected[t * lanes + at + k * lanes :][:lanes] for k in range(n)) for at, n in ((0, 2), (5, 3))]
        expected[length + 4 * t * lanes :][: 2 * lanes] = np.concatenate(sums)
        expected[2 * length + 4 * t * lanes :][: 2 * lanes] = np.stack(sums, axis=-1).ravel()
    with python_mode():
        performed(handles_of(kernels), steps, 2, found := memory.copy(), tables.array())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    performed(handles_of(kernels), steps, 2, found := memory.copy(), tables.array())
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_convolution_on_machines_with_other_vectors(name, lanes, monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "machine_lanes", lambda: lanes)
    op = REGISTRY[name]
    for sample in op.samples(np.random.default_rng(0)):
        actual = op.forward(*sample.inputs, **sample.params)
        np.testing.assert_allclose(actual, op.reference(*sample.inputs, **sample.params), atol=1e-12)


@pytest.mark.parametrize("filters", [1, 4, 5, 9, 17, 33, 40])
@pytest.mark.parametrize("size", [1, 2, 13, 15, 29])
def test_convolution_at_the_edges_of_tiles(filters, size):
    rng = np.random.default_rng(size)
    x, w = rng.normal(size=(2, 2, size, size)), rng.normal(size=(filters, 2, 3, 3))
    settings = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    op = REGISTRY["conv2d"]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), (2, 3))
    np.testing.assert_allclose(op.forward(x, w, **settings), np.einsum("ncyxrs,fcrs->nfyx", windows, w), atol=1e-12)
    g = rng.normal(size=(2, filters, size, size))
    dw = REGISTRY["conv2d_weight"].forward(g, x, window=(3, 3), **settings)
    np.testing.assert_allclose(dw, np.einsum("ncyxrs,nfyx->fcrs", windows, g), atol=1e-11)


def test_a_window_wider_than_a_tile():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 1, 1, 90)), rng.normal(size=(3, 1, 1, 60))
    settings = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    out = REGISTRY["conv2d"].forward(x, w, **settings)
    np.testing.assert_allclose(out[0, 1, 0], np.correlate(x[0, 0, 0], w[1, 0, 0]), atol=1e-12)
    dw = REGISTRY["conv2d_weight"].forward(out, x, window=(1, 60), **settings)
    np.testing.assert_allclose(dw[2, 0, 0], np.correlate(x[0, 0, 0], out[0, 2, 0]), atol=1e-11)
    for way in ("filters", "pixels"):
        dx = REGISTRY["conv2d_input"].forward(out, w, size=(1, 90), algorithm=way, **settings)
        spread = sum(np.convolve(out[0, f, 0], w[f, 0, 0]) for f in range(3))
        np.testing.assert_allclose(dx[0, 0, 0], spread, atol=1e-11)


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_phases_of_a_stride_share_tables_and_so_a_width(stride, lanes):
    """Of many channels a phase by itself would take two vectors in some sizes, and one in others."""
    for channels, size, window in itertools.product((3, 16, 17, 24, 32, 64), (5, 7, 13, 14, 27), (2, 3, 5)):
        geometry = conv.Geometry((stride, stride), (1, 1), (1, 1), 1)
        out = conv.output_length(size, window, stride, 1, 1)
        shapes = (8, channels, size, size), (8, 64, out, out), (64, channels, window, window)
        with python_mode():  # in which blocks are their own handles
            plan = conv_direct._input_plan.__wrapped__("filters", *shapes, geometry, np.dtype(np.float32), lanes, 2, True)
        assert len({block.width for block in plan.blocks} | {packing.shape[3] for packing in plan.packings}) == 1, shapes


@pytest.mark.parametrize("way", [None, "filters"])
@pytest.mark.parametrize(
    ("x", "w", "stride", "padding"),
    [
        ((8, 32, 27, 27), (64, 32, 3, 3), (2, 2), (1, 1)),
        ((3, 64, 7, 7), (64, 64, 3, 3), (2, 2), (1, 1)),
        ((2, 20, 5, 15), (4, 20, 5, 4), (2, 3), (1, 2)),
        ((2, 40, 13, 13), (24, 40, 3, 3), (3, 2), (0, 1)),
    ],
)
def test_strides_over_many_channels(x, w, stride, padding, way):
    rng = np.random.default_rng(0)
    settings = {"stride": stride, "padding": padding, "dilation": (1, 1), "groups": 1}
    images, weights = (rng.normal(size=shape).astype(np.float32) for shape in (x, w))
    g = rng.normal(size=REGISTRY["conv2d"].shape(x, w, **settings)).astype(np.float32)
    asked = {} if way is None else {"algorithm": way}
    found = (
        REGISTRY["conv2d_input"].forward(g, weights, size=x[2:], **settings, **asked),
        REGISTRY["conv2d_weight"].forward(g, images, window=w[2:], **settings, **asked),
        REGISTRY["conv2d"].forward(images, weights, **settings, **asked),
    )
    wide, exact = [a.astype(np.float64) for a in (g, images, weights)], {**settings, "algorithm": "im2col"}
    expected = (
        REGISTRY["conv2d_input"].forward(wide[0], wide[2], size=x[2:], **exact),
        REGISTRY["conv2d_weight"].forward(wide[0], wide[1], window=w[2:], **exact),
        REGISTRY["conv2d"].forward(wide[1], wide[2], **exact),
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def tiles_of_four(outputs, counts, step, dtype, machine):
    """Or of six, so that tiles of two phases of a stride need not end together."""
    return tuple(Block(min(2 + rows % 2, rows), min(2, columns), step, 4, 1, dtype.name) for rows, columns in counts)


@pytest.mark.parametrize(("filters", "height", "width"), [(3, 8, 6), (9, 5, 5), (3, 1, 9), (5, 12, 2), (3, 13, 3)])
@pytest.mark.parametrize(("stride", "band"), [(1, 1), (2, 1), (1, 1000), (2, 1000)])
def test_convolution_in_many_bands_and_blocks(filters, height, width, stride, band, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(conv_filters, "_BAND", band)  # one row of tiles, or a few
    monkeypatch.setattr(conv_filters, "_blocks_of_pixels", tiles_of_four)  # the last one overlaps the one before it
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=shape) for shape in ((2, 4, height, width), (2 * filters, 2, 2, 2), (2 * filters,)))
    geometry = conv.Geometry((stride, stride), (1, 0), (1, 1), 2)
    leaf = torch.from_numpy(x).requires_grad_()
    exact = torch.nn.functional.conv2d(leaf, torch.from_numpy(w), torch.from_numpy(b), *geometry)
    g, out, dx = rng.normal(size=exact.shape), np.empty(exact.shape), np.empty_like(x)
    with python_mode():
        conv.conv2d(out, x, w, b, geometry, "filters")
        conv.conv2d_input(dx, g, w, geometry, "filters")
    np.testing.assert_allclose(out, exact.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(dx, torch.autograd.grad(exact, leaf, torch.from_numpy(g))[0].numpy(), atol=1e-12)
