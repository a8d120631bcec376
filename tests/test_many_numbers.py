"""Sums of very many numbers, and numbers that are not finite: what must not be lost, and what must not spread."""

import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import optim
from minigrad.jit import python_mode


def single(x):
    return mg.tensor(np.asarray(x, np.float32))


# ------------------------------------------------------------------------------------------------ sums


def off(found, exact):
    return float(np.max(np.abs(found.detach().numpy() / exact - 1)))


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_the_gradient_of_a_bias_over_a_million_rows(loss):
    """The cotangent of a mean is one number, repeated a million times."""
    n, b = 1_000_000, single(np.zeros(2)).requires_grad_()
    w = single(np.zeros((2, 3))).requires_grad_()
    getattr(F.linear(mg.zeros(n, 3), w, b), loss)().backward()
    np.testing.assert_allclose(b.grad.numpy(), 0.5 if loss == "mean" else n, rtol=1e-6)


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x.sum(0),
        lambda x: x.mean(0),
        lambda x: x.var(0),
        lambda x: x.flip(1).sum(0),
        lambda x: x.reshape(2, -1, 3).sum(1),
        lambda x: x[:, ::2].sum(),
        lambda x: x.T.sum(1),
        lambda x: x.T.reshape(3, 2, -1).sum((0, 2)),
        lambda x: x.reshape(-1).cumsum(0),
    ],
    ids=["sum", "mean", "var", "flipped", "middle", "all of some", "turned", "outer", "running"],
)
def test_many_numbers_are_summed_as_well_in_single_precision(take):
    x = np.random.default_rng(0).normal(10, 1, size=(600_000, 3)).astype(np.float32)
    assert off(take(mg.tensor(x)), take(mg.tensor(x.astype(np.float64))).numpy()) < 5e-7


def test_as_many_ones_as_single_precision_can_not_count():
    ones = single(np.ones((20_000_000, 2)))
    for found, exact in ((ones.sum(0), 2e7), (ones.mean(0), 1), (ones[:, 0].cumsum(0)[-1], 2e7)):
        np.testing.assert_array_equal(found.numpy(), np.float32(exact))


@pytest.mark.parametrize(("kind", "count"), [("d", 16), ("f", 16), ("d", 19)])
def test_two_threads_do_not_write_one_anothers_rows(kind, count):
    """The last block of rows overlaps the one before it, which is another thread's."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 16384)).astype(kind), rng.normal(size=(count, 16384)).astype(kind)
    exact = x.astype(float) @ w.astype(float).T
    for _ in range(60):
        np.testing.assert_allclose(F.linear(mg.tensor(x), mg.tensor(w)).numpy(), exact, atol=1e-2 if kind == "f" else 1e-9)


# ------------------------------------------------------------------------------------------------ Inf and NaN


@pytest.mark.parametrize("plain", [True, False])
def test_an_infinite_pixel_is_in_the_means_of_its_own_windows_only(plain):
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    x[0, 0, 0, 0] = np.inf
    exact = [[[math.inf, 4.5], [10.5, 12.5]], [[18.5, 20.5], [26.5, 28.5]]]
    for pool in (lambda t: F.avg_pool2d(t, 2), lambda t: F.adaptive_avg_pool2d(t, 2)):
        if plain:
            with python_mode():
                np.testing.assert_array_equal(pool(mg.tensor(x)).numpy()[0], exact)
        else:
            np.testing.assert_array_equal(pool(mg.tensor(x)).numpy()[0], exact)


@pytest.mark.parametrize(
    ("take", "exact"),
    [
        (lambda x: x.clamp(min=0).sqrt(), [0, math.inf, 0.5]),
        (lambda x: x.clamp(0, 9).sqrt(), [0, math.inf, 0.5]),
        (lambda x: mg.maximum(x, mg.zeros(3)).sqrt(), [0, math.inf, 0.5]),
        (lambda x: (-mg.minimum(-x, mg.zeros(3))).sqrt(), [0, math.inf, 0.5]),
        (lambda x: (x * 0).round().sqrt(), [0, 0, 0]),
        (lambda x: (x * 0).floor().log(), [0, 0, 0]),
    ],
)
def test_an_infinite_cotangent_that_is_let_through_nowhere_stays_out(take, exact):
    x = single([-1, 0, 1]).requires_grad_()
    take(x).sum().backward()
    found = x.grad.numpy()
    if exact[1]:
        found, exact = found[[0, 2]], [exact[0], exact[2]]  # on the bound itself conventions differ
    np.testing.assert_array_equal(found, exact)


def test_of_nan_neither_side_loses():
    a, b = single([math.nan, 1]).requires_grad_(), single([0, 2]).requires_grad_()
    mg.maximum(a, b).sum().backward()
    np.testing.assert_array_equal([a.grad.numpy(), b.grad.numpy()], [[1, 0], [1, 1]])


def test_slopes_and_roots_see_only_what_concerns_them():
    x, slope = single([[math.inf, -2]]), single([0.25]).requires_grad_()
    F.prelu(x, slope).sum().backward()
    assert slope.grad.item() == -2
    for p in (0.5, 1, 2, 3):
        y = single([4, 0]).requires_grad_()
        y.norm(p).backward()
        np.testing.assert_allclose(y.grad.numpy(), [1, 0], rtol=1e-6)


def test_rows_that_all_are_ignored_have_no_gradient():
    for context in (python_mode, mg.enable_grad):
        x = mg.zeros(4, 3).requires_grad_()
        with context():
            loss = F.cross_entropy(x, mg.tensor(np.full(4, -100)))
            (first,) = mg.grad([loss], [x], create_graph=True)
            first.sum().backward()
        assert not first.detach().numpy().any() and not x.grad.numpy().any()


# ------------------------------------------------------------------------------------------------ types


def test_bounds_do_not_widen():
    assert single([1, 2]).clamp(min=np.float64(1.5)).dtype == np.float32
    assert mg.tensor([1, 2]).clamp(min=1.5).dtype == np.float32
    assert mg.tensor([1, 2]).clamp(min=np.int8(2)).dtype == np.int64
    np.testing.assert_array_equal(single([1, 2]).clamp(max=np.array([0.0, 5.0], np.float32)).numpy(), [0, 2])


@pytest.mark.parametrize("name", ["abs", "sign", "floor", "ceil", "round"])
def test_integers_stay_whole(name):
    large = 2**25 + 1  # no float32
    found = getattr(mg, name)(mg.tensor([-large, 0, large]))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found.numpy(), getattr(np, name)(np.array([-large, 0, large])))


def test_powers_and_reciprocals_of_integers():
    assert (
        (mg.tensor([1, 2]) ** 2.0).dtype
        == (mg.tensor([1, 2]) ** 3.0).dtype
        == mg.tensor([1, 2]).reciprocal().dtype
        == np.float32
    )
    assert (mg.tensor([1, 2]) ** 2).dtype == (mg.tensor([True]) ** 2).dtype == np.int64


def test_running_sums_of_a_number():
    x = single(3).requires_grad_()
    total = x.cumsum(0)
    total.backward()
    assert total.shape == () and x.grad.item() == 1 and mg.tensor(True).cumsum(-1).dtype == np.int64
    with pytest.raises(mg.MinigradError, match="cumsum"):
        x.cumsum(1)


def test_integers_are_not_pooled():
    with pytest.raises(TypeError, match="max_pool2d: input int64; expected floating point"):
        F.max_pool2d(mg.ones(1, 1, 4, 4).long(), 2)


# ------------------------------------------------------------------------------------------------ optimisers


def steps(optimiser, p, gradients):
    for g in gradients:
        p.grad = mg.tensor(np.asarray(g, p.dtype).reshape(p.shape))
        optimiser.step()
    return p.detach().numpy()


def test_a_mean_that_forgets_at_once_forgets_a_large_gradient():
    p = single([0]).requires_grad_()
    assert steps(optim.Adam([p], lr=0.1, betas=(0, 0)), p, [1e8, 1])[0] == pytest.approx(-0.2)


@pytest.mark.parametrize("kind", [{"momentum": 0.9}, {}, None])
def test_without_decay_an_infinite_weight_stays(kind):
    for amsgrad in (False, True):
        p = single([-math.inf, 1]).requires_grad_()
        made = optim.Adam([p], amsgrad=amsgrad) if kind is None else optim.SGD([p], lr=0.1, **kind)
        assert steps(made, p, [[0, 0]])[0] == -math.inf


def test_gradients_that_can_not_be_written_to_or_are_half():
    p, q = single(np.ones((1, 3))).requires_grad_(), single(np.ones(2)).requires_grad_()
    fixed = np.ones((1, 3), np.float32)
    fixed.flags.writeable = False
    p.grad, q.grad = mg.from_numpy(fixed), mg.ones(2)
    optim.SGD([p, q], lr=0.1, momentum=0.9).step()
    np.testing.assert_allclose(p.detach().numpy(), 0.9)
    for made in (optim.Adam([q], lr=0.1), optim.SGD([q], lr=0.1), optim.SGD([q], lr=0.1, momentum=0.5)):
        before, q.grad = q.detach().numpy().copy(), mg.ones(2).to(np.float16)
        made.step()
        np.testing.assert_allclose(q.detach().numpy(), before - 0.1, rtol=1e-5)


def test_a_state_in_column_order_is_stepped():
    p = single(np.ones((2, 3))).requires_grad_()
    made = optim.SGD([p], lr=0.1, momentum=0.9)
    steps(made, p, [np.ones((2, 3))])
    saved = made.state_dict()
    saved["state"][0]["momentum_buffer"] = np.asfortranarray(saved["state"][0]["momentum_buffer"])
    made.load_state_dict(saved)
    np.testing.assert_allclose(steps(made, p, [np.ones((2, 3))] * 2), 1 - 0.1 * (1 + 1.9 + 2.71), rtol=1e-5)


# ------------------------------------------------------------------------------------------------ far from zero


@pytest.mark.parametrize("shape", [(8, 3, 2, 2), (64, 3, 1, 1), (4, 3, 28, 28)])
@pytest.mark.parametrize("plain", [True, False])
def test_batches_far_from_zero_are_normalised_to_the_last_digit(shape, plain):
    """A mean of 10,000 deviations: in single precision its own last digit is a thousandth of a deviation."""
    rng = np.random.default_rng(0)
    x, g = ((rng.normal(size=shape) + mean).astype(np.float32) for mean in (1e4, 0))
    found = []
    for kind in (np.float32, np.float64):
        inputs = [mg.tensor(a.astype(kind), requires_grad=True) for a in (x, np.array([0.5, -1, 2]), np.zeros(3))]
        running = mg.zeros(3, dtype=kind), mg.zeros(3, dtype=kind)
        with python_mode() if plain and kind is np.float32 else mg.enable_grad():
            out = F.batch_norm(inputs[0], *running, *inputs[1:], training=True, momentum=1.0)
            out.backward(mg.tensor(g.astype(kind)))
        found.append([out.detach().numpy(), running[1].numpy(), *(each.grad.numpy() for each in inputs)])
    np.testing.assert_allclose(found[1][1], x.astype(float).var((0, 2, 3), ddof=1), rtol=1e-9)
    for single_precision, double in zip(*found, strict=True):
        assert abs(single_precision - double).max() < 3e-7 * abs(double).max()


# ------------------------------------------------------------------------------------------------ log-sum-exp


def test_a_sum_of_exponentials_beside_infinities():
    x = single([[math.inf, 200, -1], [-math.inf] * 3, [1000, 1000, -math.inf]]).requires_grad_()
    out = x.logsumexp(1)
    np.testing.assert_allclose(out.detach().numpy(), [math.inf, -math.inf, 1000 + math.log(2)], rtol=1e-6)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 1:], [0, 0])
    np.testing.assert_array_equal(x.grad.numpy()[1:], [[0, 0, 0], [0.5, 0.5, 0]])
    assert mg.zeros(0, 2).logsumexp(0).numpy().tolist() == [-math.inf] * 2
    assert mg.zeros(3, 2).logsumexp((0, 1), keepdim=True).shape == (1, 1)
