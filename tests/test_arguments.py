"""Arguments at the edge: types that don't fit, numbers from numpy, nothing to choose from, and half precision."""

import re

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad.errors import GradientError, ShapeError

_IMAGE = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)


# ------------------------------------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("conv2d", lambda x: F.conv2d(x, mg.ones(1, 1, 2, 2))),
        ("conv1d", lambda x: F.conv1d(x[0], mg.ones(1, 4, 2))),
        ("linear", lambda x: F.linear(x, mg.ones(2, 4))),
        ("avg_pool2d", lambda x: F.avg_pool2d(x, 2)),
        ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 2)),
        ("batch_norm", lambda x: F.batch_norm(x, None, None, training=True)),
        ("local_response_norm", lambda x: F.local_response_norm(x, 2)),
    ],
)
def test_integers_are_not_rounded_in_silence(name, call):
    with pytest.raises(TypeError, match=rf"{name}: input uint8.*expected floating point"):
        call(mg.tensor(_IMAGE))
    call(mg.tensor(_IMAGE).float())


def test_weights_of_another_type_are_named():
    with pytest.raises(TypeError, match="conv2d: input float64, weight float32"):
        F.conv2d(mg.ones(1, 1, 3, 3, dtype="float64"), mg.ones(1, 1, 2, 2))


_HALF = {
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "elu": F.elu,
    "maxout": F.maxout,
    "conv2d": lambda x: F.conv2d(x, mg.ones(1, 2, 2, 2, dtype="float16")),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "local_response_norm": lambda x: F.local_response_norm(x, 2),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "cross_entropy": lambda x: F.cross_entropy(x, mg.zeros(1, 3, 3, dtype="int64")),
}


@pytest.mark.parametrize("name", list(_HALF))
def test_half_precision_is_single_precision_rounded(name):
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3)).astype(np.float16)
    half = mg.tensor(x, requires_grad=True)
    y = _HALF[name](half)
    y.sum().backward()
    assert y.dtype == half.grad.dtype == np.float16
    if name not in ("conv2d",):  # its weight is half too
        single = mg.tensor(x.astype(np.float32), requires_grad=True)
        wide = _HALF[name](single)
        wide.sum().backward()
        assert np.array_equal(y.array, wide.array.astype(np.float16))
        np.testing.assert_allclose(half.grad.array, single.grad.array, rtol=2e-3, atol=2e-3)


def test_a_mean_of_many_halves_does_not_overflow():
    assert mg.ones(70_000, dtype="float16").mean().item() == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.bool_, np.int64])
def test_integers_are_summed_as_int64(dtype):
    x = mg.tensor(np.ones(300, dtype))
    assert x.sum().item() == 300 and x.sum().dtype == x.prod().dtype == np.int64


def test_bits_of_integers_and_logic_of_booleans():
    a, b = mg.tensor([6, 1]), mg.tensor([True, False])
    assert (
        (a & 3).tolist() == [2, 1] and (1 | a).tolist() == [7, 1] and (a ^ a).tolist() == [0, 0] and (~a).tolist() == [-7, -2]
    )
    for result, expected in ((b & True, [True, False]), (b | b, [True, False]), (b ^ True, [False, True]), (~b, [False, True])):
        assert result.tolist() == expected and result.dtype == np.bool_
    with pytest.raises(TypeError, match="bitwise_and"):
        mg.tensor([1.0]) & 1


def test_a_number_too_large_for_a_narrow_type():
    x = mg.tensor(np.array([1, 255], np.uint8))
    assert (x == -100).tolist() == [False, False] and (x + 300).tolist() == [301, 555] and (x + 0).dtype == np.uint8


def test_from_numpy_takes_arrays_only():
    with pytest.raises(TypeError, match="from_numpy: a list given"):
        mg.from_numpy([1, 2])


def test_a_gradient_of_another_shape_never_reaches_an_optimiser():
    p = mg.ones(100_000, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    with pytest.raises(ShapeError, match=r"gradient of shape \[1\] for a tensor of shape \[100000\]"):
        p.grad = mg.ones(1)
    with pytest.raises(TypeError, match="grad: a ndarray assigned"):
        p.grad = np.ones(100_000)
    optimizer.step()
    assert (p.array == 1).all()


# ------------------------------------------------------------------------------------------------ numbers from numpy


def test_whole_numbers_of_numpy_serve_as_arguments():
    two, x = np.int64(2), mg.ones(1, 2, 4, 4)
    assert F.max_pool2d(x, two).shape == (1, 2, 2, 2)
    assert F.conv2d(x, mg.ones(1, 2, 2, 2), stride=two).shape == (1, 1, 2, 2)
    assert F.conv1d(x[0], mg.ones(1, 4, 2), stride=two).shape == (2, 1, 2)
    assert F.adaptive_avg_pool2d(x, two).shape == (1, 2, 2, 2)
    assert x.sum(two).shape == (1, 2, 4) and x.squeeze(np.int64(0)).shape == (2, 4, 4)
    assert [part.shape for part in x.split(two, two)] == [(1, 2, 2, 4)] * 2


@pytest.mark.parametrize("size", [2.5, (1.5, 1)])
def test_fractions_are_not_cut_to_whole_numbers(size):
    with pytest.raises(TypeError, match=re.escape(f"max_pool2d kernel_size: whole numbers expected, one or two, got {size}")):
        F.max_pool2d(mg.ones(1, 1, 4, 4), size)
    with pytest.raises(TypeError):
        mg.zeros(2.7, 3)


# ------------------------------------------------------------------------------------------------ none, nothing, no axis


def test_no_dim_means_all():
    x = mg.ones(2, 3)
    assert x.sum(()).item() == x.sum(dim=[]).item() == 6.0


def test_the_extreme_along_an_axis_of_an_empty_tensor():
    values, indices = mg.zeros(0, 3).max(1)
    assert values.shape == indices.shape == (0,) and mg.zeros(0, 3).argmin(1, keepdim=True).shape == (0, 1)
    for dim in (0, None):
        with pytest.raises(ShapeError, match="no elements to choose from"):
            mg.zeros(0, 3).argmax(dim)


def test_pieces_of_nothing():
    assert [part.shape for part in mg.zeros(0, 3).chunk(2)] == [(0, 3)] * 2
    assert [part.shape for part in mg.zeros(0, 3).split(2)] == [(0, 3)]
    for wrong in (lambda x: x.split(0), lambda x: x.chunk(0)):
        with pytest.raises(ValueError, match="expected 1 or more"):
            wrong(mg.zeros(2, 3))
    with pytest.raises(ShapeError, match="chunk: dim 5"):
        mg.zeros(2, 3).chunk(2, 5)


def test_a_tensor_without_axes():
    x = mg.tensor(1.5)
    assert F.softmax(x, 0).item() == 1.0 and F.log_softmax(x, -1).item() == 0.0
    for wrong, error in (
        (lambda: list(x), TypeError),
        (lambda: x.split(1), ShapeError),
        (lambda: mg.cat([x, x]), ShapeError),
        (lambda: F.maxout(x), ShapeError),
    ):
        with pytest.raises(error, match="without axes"):
            wrong()


def test_max_and_min_of_two_tensors():
    a, b = mg.tensor([1.0, 3.0]), mg.tensor([2.0, 2.0])
    assert mg.max(a, b).tolist() == [2.0, 3.0] and mg.min(a, b).tolist() == [1.0, 2.0]


def test_randint_from_zero():
    assert set(mg.randint(2, (100,)).tolist()) == {0, 1}


# ------------------------------------------------------------------------------------------------ messages and values


@pytest.mark.parametrize("index", [mg.tensor([-1]), mg.tensor([3])])
def test_places_outside_are_named(index):
    for call in (lambda: mg.gather(mg.zeros(3), 0, index), lambda: mg.scatter_add(mg.zeros(3), 0, index, mg.ones(1))):
        with pytest.raises(IndexError, match="dim 0 has length 3"):
            call()


def test_conv1d_speaks_of_itself():
    with pytest.raises(ShapeError, match=r"conv1d: input \[1, 2, 5\].*weight \[3, 4, 3\].*must have 4 channels"):
        F.conv1d(mg.ones(1, 2, 5), mg.ones(3, 4, 3))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_looks_at_the_running_statistics_too(training):
    with pytest.raises(ShapeError, match=r"a vector of shape \[3\] over the 1 channels"):
        F.batch_norm(mg.randn(4, 1), mg.zeros(3), mg.ones(3), training=training)


@pytest.mark.parametrize("size", [(1, 2, 3), ()])
def test_adaptive_pooling_names_a_wrong_size(size):
    with pytest.raises(ShapeError, match=r"adaptive_avg_pool2d.*one number or two"):
        F.adaptive_avg_pool2d(mg.ones(1, 1, 4, 4), size)


def test_the_deviation_of_equal_numbers_has_a_gradient():
    x = mg.ones(3, requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("p", "expected"), [(0, 2.0), (float("inf"), 2.0), (-float("inf"), 0.0)])
def test_norms_at_the_ends(p, expected):
    assert mg.tensor([1.0, -2.0, 0.0]).norm(p).item() == expected


# ------------------------------------------------------------------------------------------------ infinities, ties, in place


def test_relu_of_minus_infinity_is_zero_and_shuts_out_any_gradient():
    x = mg.tensor([-np.inf, -1.0, np.nan, np.inf], requires_grad=True)
    y = F.relu(x)
    y.backward(mg.tensor([np.inf, -np.inf, 1.0, 2.0]))
    np.testing.assert_array_equal(y.array, [0, 0, np.nan, np.inf])
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 2.0]


def test_clamp_to_tensors_passes_gradients_as_to_numbers():
    x, low, high = (
        mg.tensor(v, requires_grad=True) for v in ([0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 0.0, 0.0], [2.0, 5.0, 2.0, 2.5])
    )
    x.clamp(low, high).sum().backward()
    grads = [t.grad.tolist() for t in (x, low, high)]
    assert grads == [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    np.testing.assert_array_equal(mg.tensor([np.nan, 1.0]).clamp(mg.tensor([0.0, np.nan])).array, [np.nan, np.nan])


@pytest.mark.parametrize("layer", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Dropout])
def test_layers_in_place(layer):
    values = np.linspace(-2, 2, 12)
    results = []
    for inplace in (False, True):
        mg.manual_seed(0)
        leaf = mg.tensor(values, requires_grad=True)
        x = leaf * 1.5
        y = layer(inplace=inplace)(x)
        assert (y is x) is inplace and ("inplace=True" in repr(layer(inplace=inplace))) is inplace
        (y * y).sum().backward()
        results.append((y.array.copy(), leaf.grad.array))
    for plain, written in zip(*results, strict=True):
        assert np.array_equal(plain, written)
    with pytest.raises(GradientError, match="leaf"):
        layer(inplace=True)(mg.tensor(values, requires_grad=True))


# ------------------------------------------------------------------------------------------------ numpy's names


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "amin", "all", "any", "max", "min", "argmax", "argmin"])
def test_reductions_take_numpys_names_too(name):
    x = mg.tensor([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0]])
    for call in (getattr(mg, name), lambda x, **names: getattr(x, name)(**names)):
        ours, theirs = call(x, dim=1, keepdim=True), call(x, axis=1, keepdims=True)
        assert str(ours) == str(theirs) != str(call(x, axis=0))
        told = rf"{name}: axis=0 beside dim=1; it takes dim and keepdim, or axis and keepdims"
        with pytest.raises(TypeError, match=told):
            call(x, dim=1, axis=0)
        with pytest.raises(TypeError, match=rf"{name}: dtype='float64' beside"):
            call(x, dtype="float64")


@pytest.mark.parametrize("function", [np.sum, np.mean, np.prod, np.max, np.min, np.all, np.any, np.argmax])
def test_numpys_reductions_of_a_tensor_are_the_tensors_own(function):
    x = mg.tensor([[1.0, 5.0], [0.0, 3.0]], requires_grad=True)
    assert function(x).tolist() == function(x.array).tolist()
    assert isinstance(function(x), mg.Tensor) and isinstance(function(x, axis=1), mg.Tensor | tuple)


# ------------------------------------------------------------------------------------------------ as text, and rounded


def test_a_number_takes_a_format_as_in_pytorch():
    loss = (mg.tensor(1.25, requires_grad=True) * 2).sum()
    assert f"{loss:.1f} {loss} {mg.tensor(7):04d} {mg.tensor(True)}" == "2.5 2.5 0007 True"
    row = mg.tensor([1.0, 2.0])
    assert f"{row}" == str(row)
    for several in (row, row[:1]):
        with pytest.raises(TypeError, match=rf"format: a tensor of shape \[{len(several.array)}\] has no form '\.4f'"):
            f"{several:.4f}"
    with pytest.raises(ValueError, match="Unknown format code 'd'"):
        f"{loss:d}"


def test_round_keeps_so_many_places():
    x = mg.tensor([1.125, -0.376, 1250.0, 1350.0], dtype="float64", requires_grad=True)
    for places in (0, 2, -2):
        assert round(x, places).tolist() == np.round(x.detach().numpy(), places).tolist()
    round(x, 2).sum().backward()
    assert round(x).tolist() == [1, 0, 1250, 1350] and x.grad.tolist() == [0] * 4
