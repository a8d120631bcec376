"""What kernels share: memory, matrix products, scalar functions, both ways to convolve, beside plain numpy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.jit import Kernel, kernel, python_mode
from minigrad.kernels import blas, conv, memory, skinny, vector
from minigrad.kernels.frames import Geometry
from minigrad.kernels.vector import copy_row
from minigrad.zoo.lenet import lenet

FLOAT = np.dtype(np.float32)


# ---------------------------------------------------------------------------------------------- memory


def address(array):
    return array.__array_interface__["data"][0]


def test_a_block_comes_back_when_the_last_view_is_gone():
    memory.release()
    first = memory.empty((300, 300), FLOAT)
    place, view = address(first), first[5:].T
    del first
    second = memory.empty((300, 300), FLOAT)
    assert address(second) != place, "a view still sees it"
    del view
    third = memory.empty((290, 300), FLOAT)  # a little smaller: of the same class
    assert address(third) == place
    assert address(second) != address(third)
    for _ in range(5):  # not only once
        del third
        third = memory.empty((300, 300), FLOAT)
        assert address(third) == place


def test_what_is_made_of_a_lease_does_no_harm():
    memory.release()
    array = memory.empty((300, 300), FLOAT)
    others = [array.base.copy(), array.base[:8], array.base.view(type(array.base))]
    assert memory._free == {}
    del array
    assert memory._free == {}, "views of it still see the block"
    del others
    assert [len(blocks) for blocks in memory._free.values()] == [1]
    again = memory.empty((300, 300), FLOAT)
    assert address(again) % 64 == 0 and memory.owns_memory(again)


def test_blocks_are_aligned_and_owned():
    for shape in ((3,), (300, 300), (1 << 20,)):
        array = memory.empty(shape, FLOAT)
        assert array.shape == shape and array.flags.c_contiguous and array.flags.writeable
        assert memory.owns_memory(array) and not memory.owns_memory(array[1:])
    assert address(array) % 64 == 0


def test_free_blocks_are_few():
    memory.release()
    kept = [memory.empty((1 << 22,), FLOAT) for _ in range(9)]
    del kept
    free = sum(block.size for blocks in memory._free.values() for block in blocks)
    assert 0 < free <= 2 * memory._KEPT


def test_a_gradient_of_reused_memory_is_the_leafs_own():
    x = mg.tensor(np.ones((300, 300), np.float32), requires_grad=True)
    F.relu(x).sum().backward()
    before = x.grad.array.copy()
    for _ in range(3):
        F.relu(mg.tensor(np.full((300, 300), 7, np.float32)))
    np.testing.assert_array_equal(x.grad.array, before)


# ---------------------------------------------------------------------------------------------- matrix products


def matrices(rows, inner, columns, turn_a, turn_b, kind):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(inner, rows)).astype(kind).T if turn_a else rng.normal(size=(rows, inner)).astype(kind)
    b = rng.normal(size=(columns, inner)).astype(kind).T if turn_b else rng.normal(size=(inner, columns)).astype(kind)
    return a, b


@given(st.integers(0, 40), st.integers(0, 9), st.integers(0, 40), st.booleans(), st.booleans(), st.sampled_from("fd"))
def test_matrix_products_in_parts(rows, inner, columns, turn_a, turn_b, kind):
    a, b = matrices(rows, inner, columns, turn_a, turn_b, kind)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SPLIT_FROM", "_PLAIN_BELOW"):
            patch.setattr(blas, name, 1)
        patch.setattr(blas, "get_num_threads", lambda: 3)
        found = blas.matmul(a, b)
    assert found.dtype == kind
    np.testing.assert_allclose(found, np.einsum("ik,kj->ij", a, b), rtol=1e-4 if kind == "f" else 1e-12, atol=1e-5)


def test_parts_of_a_matrix_are_products_too():
    a, b = matrices(40, 30, 50, False, False, "f")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SPLIT_FROM", "_PLAIN_BELOW"):
            patch.setattr(blas, name, 1)
        found = blas.matmul(a[::2, 3:20], b[3:20, 1::3])
    np.testing.assert_allclose(found, a[::2, 3:20] @ b[3:20, 1::3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize(
    ("rows", "columns", "turn_a", "turn_b"), [(37, 61, False, True), (61, 37, True, False), (2, 50, False, False)]
)
def test_a_product_that_is_not_large_is_cut_into_small_ones(rows, columns, turn_a, turn_b, kind, monkeypatch):
    a, b = matrices(rows, 25, columns, turn_a, turn_b, kind)
    for name, value in (
        ("_SPLIT_FROM", 1),
        ("_PLAIN_BELOW", 1),
        ("_SMALL", 4000),
        ("_FEW", 300),
        ("_LONG", 25),
        ("machine_lanes", lambda: 16),
    ):
        monkeypatch.setattr(blas, name, value)
    blas._cuts.cache_clear()
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == "f" else {"rtol": 1e-12, "atol": 1e-13}
    try:
        exact = np.einsum("ik,kj->ij", a.astype(float), b.astype(float))
        cuts = blas._cuts(rows, 25, columns, turn_a, turn_b, 2)[0]
        assert len(cuts) > 3 or rows * columns < 4000
        assert cuts[0] == 0 and cuts[-1] == max(rows, columns) and (np.diff(cuts) > 0).all()
        np.testing.assert_allclose(blas.matmul(a, b), exact, **close)
        with python_mode():
            np.testing.assert_allclose(blas.matmul(a, b), exact, **close)
    finally:
        blas._cuts.cache_clear()


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("few", [2, 5, 8, 12])
@pytest.mark.parametrize(("count", "length"), [(33, 96), (45, 1600), (600, 64)])
def test_a_few_rows_against_a_large_matrix(few, count, length, lanes, monkeypatch):
    monkeypatch.setattr(skinny, "_LARGE", 0)
    monkeypatch.setattr(blas, "_PLAIN_BELOW", 0)
    for module in (skinny, vector):
        monkeypatch.setattr(module, "machine_lanes", lambda: lanes)
    for kind in ("f", "d"):
        rng = np.random.default_rng(few)
        x, w, g = (rng.normal(size=shape).astype(kind) for shape in ((few, length), (count, length), (few, count)))
        assert skinny.fits(few, w.shape, w.itemsize)
        close = {"rtol": 1e-4, "atol": 1e-4} if kind == "f" else {"rtol": 1e-11, "atol": 1e-11}
        np.testing.assert_allclose(blas.matmul(x, w.T), np.einsum("mk,nk->mn", x, w), **close)
        np.testing.assert_allclose(blas.matmul(g, w), np.einsum("mn,nk->mk", g, w), **close)
        np.testing.assert_allclose(blas.matmul(g.T, x), np.einsum("mn,mk->nk", g, x), **close)


def test_a_product_in_parts_is_silent_about_nan_as_one_in_whole_is():
    rows = np.full((400, 200), np.inf, np.float32)
    assert (mg.tensor(rows) @ mg.tensor(np.zeros((200, 100), np.float32))).isnan().all().item()


# ---------------------------------------------------------------------------------------------- windows and rows


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_windows_of_four_are_pooled_as_the_definition_says(height, width, seed, kind):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-np.inf, -1, 0, 1, 2, np.nan], kind), (2, height, width))
    out, places = F.max_pool2d(mg.tensor(x), 2, return_indices=True)
    for n, y, column in np.ndindex(*out.shape):
        window = x[n, 2 * y : 2 * y + 2, 2 * column : 2 * column + 2]
        dy, dx = divmod(int(np.argmax(window)), 2)  # the first of a tie, and of several NaN
        assert places.array[n, y, column] == (2 * y + dy) * width + 2 * column + dx
        np.testing.assert_array_equal(out.array[n, y, column], window[dy, dx])


@kernel
def _copied(to, at, source, start, count, plus):
    copy_row(to, at, source, start, count, plus)


@given(st.integers(0, 70), st.integers(0, 3), st.integers(0, 5), st.sampled_from([np.float32, np.float64]))
def test_rows_of_any_length_are_copied(count, at, start, kind):
    source, expected = np.arange(80, dtype=kind), np.full(80, -1, kind)
    found = expected.copy()
    with python_mode():
        _copied(expected, at, source, start, count, kind(2))
    _copied(found, at, source, start, count, kind(2))
    np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------------------------------------- convolution


@st.composite
def convolutions(draw):
    groups, channels, filters = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 5)), draw(st.integers(1, 20))
    window = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation, padding = draw(st.tuples(*[st.integers(1, 2)] * 2)), draw(st.tuples(*[st.integers(0, 2)] * 2))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, window, padding, strict=True)]
    image = [n + draw(st.integers(0, 20)) for n in least]
    x = (draw(st.integers(1, 5)), channels * groups, *image)
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
    return x, (filters * groups, channels, *window), Geometry(stride, padding, dilation, groups)


@given(convolutions(), st.sampled_from(conv.ALGORITHMS), st.sampled_from([np.float32, np.float64]))
def test_all_ways_to_convolve(case, way, kind):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, geometry = case
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=shape) for shape in (x_shape, w_shape, w_shape[:1]))
    tx, tw = (torch.from_numpy(a).requires_grad_() for a in (x, w))
    expected = torch.nn.functional.conv2d(tx, tw, torch.from_numpy(b), *geometry)
    g = rng.normal(size=expected.shape)
    by_x, by_w = torch.autograd.grad(expected, (tx, tw), torch.from_numpy(g))
    out, dx, dw = np.empty(g.shape, kind), np.empty(x_shape, kind), np.empty(w_shape, kind)
    x, w, b, g = (a.astype(kind) for a in (x, w, b, g))
    conv.conv2d(out, x, w, b, geometry, way)
    conv.conv2d_input(dx, g, w, geometry, way)
    conv.conv2d_weight(dw, g, x, geometry, way)
    exact = 1e-4 if kind is np.float32 else 1e-11
    for found, wanted in ((out, expected.detach()), (dx, by_x), (dw, by_w)):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=exact, atol=exact * 10)


@np.errstate(all="ignore")  # operations switch numpy's warnings off, which plain Python would give
def test_infinite_pixels_reach_only_the_taps_that_see_them():
    x, g = np.ones((1, 1, 5, 6), np.float32), np.ones((1, 1, 3, 4), np.float32)
    x[0, 0, 0, 0] = np.inf  # seen by the first tap alone
    found = {}
    for way in conv.ALGORITHMS:
        found[way] = np.empty((1, 1, 3, 3), np.float32)
        conv.conv2d_weight(found[way], g, x, Geometry((1, 1), (0, 0), (1, 1), 1), way)
    expected = np.full((1, 1, 3, 3), 12, np.float32)
    expected[0, 0, 0, 0] = np.inf
    for way in conv.ALGORITHMS:
        np.testing.assert_array_equal(found[way], expected)


@np.errstate(all="ignore")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_only_what_sees_it(bad):
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 2, 7, 6), (3, 2, 3, 2), (2, 3, 5, 5)))
    x[1, 0, 2, 3] = g[0, 2, 4, 1] = bad
    geometry, found = Geometry((1, 1), (0, 0), (1, 1), 1), {}
    for way in conv.ALGORITHMS:
        out, dx = np.empty_like(g), np.empty_like(x)
        conv.conv2d(out, x, w, None, geometry, way)
        conv.conv2d_input(dx, g, w, geometry, way)
        found[way] = out, dx
    seen, from_ = np.zeros(g.shape, bool), np.zeros(x.shape, bool)
    seen[1, :, :3, 2:4] = from_[0, :, 4:7, 1:3] = True
    for out, dx in found.values():
        np.testing.assert_array_equal(np.isfinite(out), ~seen)
        np.testing.assert_array_equal(np.isfinite(dx), ~from_)


def test_columns_are_taken_where_they_pay():
    strided, plain = Geometry((2, 2), (0, 0), (1, 1), 1), Geometry((1, 1), (0, 0), (1, 1), 1)
    for kind in ("forward", "input", "weight"):
        assert conv.choose(conv.task_of(kind, (8, 64, 56, 56), (128, 64, 1, 1), (8, 128, 28, 28), strided)) == "im2col"
        assert conv.choose(conv.task_of(kind, (8, 64, 56, 56), (128, 64, 1, 1), (8, 128, 56, 56), plain)) != "im2col"
    apart = Geometry((4, 4), (0, 0), (1, 1), 1)
    ways = [
        conv.choose(conv.task_of(k, (1, 3, 227, 227), (96, 3, 11, 11), (1, 96, 55, 55), apart)) for k in ("forward", "input")
    ]
    assert ways[0] != "im2col" and ways[1] == "im2col"


@pytest.mark.parametrize(
    ("x", "w", "stride", "padding"),
    [
        ((64, 6, 14, 14), (16, 6, 5, 5), 1, 0),
        ((32, 1, 28, 28), (6, 1, 5, 5), 1, 2),
        ((2, 3, 99, 99), (32, 3, 11, 11), 4, 0),
        ((4, 64, 28, 28), (64, 64, 3, 3), 1, 1),
        ((4, 64, 28, 28), (64, 64, 3, 3), 2, 1),
        ((4, 128, 13, 13), (96, 128, 3, 3), 1, 1),
        ((4, 32, 28, 28), (64, 32, 1, 1), 2, 0),
    ],
)
def test_a_weights_gradient_is_no_less_accurate_than_pytorchs(x, w, stride, padding):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    geometry = Geometry((stride, stride), (padding, padding), (1, 1), 1)
    image, weight = torch.from_numpy(rng.normal(size=x).astype(np.float32)), torch.zeros(w, requires_grad=True)
    out = torch.nn.functional.conv2d(image, weight, None, stride, padding)
    g = torch.from_numpy(rng.normal(size=out.shape).astype(np.float32))
    theirs = torch.autograd.grad(out, weight, g)[0].numpy()
    wide = weight.detach().double().requires_grad_()
    exact = torch.autograd.grad(torch.nn.functional.conv2d(image.double(), wide, None, stride, padding), wide, g.double())[0]
    task = conv.task_of("weight", x, w, tuple(out.shape), geometry)
    threads = mg.get_num_threads()
    try:
        for count, way in itertools.product({1, threads}, (None, *conv.ALGORITHMS)):
            if way is not None and conv.limits(way, task):
                continue
            mg.set_num_threads(count)  # of one thread alone chains of sums are longest
            ours = np.empty_like(theirs)
            conv.conv2d_weight(ours, g.numpy(), image.numpy(), geometry, way)
            worst = np.linalg.norm(theirs - exact.numpy()) * (1.05 if way is None else 1.5)
            assert np.linalg.norm(ours - exact.numpy()) <= worst, (way, count)
    finally:
        mg.set_num_threads(threads)


def test_an_algorithm_can_be_chosen():
    x, w = mg.randn(2, 3, 6, 6), mg.randn(4, 3, 3, 3).requires_grad_()
    for way in conv.ALGORITHMS:
        out = F.conv2d(x, w, algorithm=way)
        np.testing.assert_allclose(out.detach().numpy(), F.conv2d(x, w).detach().numpy(), rtol=1e-5, atol=1e-5)
        out.sum().backward()
    with pytest.raises(ValueError, match="there are 'direct', "):
        F.conv2d(x, w, algorithm="quick")
    with pytest.raises(ValueError, match="stride"):
        F.conv2d(x, w, stride=2, algorithm="pixels")


def test_one_thread_and_several_give_the_same_bits(monkeypatch):
    """What is shared out follows from shapes and the number of threads, and not from who does it."""
    mg.manual_seed(0)
    model = lenet()
    x, y = mg.randn(32, 1, 28, 28), mg.tensor(np.arange(32) % 10)

    def gradients():
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        return [p.grad.array.copy() for p in model.parameters()]

    several = gradients()
    monkeypatch.setattr(Kernel, "__call__", Kernel.serial)
    for one, other in zip(gradients(), several, strict=True):
        np.testing.assert_array_equal(one, other)
