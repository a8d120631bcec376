"""Winograd's convolutions: the matrices exactly, micro-kernels and the three convolutions against plain numpy, accuracy."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.jit import get_num_threads, interpreted, kernel, python_mode
from minigrad.kernels import conv, conv_winograd, conv_winograd_weight, vector
from minigrad.kernels.frames import Geometry
from minigrad.kernels.lanes import Transpose
from minigrad.kernels.vector import run
from minigrad.kernels.vector_nested import Nested
from minigrad.kernels.winograd_matrices import LARGEST, SIZES, apply, product, transforms, transposed
from minigrad.kernels.winograd_tiles import regions

KINDS = [(n - r + 1, r) for n in SIZES for r in range(2, n)] + [(1, r) for r in (1, 3, 5)] + [(m, 1) for m in (2, 4)]

# ---------------------------------------------------------------------------------------------- matrices


@pytest.mark.parametrize(("outputs", "taps"), KINDS)
def test_the_matrices_are_a_convolution_exactly(outputs, taps):
    t = transforms(outputs, taps)
    for i, j, k in itertools.product(range(outputs), range(taps), range(outputs + taps - 1)):
        terms = (t.outputs[i][p] * t.taps[p][j] * t.inputs[p][k] for p in range(t.products))
        assert sum(terms) == (k == i + j)


def test_how_many_products_there_are_and_how_simple_the_numbers():
    assert [transforms(*kind).products for kind in ((2, 3), (4, 3), (2, 5), (6, 3), (4, 5), (1, 5), (4, 1))] == [
        4,
        7,
        7,
        10,
        10,
        5,
        4,
    ]
    for kind in KINDS:
        t = transforms(*kind)
        assert all(v.denominator == 1 and abs(v) <= 2 for row in t.inputs for v in row)
        assert all(abs(v) <= 1 and v.denominator == 1 for row in t.outputs for v in row)


@pytest.mark.parametrize(("outputs", "taps"), KINDS)
def test_common_sums_change_nothing(outputs, taps):
    for matrix in transforms(outputs, taps):
        for m in (matrix, transposed(matrix)):
            unit = [[Fraction(i == j) for j in range(len(m[0]))] for i in range(len(m[0]))]
            added, width = [], len(unit)

            def total(terms, added=added, width=width):
                added.append(len(terms))
                return [sum((c * v[i] for c, v in terms), Fraction(0)) for i in range(width)]

            found = apply(m, unit, total)
            assert tuple(map(tuple, found)) == product(m, tuple(map(tuple, unit)))
            assert sum(max(n - 1, 0) for n in added) <= sum(max(sum(map(bool, row)) - 1, 0) for row in m)


@pytest.mark.parametrize(("outputs", "taps", "most"), [(2, 3, 1.3), (4, 3, 1.36), (6, 3, 1.21), (2, 5, 1.38), (4, 5, 1.2)])
def test_how_much_rounding_grows(outputs, taps, most):
    """Each point's sum has a relative error of its own; how large they are together, where a direct sum has 1."""
    a, g, b = (np.array(m, float) for m in (transforms(outputs, taps)[i] for i in (2, 1, 0)))
    errors = (a * np.linalg.norm(g, axis=1) * np.linalg.norm(b, axis=1)) ** 2
    assert np.sqrt(errors.sum(1).mean() / taps) < most


# ---------------------------------------------------------------------------------------------- tiles


@given(st.tuples(*[st.integers(1, 300)] * 2), st.tuples(*[st.integers(1, LARGEST - 1)] * 2), st.integers(1, 70))
def test_regions_cover_each_output_once(size, window, batch):
    covered = np.zeros(size, int)
    for down, along in regions(size, window, batch):
        for axis, length in ((down, size[0]), (along, size[1])):
            assert axis.first + (axis.tiles - 1) * axis.step < length, "no tile lies wholly outside"
        rows, columns = (slice(a.first, a.first + a.step * a.tiles) for a in (down, along))
        covered[rows, columns] += 1
    assert (covered == 1).all()


# ---------------------------------------------------------------------------------------------- micro-kernels


@kernel
def once(micro, to, source, start, inner, count, rows, weights):
    run(micro, to, source, start, inner, count, rows, weights)


def both(micro, to, *rest):
    expected = to.copy()
    with python_mode():
        once(micro, expected, *rest)
    if micro.handle is not micro:
        once(micro.handle, to, *rest)
    exact = 1e-5 if to.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(to, expected, rtol=exact, atol=exact)
    return expected


compiled = pytest.mark.skipif(interpreted(), reason="nothing is compiled")


@compiled
@pytest.mark.parametrize(("lanes", "kind"), [(16, "float32"), (8, "float32"), (4, "float32"), (8, "float64"), (2, "float64")])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_compiled_nested_map_is_two_matrix_products(lanes, kind, shifted):
    rng = np.random.default_rng(lanes)
    down, across = transforms(2, 3).inputs, transforms(4, 3).outputs
    source, shift = rng.normal(size=9 * 600).astype(kind), rng.normal(size=3 * lanes).astype(kind)
    inner, rows = np.array([500, 3 * lanes, lanes]), np.array([300, 4 * lanes, lanes + 1])
    to = np.zeros(1800, kind)
    found = both(Nested(down, across, lanes, kind, shifted), to, source, 11, inner, 3, rows, shift)
    d, a = np.array(down, float), np.array(across, float)
    for v, lane in ((0, 0), (2, lanes - 1)):
        table = [[source[11 + i * 500 + j * 3 * lanes + v * lanes + lane] for j in range(7)] for i in range(4)]
        wanted = d @ np.array(table, float) @ a.T + (shift[v * lanes + lane] if shifted else 0)
        places = np.arange(4)[:, None] * 300 + np.arange(4) * 4 * lanes + v * (lanes + 1) + lane
        np.testing.assert_allclose(found[places][:, :3], wanted[:, :3], rtol=1e-4, atol=1e-5)


@compiled
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(16, "float32"), (4, "float32"), (8, "float64")]))
def test_a_matrix_is_turned(rows, columns, machine):
    lanes, kind = machine
    source, to = np.arange(3 + rows * 41, dtype=kind), np.full(columns * 43, -1, kind)
    inner = np.array([41, 43, columns])
    found = both(Transpose(lanes, kind), to, source, 3, inner, rows, inner, source)
    np.testing.assert_array_equal(found.reshape(columns, 43)[:, :rows], source[3:].reshape(rows, 41)[:, :columns].T)
    assert (found.reshape(columns, 43)[:, rows:] == -1).all()


# ---------------------------------------------------------------------------------------------- convolutions


def plain(x, w, padding, groups):
    """The convolution and both derivatives for a random cotangent, in float64."""
    x, w = x.astype(float), w.astype(float)
    framed = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    windows = np.lib.stride_tricks.sliding_window_view(framed, w.shape[2:], (2, 3))
    windows = windows.reshape(len(x), groups, -1, *windows.shape[2:])
    grouped = w.reshape(groups, -1, *w.shape[1:])
    out = np.einsum("ngcyxrs,gfcrs->ngfyx", windows, grouped, optimize=True)
    g = np.random.default_rng(1).normal(size=out.shape).astype(np.float32).astype(float)
    dw = np.einsum("ngcyxrs,ngfyx->gfcrs", windows, g, optimize=True).reshape(w.shape)
    spread = np.zeros(framed.shape).reshape(len(x), groups, -1, *framed.shape[2:])
    for r, s in np.ndindex(w.shape[2:]):
        part = np.einsum("ngfyx,gfc->ngcyx", g, grouped[..., r, s], optimize=True)
        spread[..., r : r + out.shape[3], s : s + out.shape[4]] += part
    spread = spread.reshape(framed.shape)
    dx = spread[:, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]]
    return out.reshape(len(x), len(w), *out.shape[3:]), g.reshape(len(x), len(w), *out.shape[3:]), dx, dw


def trio(x, w, padding, groups, kind=np.float64):
    """How far the three convolutions are from what they should be, and what they gave."""
    out, g, dx, dw = plain(x, w, padding, groups)
    geometry, bias = Geometry((1, 1), padding, (1, 1), groups), np.arange(len(w)).astype(kind)
    x, w, g = (a.astype(kind) for a in (x, w, g))
    found = [np.full(a.shape, np.nan, kind) for a in (out, dx, dw)]
    assert conv_winograd.forward(found[0], x, w, bias, geometry)
    assert conv_winograd.by_input(found[1], g, w, geometry)
    assert conv_winograd.by_weight(found[2], g, x, geometry)
    wanted = out + bias.astype(float)[:, None, None], dx, dw
    return [f - a for f, a in zip(found, wanted, strict=True)], found


@st.composite
def cases(draw):
    window = draw(st.tuples(*[st.sampled_from([1, 2, 3, 3, 4, 5, 6, 7])] * 2))
    padding = draw(st.tuples(*[st.integers(0, 4)] * 2))
    image = tuple(max(1, k - 2 * p) + draw(st.integers(0, 9)) for k, p in zip(window, padding, strict=True))
    groups, channels, filters = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return (draw(st.integers(1, 3)), channels * groups, *image), (filters * groups, channels, *window), padding, groups


@given(cases(), st.sampled_from([16, 4]))
def test_any_shape_in_plain_python(case, lanes):
    x, w, padding, groups = case
    rng = np.random.default_rng(0)
    with python_mode(), pytest.MonkeyPatch.context() as patch:
        for module in (conv_winograd, conv_winograd_weight):
            patch.setattr(module, "machine_lanes", lambda: lanes)
        errors, _ = trio(rng.normal(size=x), rng.normal(size=w), padding, groups)
    for error in errors:
        np.testing.assert_allclose(error, 0, atol=1e-12)


SHAPES = [
    ((2, 70, 13, 13), (70, 70, 3, 3), (1, 1), 1),  # several chunks and blocks with idle lanes, tiles of two sizes
    ((1, 6, 9, 5), (8, 3, 5, 5), (2, 2), 2),  # groups
    ((3, 5, 4, 150), (33, 5, 3, 3), (0, 3), 1),  # long rows, in pieces; padding wider than the window
    ((40, 3, 6, 6), (3, 3, 5, 5), (0, 0), 1),  # many chunks of tiles
]


@pytest.mark.parametrize(("x", "w", "padding", "groups"), SHAPES)
@pytest.mark.parametrize("lanes", [16, 8, 4])
def test_machines_with_other_vectors(x, w, padding, groups, lanes, monkeypatch):
    for module in (conv_winograd, conv_winograd_weight, vector):
        monkeypatch.setattr(module, "machine_lanes", lambda: lanes)
    rng = np.random.default_rng(0)
    errors, _ = trio(rng.normal(size=x), rng.normal(size=w), padding, groups)
    for error in errors:
        np.testing.assert_allclose(error, 0, atol=1e-11)


def test_sums_that_do_not_fit_the_cache_at_once(monkeypatch):
    monkeypatch.setattr(conv_winograd_weight, "_POINTS", (1, 1 << 16))
    monkeypatch.setattr(conv_winograd, "_READY", 0)
    conv_winograd_weight._by_weight.cache_clear()
    rng = np.random.default_rng(0)
    errors, _ = trio(rng.normal(size=(9, 20, 13, 8)), rng.normal(size=(17, 20, 3, 3)), (1, 1), 1)
    conv_winograd_weight._by_weight.cache_clear()
    for error in errors:
        np.testing.assert_allclose(error, 0, atol=1e-11)


def test_memory_with_gaps():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 8, 10, 9))[::2, :, :, ::-1], rng.normal(size=(3, 3, 4, 8)).transpose(2, 3, 0, 1)
    errors, _ = trio(x, w, (1, 1), 1)
    for error in errors:
        np.testing.assert_allclose(error, 0, atol=1e-12)


@pytest.mark.skipif(get_num_threads() < 2, reason="a single thread")
def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 33, 13, 13)), rng.normal(size=(65, 33, 3, 3))
    most = get_num_threads()
    found = {}
    try:
        for threads in (1, 2, 2):
            mg.set_num_threads(threads)
            mine = [a.tobytes() for a in trio(x, w, (1, 1), 1, np.float32)[1]]
            assert found.setdefault("bits", mine) == mine
    finally:
        mg.set_num_threads(most)


# ---------------------------------------------------------------------------------------------- accuracy, special numbers


@pytest.mark.parametrize(
    ("x", "w", "padding"), [((4, 256, 14, 14), (64, 256, 3, 3), 1), ((4, 48, 15, 15), (64, 48, 5, 5), 2)], ids=["3x3", "5x5"]
)
@pytest.mark.parametrize("rectified", [False, True])
def test_it_is_as_accurate_as_direct_sums(x, w, padding, rectified):
    """In units of the result's root mean square. PyTorch's float32 has 1.6e-7 to 3e-7 here, and by weight up to 1e-6."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=x), rng.normal(size=w)
    x = (np.maximum(x, 0) if rectified else x).astype(np.float32)
    w = w.astype(np.float32)
    errors, found = trio(x, w, (padding, padding), 1, np.float32)
    for error, result in zip(errors, found, strict=True):
        scale = np.sqrt((result.astype(float) ** 2).mean())
        assert np.sqrt((error**2).mean()) < 3e-7 * scale
        assert np.abs(error).max() < 2e-6 * scale


def special(name):
    """Images and weights of ones with one number among them that is not like the others."""
    x, w = np.ones((2, 4, 9, 9), np.float32), np.ones((4, 4, 3, 3), np.float32)
    if name == "denormal":
        return x * np.float32(1e-41), w
    where, value = name.split()
    (x if where == "image" else w)[1, 2, 1, 1] = {"inf": np.inf, "nan": np.nan, "huge": 3e38, "-inf": -np.inf}[value]
    return x, w


@pytest.mark.parametrize(
    "name", ["image inf", "image -inf", "image nan", "image huge", "weight inf", "weight nan", "weight huge", "denormal"]
)
def test_numbers_that_are_not_finite_stay_where_they_are(name):
    x, w = special(name)
    geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
    found = {}
    for way in ("winograd", "direct"):
        out, dx, dw = np.empty_like(x), np.empty_like(x), np.empty_like(w)
        with np.errstate(all="ignore"):  # as operations have it; kernels in plain Python are numpy's
            conv.conv2d(out, x, w, None, geometry, way)
            conv.conv2d_input(dx, x, w, geometry, way)
            conv.conv2d_weight(dw, x, x, geometry, way)
        found[way] = out, dx, dw
    for ours, direct in zip(found["winograd"], found["direct"], strict=True):
        np.testing.assert_allclose(ours, direct, rtol=1e-4, atol=1e-44)


@pytest.mark.parametrize(("x", "w"), [((0, 3, 8, 8), (4, 3, 3, 3)), ((2, 0, 8, 8), (4, 0, 3, 3)), ((2, 3, 8, 8), (0, 3, 3, 3))])
def test_nothing_to_sum(x, w):
    bias = mg.tensor(np.arange(w[0], dtype=np.float32))
    a, b = mg.zeros(*x, requires_grad=True), mg.zeros(*w, requires_grad=True)
    out = mg.conv2d(a, b, bias, padding=1, algorithm="winograd")
    out.sum().backward()
    np.testing.assert_array_equal(out.detach().numpy(), np.broadcast_to(bias.numpy()[:, None, None], (x[0], w[0], 8, 8)))
    assert not a.grad.numpy().any() and not b.grad.numpy().any()


# ---------------------------------------------------------------------------------------------- when it is chosen


def test_when_it_is_chosen():
    def chosen(kind, x, w, padding=1, stride=1, dilation=1, groups=1):
        geometry = Geometry((stride,) * 2, (padding,) * 2, (dilation,) * 2, groups)
        size = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x[2:], w[2:], strict=True)]
        return conv.choose(conv.task_of(kind, x, w, (x[0], w[0], *size), geometry)) == "winograd-channels"

    for kind in ("forward", "input", "weight"):
        assert chosen(kind, (8, 96, 27, 27), (256, 48, 5, 5), padding=2, groups=2)  # AlexNet
        assert chosen(kind, (64, 512, 7, 7), (512, 512, 3, 3))  # ResNet
        assert not chosen(kind, (32, 6, 14, 14), (16, 6, 5, 5), padding=0)  # LeNet
        assert not chosen(kind, (8, 64, 56, 56), (64, 64, 1, 1), padding=0)
        assert not chosen(kind, (8, 64, 56, 56), (64, 64, 3, 3), stride=2)
        assert not chosen(kind, (8, 64, 56, 56), (64, 64, 3, 3), dilation=2)
    with pytest.raises(ValueError, match="stride 1 and dilation 1"):
        mg.conv2d(mg.ones(1, 1, 8, 8), mg.ones(1, 1, 3, 3), stride=2, algorithm="winograd")
