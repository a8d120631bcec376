"""Initial values: bounds and moments from the formulas, and from PyTorch where it is installed."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

SHAPE = (40, 30, 5, 4)  # fan_in 600, fan_out 800, 24,000 numbers
CONV = (600, 800)


def drawn(function, *args, shape=SHAPE, **settings):
    tensor = mg.empty(*shape, dtype=mg.float64)
    assert function(tensor, *args, **settings) is tensor
    return tensor.array


def assert_uniform(values, bound):
    """Within the bound and filling it, with mean 0: five deviations of the mean."""
    assert abs(values).max() <= bound and abs(values).max() > 0.999 * bound
    assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
    np.testing.assert_allclose(values.var(), bound**2 / 3, rtol=0.05)


def assert_normal(values, std, mean=0.0):
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    np.testing.assert_allclose(values.std(), std, rtol=0.03)
    np.testing.assert_allclose((abs(values - mean) < std).mean(), math.erf(math.sqrt(0.5)), atol=0.02)


def test_fans():
    assert init.fans(mg.empty(*SHAPE)) == CONV
    assert init.fans(mg.empty(7, 3)) == (3, 7)
    with pytest.raises(ValueError, match=r"need a weight \(out, in, ...\), got shape \[3\]"):
        init.fans(mg.empty(3))


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 1e-4))
    assert init.calculate_gain("leaky_relu", 1.0) == 1
    with pytest.raises(ValueError, match="no gain for 'swish'; there are"):
        init.calculate_gain("swish")


def test_constants():
    assert (drawn(init.zeros_) == 0).all() and (drawn(init.ones_) == 1).all() and (drawn(init.constant_, 2.5) == 2.5).all()
    np.testing.assert_array_equal(drawn(init.eye_, shape=(2, 3)), [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="a matrix is needed"):
        init.eye_(mg.empty(2))


def test_uniform_and_normal():
    values = drawn(init.uniform_, 3.0, 7.0)
    assert 3 <= values.min() < 3.01 and 6.99 < values.max() < 7
    assert_uniform(values - 5, 2.0)
    assert_normal(drawn(init.normal_, 4.0, 0.5), 0.5, 4.0)
    assert init.normal_(mg.empty(3, 4)).dtype == np.float32


def test_the_truncated_normal_has_the_truncated_moments():
    values = drawn(init.trunc_normal_)
    assert abs(values).max() <= 2
    density, mass = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
    np.testing.assert_allclose(values.var(), 1 - 4 * density / mass, rtol=0.04)
    values = drawn(init.trunc_normal_, mean=1.0, std=2.0, a=0.0, b=1.5)
    assert 0 <= values.min() < 0.01 and 1.49 < values.max() <= 1.5


def test_xavier():
    assert_uniform(drawn(init.xavier_uniform_), math.sqrt(6 / 1400))
    assert_normal(drawn(init.xavier_normal_, gain=2.0), 2 * math.sqrt(2 / 1400))


def test_kaiming():
    assert_uniform(drawn(init.kaiming_uniform_), math.sqrt(3) * math.sqrt(2 / 600))
    assert_uniform(drawn(init.kaiming_uniform_, a=math.sqrt(5)), 1 / math.sqrt(600))
    assert_normal(drawn(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 800))
    with pytest.raises(ValueError, match="mode 'fan'; there are 'fan_in' and 'fan_out'"):
        init.kaiming_normal_(mg.empty(2, 2), mode="fan")


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 2, 3, 1)])
def test_orthogonal(shape):
    q = drawn(init.orthogonal_, gain=3.0, shape=shape).reshape(shape[0], -1) / 3
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)
    with pytest.raises(ValueError, match="two or more axes"):
        init.orthogonal_(mg.empty(3))


def test_orthogonal_favours_no_sign():
    corners = [drawn(init.orthogonal_, shape=(3, 3))[0, 0] > 0 for _ in range(200)]
    assert 60 < sum(corners) < 140  # five and a half deviations


def test_the_seed_decides_and_parameters_can_be_written_while_recording():
    layer = nn.Linear(3, 4)
    mg.manual_seed(5)
    layer.reset_parameters()
    first = layer.weight.array.copy()
    mg.manual_seed(5)
    assert (nn.Linear(3, 4).weight.array == first).all()
    assert (nn.Linear(3, 4).weight.array != first).all()
    assert layer.weight.is_leaf and layer.weight.requires_grad


def test_layers_start_within_one_over_the_root_of_fan_in():
    for layer, fan_in in ((nn.Linear(64, 300), 64), (nn.Conv2d(8, 256, 3, groups=2), 36), (nn.Conv1d(4, 999, 5), 20)):
        bound = 1 / math.sqrt(fan_in)
        for parameter in layer.parameters():
            assert abs(parameter.array).max() <= bound * (1 + 1e-6)
            np.testing.assert_allclose(parameter.array.std(), bound / math.sqrt(3), rtol=0.1)
    assert nn.Linear(0, 2)(mg.ones(1, 0)).shape == (1, 2)


def test_layers_are_distributed_like_pytorchs():
    torch = pytest.importorskip("torch")
    stats = pytest.importorskip("scipy.stats")
    torch.manual_seed(0)
    for name, args in (("Linear", (50, 80)), ("Conv2d", (8, 16, 5)), ("Conv1d", (8, 64, 7))):
        ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
        for (part, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert p.shape == tuple(q.shape)
            fit = stats.ks_2samp(p.array.ravel(), q.detach().numpy().ravel())
            assert fit.pvalue > 1e-4, (name, part, fit)


def test_skipping_draws_nothing_and_writes_constants():
    state = mg.get_rng_state()
    tensor = mg.zeros(3, 3)
    with init.skip():
        for fill in (
            init.uniform_,
            init.normal_,
            init.trunc_normal_,
            init.xavier_normal_,
            init.kaiming_uniform_,
            init.orthogonal_,
        ):
            assert fill(tensor) is tensor
        norm = nn.BatchNorm2d(2)
        with init.skip():
            pass
        nn.Linear(4, 4)
    assert mg.get_rng_state() == state and not tensor.array.any()
    assert (norm.weight.array == 1).all() and (norm.bias.array == 0).all()
    assert init.uniform_(tensor).array.any()
