"""Properties over random shapes and settings, and golden values of the field."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import make_tensor
from minigrad.errors import ShapeError
from minigrad.op import REGISTRY

seeds = st.integers(0, 2**32 - 1)


#: Around the widths of vectors, and of blocks of two: which tables and tiles are taken turns on these.
WIDE = st.sampled_from([1, 3, 6, 16, 17, 24, 32, 33, 64])


@st.composite
def convolutions(draw, wide=None):
    """Random input and weight shapes with settings that fit."""
    groups = draw(st.integers(1, 3))
    channels, filters = (groups * draw(st.integers(1, 2) if wide is None else wide) for _ in range(2))
    window, stride, dilation = ((draw(st.integers(1, 3)), draw(st.integers(1, 3))) for _ in range(3))
    padding = (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    size = (draw(st.integers(1, 7 if wide is None else 14)), draw(st.integers(1, 7 if wide is None else 14)))
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in zip(size, padding, dilation, window, strict=True)))
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (draw(st.integers(0, 3)), channels, *size), (filters, channels // groups, *window), settings


@given(convolutions(), seeds)
def test_convolution_is_the_written_out_sum(case, seed):
    x_shape, w_shape, settings = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    op = REGISTRY["conv2d"]
    np.testing.assert_allclose(op.forward(x, w, **settings), op.reference(x, w, **settings), atol=1e-12)


@given(convolutions(), seeds)
def test_the_three_convolutions_are_one_trilinear_form(case, seed):
    x_shape, w_shape, settings = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    out = REGISTRY["conv2d"].forward(x, w, **settings)
    g = rng.normal(size=out.shape)
    form = (out * g).sum()
    dx = REGISTRY["conv2d_input"].forward(g, w, size=x_shape[2:], **settings)
    dw = REGISTRY["conv2d_weight"].forward(g, x, window=w_shape[2:], **settings)
    np.testing.assert_allclose([(dx * x).sum(), (dw * w).sum()], [form, form], rtol=1e-9, atol=1e-9)


@given(convolutions(WIDE), seeds, st.sampled_from([np.float32, np.float64]))
def test_convolutions_of_many_channels_are_the_matrix_products_of_their_columns(case, seed, kind):
    """Whatever is chosen for them; products of columns in float64 are taken by BLAS, and share no kernel with the others."""
    x_shape, w_shape, settings = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape).astype(kind), rng.normal(size=w_shape).astype(kind)
    g = rng.normal(size=REGISTRY["conv2d"].shape(x_shape, w_shape, **settings)).astype(kind)
    columns = {**settings, "algorithm": "im2col"}
    for name, arrays, length in (
        ("conv2d", (x, w), {}),
        ("conv2d_input", (g, w), {"size": x_shape[2:]}),
        ("conv2d_weight", (g, x), {"window": w_shape[2:]}),
    ):
        exact = REGISTRY[name].forward(*(a.astype(np.float64) for a in arrays), **length, **columns)
        close = {"rtol": 1e-4, "atol": 5e-4} if kind is np.float32 else {"rtol": 1e-10, "atol": 1e-10}
        np.testing.assert_allclose(REGISTRY[name].forward(*arrays, **length, **settings), exact, **close)


@given(convolutions(), seeds)
def test_convolution_does_not_depend_on_the_number_of_threads_but_for_the_weights_rounding(case, seed):
    x_shape, w_shape, settings = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    most = mg.get_num_threads()
    results = []
    for threads in {1, most}:
        mg.set_num_threads(threads)
        out = REGISTRY["conv2d"].forward(x, w, **settings)
        dx = REGISTRY["conv2d_input"].forward(out, w, size=x_shape[2:], **settings)
        results.append((out, dx, REGISTRY["conv2d_weight"].forward(out, x, window=w_shape[2:], **settings)))
    for one, other in zip(results[0][:2], results[-1][:2], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(results[0][2], results[-1][2], rtol=1e-9, atol=1e-10)


@given(st.data(), seeds)
def test_max_pool_takes_from_where_it_says(data, seed):
    kernel, stride = ((data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))) for _ in range(2))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = (data.draw(st.integers(3, 8)), data.draw(st.integers(3, 8)))
    x = np.random.default_rng(seed).normal(size=(2, 2, *size))
    ceil = data.draw(st.booleans())
    out, at = mg.max_pool2d(make_tensor(x), kernel, stride, padding, ceil_mode=ceil, return_indices=True)
    flat = x.reshape(2, 2, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, at.array.reshape(2, 2, -1), 2).reshape(out.shape), out.array)
    settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": (1, 1), "ceil_mode": ceil}
    np.testing.assert_array_equal(REGISTRY["max_pool2d"].reference(x, **settings)[0], out.array)


shapes = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=3).map(tuple)


@given(shapes, shapes, seeds)
def test_broadcasting_is_numpys_and_gradients_come_back_in_shape(a, b, seed):
    rng = np.random.default_rng(seed)
    x, y = (mg.tensor(np.asarray(rng.normal(size=s)), requires_grad=True) for s in (a, b))
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="broadcast"):
            x * y
        return
    out = x * y
    assert out.shape == expected
    g = np.asarray(rng.normal(size=expected))
    out.backward(g)
    assert x.grad.shape == a and y.grad.shape == b
    np.testing.assert_allclose((x.grad.array * x.array).sum(), (g * out.array).sum(), atol=1e-12)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8), st.floats(-1e4, 1e4))
def test_softmax_does_not_see_a_shift_and_sums_to_one(values, shift):
    x = np.array(values)
    p = mg.softmax(make_tensor(x), 0).array
    np.testing.assert_allclose(p.sum(), 1)
    np.testing.assert_allclose(mg.softmax(make_tensor(x + shift), 0).array, p, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.exp(mg.log_softmax(make_tensor(x), 0).array), p, rtol=1e-9, atol=1e-300)


@given(st.integers(2, 6), st.integers(2, 5), seeds)
def test_cross_entropy_is_the_nll_of_the_log_softmax(n, classes, seed):
    rng = np.random.default_rng(seed)
    logits = mg.tensor(rng.normal(size=(n, classes)) * 5, requires_grad=True)
    target = make_tensor(rng.integers(0, classes, n))
    weight = make_tensor(rng.uniform(0.5, 2, classes))
    one = mg.cross_entropy(logits, target, weight)
    other = mg.nll_loss(mg.log_softmax(logits, 1), target, weight)
    np.testing.assert_allclose(one.item(), other.item(), rtol=1e-12)
    a, b = mg.grad(one, logits)[0], mg.grad(other, logits)[0]
    np.testing.assert_allclose(a.array, b.array, atol=1e-12)


@given(seeds)
def test_a_probability_target_that_is_one_hot_is_a_class(seed):
    rng = np.random.default_rng(seed)
    logits, target = make_tensor(rng.normal(size=(4, 3))), rng.integers(0, 3, 4)
    soft = make_tensor(np.eye(3)[target])
    for smoothing in (0.0, 0.1):
        a = mg.cross_entropy(logits, make_tensor(target), label_smoothing=smoothing)
        b = mg.cross_entropy(logits, soft, label_smoothing=smoothing)
        np.testing.assert_allclose(a.item(), b.item(), rtol=1e-12)


# ------------------------------------------------------------------------------------------------ golden values


def convolved(a, b):
    """Convolution proper, full: the window turned round."""
    a, b = np.array(a, float), np.array(b, float)
    padding = [n - 1 for n in b.shape]
    x, w = mg.tensor(a[None, None]), mg.tensor(np.flip(b).copy()[None, None])
    return mg.conv2d(x, w, padding=padding).array[0, 0]


def test_convolution_of_two_sequences():
    np.testing.assert_array_equal(convolved([[2, -1, 1]], [[1, 1, 2]]), [[2, 1, 4, -1, 2]])


def test_full_convolution_of_two_matrices_commutes():
    a, b = [[1, 3, 1], [0, -1, 1], [2, 2, -1]], [[1, 2], [0, -1]]
    expected = [[1, 5, 7, 2], [0, -2, -4, 1], [2, 6, 4, -3], [0, -2, -2, 1]]
    np.testing.assert_array_equal(convolved(a, b), expected)
    np.testing.assert_array_equal(convolved(b, a), expected)


@pytest.mark.parametrize("stride, padding, size", [(1, 0, 5), (2, 0, 3), (1, 1, 7)])
def test_output_sizes_of_the_lecture(stride, padding, size):
    out = mg.conv2d(mg.zeros(1, 1, 7, 7), mg.zeros(1, 1, 3, 3), stride=stride, padding=padding)
    assert out.shape == (1, 1, size, size)


def test_local_response_normalisation_with_the_papers_constants():
    a = np.random.default_rng(0).normal(size=(1, 8, 1, 1)) * 30
    out = mg.local_response_norm(mg.tensor(a), 5, alpha=5e-4, beta=0.75, k=2).array.ravel()
    a = a.ravel()
    for i in range(8):
        near = a[max(0, i - 2) : i + 3]
        np.testing.assert_allclose(out[i], a[i] / (2 + 1e-4 * (near**2).sum()) ** 0.75)


def test_nan_passes_through_max_pool_and_relu():
    x = mg.tensor([[[[1.0, np.nan], [3.0, 4.0]]]])
    assert np.isnan(mg.max_pool2d(x, 2).item())
    assert np.isnan(mg.relu(mg.tensor([np.nan])).item())


def test_a_pooling_window_whose_taps_all_miss_the_image():
    x = mg.tensor([[[[1.0, 2.0]]]], requires_grad=True)
    out = mg.max_pool2d(x, (1, 2), stride=1, padding=(0, 1), dilation=(1, 3))
    assert out.tolist() == [[[[-np.inf]]]]
    out.backward(mg.ones(1, 1, 1, 1))
    assert x.grad.tolist() == [[[[0.0, 0.0]]]]


def test_equality_with_something_else_is_left_to_it():
    assert (mg.ones(2) == "two") is False and (mg.ones(2) != None) is True  # noqa: E711


def test_duplicate_indices_add_up():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 0, 2, 0]].sum().backward()
    assert x.grad.tolist() == [3.0, 0.0, 1.0]


def test_batch_norm_moves_its_running_statistics():
    x = np.random.default_rng(0).normal(2, 3, size=(8, 2, 5))
    mean, var = mg.zeros(2, dtype=mg.float64), mg.ones(2, dtype=mg.float64)
    out = mg.batch_norm(mg.tensor(x), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(out.array.mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(mean.array, 0.25 * x.mean(axis=(0, 2)))
    np.testing.assert_allclose(var.array, 0.75 + 0.25 * x.var(axis=(0, 2), ddof=1))
    after = mg.batch_norm(mg.tensor(x), mean, var).array
    np.testing.assert_allclose(after, (x - mean.array[:, None]) / np.sqrt(var.array[:, None] + 1e-5))


def test_prelu_gradient_into_its_slope():
    x = mg.tensor([[-1.0, 2.0], [-3.0, -4.0]], requires_grad=True)
    a = mg.tensor([0.1, 0.2], requires_grad=True)
    mg.prelu(x, a).backward(mg.tensor([[1.0, 1.0], [2.0, 3.0]]))
    np.testing.assert_allclose(a.grad.array, [-1 * 1 + -3 * 2, -4 * 3])  # the sum of x * g where x <= 0
    np.testing.assert_allclose(x.grad.array, [[0.1, 1.0], [0.2, 0.6]], rtol=1e-6)
