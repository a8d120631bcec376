"""Clipping gradients, and parameters as one vector."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import ShapeError


def parameters():
    """Two parameters with the gradients 3, 0 and 4, -12: norms 5 (2-norm 13 in all), 1-norm 19, largest 12."""
    made = [nn.Parameter(mg.zeros(2)) for _ in range(3)]
    made[0].grad, made[1].grad = mg.tensor([3.0, 0.0]), mg.tensor([4.0, -12.0])
    return made


def test_clipping_scales_all_gradients_together():
    ps = parameters()
    kept = ps[0].grad
    assert nn.utils.clip_grad_norm_(iter(ps), 6.5).item() == 13
    np.testing.assert_allclose(ps[0].grad.array, [1.5, 0], rtol=1e-6)
    np.testing.assert_allclose(ps[1].grad.array, [2, -6], rtol=1e-6)
    assert ps[0].grad is kept and ps[2].grad is None


@pytest.mark.parametrize(("norm_type", "norm"), [(1.0, 19.0), (2.0, 13.0), (math.inf, 12.0)])
def test_clipping_leaves_what_is_small_enough(norm_type, norm):
    ps = parameters()
    assert nn.utils.clip_grad_norm_(ps, 20.0, norm_type).item() == norm
    np.testing.assert_array_equal(ps[1].grad.array, [4, -12])


def test_clipping_takes_one_tensor_and_none():
    ps = parameters()
    assert nn.utils.clip_grad_norm_(ps[0], 1.0).item() == 3
    assert nn.utils.clip_grad_norm_([ps[2]], 1.0).item() == 0


def test_a_norm_that_is_no_number_is_an_error_if_asked_and_shows_otherwise():
    ps = parameters()
    ps[0].grad.array[0] = math.nan
    with pytest.raises(ValueError, match=r"2\.0-norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_norm_(ps, 1.0)
    assert np.isnan(ps[1].grad.array).all()


def test_clipping_limits_every_element():
    ps = parameters()
    nn.utils.clip_grad_value_(ps, 3.5)
    np.testing.assert_array_equal(ps[0].grad.array, [3, 0])
    np.testing.assert_array_equal(ps[1].grad.array, [3.5, -3.5])


def test_a_gradient_in_a_graph_gives_way_to_a_constant():
    p = nn.Parameter(mg.ones(2))
    (p**3).sum().backward(create_graph=True)
    before = p.grad
    nn.utils.clip_grad_value_([p], 1.0)
    assert before.array.tolist() == [3, 3] and p.grad.array.tolist() == [1, 1] and p.grad.is_leaf


def test_clipping_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in ((3, 4), (5,), ())]
    for norm_type in (2.0, 1.0, 3.0, math.inf):
        ours = [nn.Parameter(mg.zeros(a.shape, dtype=mg.float64)) for a in arrays]
        theirs = [torch.nn.Parameter(torch.zeros(a.shape, dtype=torch.float64)) for a in arrays]
        for p, q, a in zip(ours, theirs, arrays, strict=True):
            p.grad, q.grad = mg.tensor(a), torch.tensor(a)
        norm = nn.utils.clip_grad_norm_(ours, 0.7, norm_type)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
        np.testing.assert_allclose(norm.item(), expected.item(), rtol=1e-13)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad.array, q.grad.numpy(), rtol=1e-13)


def test_parameters_become_a_vector_and_come_back():
    layer = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    np.testing.assert_array_equal(vector.array, [*layer.weight.array.ravel(), *layer.bias.array])
    (vector * vector).sum().backward()
    np.testing.assert_allclose(layer.bias.grad.array, 2 * layer.bias.array)
    nn.utils.vector_to_parameters(mg.arange(9.0), layer.parameters())
    np.testing.assert_array_equal(layer.weight.array, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(layer.bias.array, [6, 7, 8])
    with pytest.raises(ShapeError, match=r"shape \[8\] for 9 numbers"):
        nn.utils.vector_to_parameters(mg.zeros(8), layer.parameters())
