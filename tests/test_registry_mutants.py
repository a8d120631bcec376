"""Tests of the tests: operations broken on purpose, each of which a generic check must catch."""

import dataclasses

import numpy as np
import pytest
import registry_checks as checks

import minigrad as mg
from minigrad.core import make_tensor
from minigrad.op import REGISTRY, arrays_too
from minigrad.ops import pool


def caught(check, op):
    """Whether the check goes red on some sample."""
    for sample in REGISTRY[op.name].samples(np.random.default_rng(0)):
        try:
            check(op, sample)
        except (AssertionError, RuntimeError):
            return True
    return False


def broken(name, **changes):
    return dataclasses.replace(REGISTRY[name], **changes)


def with_vjp(name, **formulas):
    return broken(name, vjp={**REGISTRY[name].vjp, **formulas})


def forward_of(name):
    return REGISTRY[name].forward


BROKEN_DERIVATIVES = {
    "tanh: derivative taken at the output's square root": with_vjp("tanh", x=lambda g, out: g * (1 - out)),
    "mul: the other operand forgotten": with_vjp("mul", a=lambda g: g),
    "sub: a sign": with_vjp("sub", b=lambda g: g),
    "softmax: all zero (its sum is constant, so a check through sum() would pass)": with_vjp("softmax", x=lambda g: g * 0),
    "max_pool2d: each place written, not added to": with_vjp(
        "max_pool2d",
        input=lambda g, taps, *, shapes, params: make_tensor(_written(g.array, taps.array, shapes[0], params)),
    ),
    "conv2d: bias not summed over the batch": with_vjp("conv2d", bias=lambda g: g[0].sum((1, 2))),
    "conv2d: stride forgotten": with_vjp(
        "conv2d",
        weight=lambda g, input, *, shapes, padding, dilation, groups: make_tensor(
            np.zeros(shapes[1]) + g.array.mean() + input.array.mean()
        ),
    ),
    "mean: not divided": with_vjp("mean", x=lambda g, *, shapes, dims: _spread(g, shapes[0], dims)),
}


def _written(g, taps, shape, params):
    indices = pool._places(taps, shape[2:], pool.Window(**params))
    dx = np.zeros((*shape[:2], shape[2] * shape[3]))
    np.put_along_axis(
        dx, indices.reshape(*g.shape[:2], g.shape[2] * g.shape[3]).astype(int), g.reshape(*g.shape[:2], -1), 2
    ) if g.size else None
    return dx.reshape(shape)


def _spread(g, shape, dims):
    return g.reshape(tuple(1 if i in dims else n for i, n in enumerate(shape))).expand(shape)


@pytest.mark.parametrize("why", BROKEN_DERIVATIVES)
def test_a_broken_derivative_is_caught(why):
    op = BROKEN_DERIVATIVES[why]
    assert not caught(checks.check_first_derivative, REGISTRY[op.name])
    assert caught(checks.check_first_derivative, op), why


@pytest.mark.parametrize(
    "op",
    [
        with_vjp("exp", x=lambda g, out: g * out.detach()),
        with_vjp("mul", a=lambda g, b: g * b.detach()),
        with_vjp("pow", a=lambda g, a, b: g * REGISTRY["pow"].vjp["a"](mg.ones_like(g), a, b).detach()),
        with_vjp("linear", weight=lambda g, input: g.reshape((-1, g.shape[-1])).detach().T @ input.reshape((-1, 3))),
        with_vjp("sigmoid", x=lambda g, out: g * (out * (1 - out)).detach()),
    ],
    ids=lambda op: op.name,
)
def test_a_derivative_cut_off_from_the_graph_is_caught(op):
    assert not caught(checks.check_first_derivative, op), "the first derivative is right; only the second is not"
    assert caught(checks.check_second_derivative, op)


@pytest.mark.parametrize(
    "formula",
    [lambda g, b: (g * b).clone(), lambda g, b: mg.mul(g, b), lambda g, b: g * b * (1 + 1e-15 * isinstance(g, np.ndarray))],
    ids=["a tensor's method", "a function on tensors", "other numbers"],
)
def test_a_formula_wrongly_said_to_do_for_arrays_is_caught(formula):
    assert not caught(checks.check_formulas_on_arrays, REGISTRY["mul"])
    assert caught(checks.check_formulas_on_arrays, with_vjp("mul", a=arrays_too(formula)))


def test_a_wrong_forward_is_caught():
    op = broken("relu", forward=lambda x: np.abs(x))
    assert caught(checks.check_reference, op)


def test_a_kernel_unlike_its_python_is_caught(monkeypatch):
    from minigrad.kernels import elementwise

    assert not caught(checks.check_unjitted, REGISTRY["relu"])  # and it is compiled, before its Python is changed
    monkeypatch.setattr(elementwise.rectify, "python", lambda out, x: out.fill(0))
    assert caught(checks.check_unjitted, REGISTRY["relu"])


def test_a_wrong_shape_rule_is_caught():
    assert caught(checks.check_shape, broken("matmul", shape=lambda a, b: (a[-2], b[-1])))


def test_a_changed_input_is_caught():
    def careless(a, b):
        a += 1
        return a * b

    assert caught(checks.check_not_mutated, broken("mul", forward=careless))


def test_an_assumption_of_contiguous_memory_is_caught():
    def raw(x):
        return np.exp(np.lib.stride_tricks.as_strided(x, x.shape, [8 * int(np.prod(x.shape[i + 1 :])) for i in range(x.ndim)]))

    assert caught(checks.check_noncontiguous, broken("exp", forward=raw))


def test_a_widened_type_is_caught():
    assert caught(checks.check_float32, broken("exp", forward=lambda x: np.exp(x.astype(np.float64))))
