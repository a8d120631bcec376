"""The graph's promises: depth, memory, accumulation, hooks, freeing, higher derivatives, in-place changes, anomalies."""

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.errors import AnomalyError, FreedGraphError, GradientError, ShapeError
from minigrad.op import REGISTRY, arrays_too


def leaf(*values):
    return mg.tensor(list(values), dtype=mg.float64, requires_grad=True)


def test_a_chain_of_a_hundred_thousand_operations():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.tolist() == [1.0]
    del y  # and it can be let go again without recursion


def test_a_chain_in_which_every_value_is_used_twice():
    x = leaf(1.0)
    y = x
    for _ in range(50):
        y = y + y  # 2^50 paths, 50 nodes
    y.backward()
    assert x.grad.tolist() == [2.0**50]


@pytest.mark.slow
def test_a_hundred_thousand_backward_passes_keep_no_memory():
    x = leaf(0.5, 1.5)

    def step():
        x.grad = None
        ((x * x).exp().sum() + x.relu().mean()).backward()

    gc.disable()  # nothing may depend on the collector of cycles
    try:
        tracemalloc.start()
        for _ in range(3000):  # until the interpreter's own lists of freed tuples are full
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for _ in range(96_000):
            step()
    finally:
        gc.enable()
    assert grown < 20_000, f"{grown} bytes after 1,000 passes"
    assert len([o for o in gc.get_objects() if type(o) is mg.graph.Node]) < 100


def test_a_graph_that_is_never_walked_is_let_go_without_the_collector_of_cycles():
    import weakref

    x = leaf(0.5, 1.5)
    gc.disable()
    try:
        y = x.exp().tanh().softmax(0).relu() * x
        node = weakref.ref(y.node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_leaves_accumulate_and_intermediates_keep_nothing():
    x = leaf(2.0)
    y = x * x
    y.sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [7.0]
    assert y.grad is None


def test_retain_grad_keeps_an_intermediate():
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [8.0]


def test_the_same_input_twice_counts_twice():
    x = leaf(3.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_two_leaves_never_share_the_memory_of_a_gradient():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = mg.tensor([1.0, 1.0], dtype=mg.float64)
    (a + b).backward(seed)
    a.grad.mul_(10)
    assert b.grad.tolist() == [1.0, 1.0]
    assert seed.tolist() == [1.0, 1.0]


def test_a_second_backward_raises_and_names_the_remedy():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(FreedGraphError, match="retain_graph=True"):
        y.backward()


def test_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]


def test_backward_of_several_elements_wants_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match=r"shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        (x * 2).backward(mg.ones(3))


def test_third_derivative_through_create_graph():
    x = leaf(0.7)
    first = mg.grad((x**4.0).sum(), x, create_graph=True)[0]
    second = mg.grad(first.sum(), x, create_graph=True)[0]
    third = mg.grad(second.sum(), x)[0]
    np.testing.assert_allclose([first.item(), second.item(), third.item()], [4 * 0.7**3, 12 * 0.7**2, 24 * 0.7])


def test_grad_walks_only_between_outputs_and_inputs():
    x, w = leaf(2.0), leaf(5.0)
    h = x * w
    out = (h * h).sum()
    assert mg.grad(out, h)[0].tolist() == [20.0]
    assert x.grad is None and w.grad is None
    with pytest.raises(GradientError, match="not used"):
        mg.grad((x * 2).sum(), w)
    assert mg.grad((x * 2).sum(), [w], allow_unused=True) == (None,)


def test_backward_into_chosen_inputs_only():
    x, w = leaf(2.0), leaf(5.0)
    (x * w).sum().backward(inputs=[w])
    assert x.grad is None and w.grad.tolist() == [2.0]


def test_hooks_see_and_change_the_whole_gradient():
    x = leaf(1.0)
    seen = []
    handle = x.register_hook(lambda g: seen.append(g.item()))
    y = x * 2
    y.register_hook(lambda g: g * 10)
    (y + y).sum().backward()
    assert seen == [40.0] and x.grad.tolist() == [40.0]
    handle.remove()
    (x * 1).sum().backward()
    assert len(seen) == 1


def test_no_grad_enable_grad_and_their_nesting():
    x = leaf(1.0)
    with mg.no_grad():
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
        assert not mg.is_grad_enabled()
    assert (x * 2).requires_grad

    @mg.no_grad()
    def quiet(n):
        return (x * 2).requires_grad or (n > 0 and quiet(n - 1))

    assert not quiet(3) and mg.is_grad_enabled()


def test_integers_cannot_require_a_gradient():
    with pytest.raises(GradientError, match="int64"):
        mg.tensor([1, 2], requires_grad=True)


# ------------------------------------------------------------------------------------------------ changes in place


def test_a_saved_array_changed_in_place_raises():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = y.exp().sum() + (y * y).sum()
    y.add_(1)
    with pytest.raises(GradientError, match=r"mul.*changed in place"):
        z.backward()


def test_a_saved_output_changed_in_place_raises():
    y = leaf(1.0).exp()
    z = y * 3  # needs nothing of y
    y.mul_(2)
    with pytest.raises(GradientError, match=r"exp.*changed in place"):
        z.sum().backward()


def test_a_change_through_a_view_is_seen():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y[0].detach().fill_(5.0)
    with pytest.raises(GradientError, match="changed in place"):
        z.backward()
    with pytest.raises(GradientError, match="through another view"):
        y * 2


def test_changes_in_place_are_part_of_the_graph():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y += 1
    y *= y.detach().clone()
    y[1] = x[0] * 10
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.array, [2 * 3 + 10, 0, 2 * 7])


def test_a_leaf_is_not_changed_in_place_while_recording():
    x = leaf(1.0)
    with pytest.raises(GradientError, match="leaf"):
        x.add_(1)
    with mg.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0] and x.is_leaf and x.requires_grad


def test_an_expanded_view_is_not_changed_in_place():
    with pytest.raises(GradientError, match="clone"):
        mg.ones(1).expand(3).add_(1)


# ------------------------------------------------------------------------------------------------ anomalies


def test_anomaly_names_operation_and_line_forward():
    x = leaf(-1.0)
    with mg.detect_anomaly(), pytest.raises(AnomalyError, match=r"log: the first NaN.*test_graph\.py:\d+ in test_anomaly"):
        x.log() * 2


def test_anomaly_names_operation_and_line_backward():
    x = leaf(0.0)
    with mg.detect_anomaly():
        y = x.sqrt()
        with pytest.raises(AnomalyError, match=r"sqrt: the first (Inf|NaN) of the backward pass.*test_graph\.py:\d+"):
            y.sum().backward()


def test_without_anomaly_mode_floating_point_is_silent():
    assert np.isnan(mg.tensor([-1.0]).log().item())
    assert (mg.tensor([1.0]) / 0).item() == np.inf


# ------------------------------------------------------------------------------------------------ types and messages


def test_types_meet_as_in_pytorch():
    single, double, whole = mg.ones(2), mg.ones(2, dtype=mg.float64), mg.arange(2)
    assert (single * 2.5).dtype == mg.float32
    assert (single * double).dtype == mg.float64
    assert (whole * single).dtype == mg.float32
    assert (whole * 2.5).dtype == mg.float32
    assert (whole / 2).dtype == mg.float32
    assert (single * mg.tensor(2.0, dtype=mg.float64)).dtype == mg.float32
    assert (whole * 2).dtype == mg.int64


def test_a_gradient_has_its_inputs_type():
    x = mg.ones(2, requires_grad=True)
    (x * mg.ones(2, dtype=mg.float64)).sum().backward()
    assert x.grad.dtype == mg.float32


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mg.ones(2, 3) + mg.ones(2, 4), ["add", "[2, 3]", "[2, 4]", "3 and 4"]),
        (lambda: mg.ones(2, 3) @ mg.ones(2, 3), ["matmul", "[2, 3]"]),
        (lambda: mg.ones(6).reshape(4, -1), ["reshape", "[6]", "[4, -1]"]),
        (lambda: mg.conv2d(mg.ones(1, 3, 8, 8), mg.ones(4, 2, 3, 3)), ["conv2d", "[1, 3, 8, 8]", "2 channels"]),
        (lambda: mg.conv2d(mg.ones(1, 1, 2, 2), mg.ones(1, 1, 3, 3)), ["conv2d", "[3, 3]", "[2, 2]"]),
        (lambda: mg.max_pool2d(mg.ones(1, 1, 4, 4), 2, padding=2), ["max_pool2d", "half"]),
        (lambda: mg.linear(mg.ones(2, 3), mg.ones(4, 5)), ["linear", "[2, 3]", "[4, 5]", "5"]),
        (lambda: mg.cross_entropy(mg.ones(2, 3), mg.tensor([0, 3])), ["cross_entropy", "3", "0 to 2"]),
        (lambda: mg.ones(2, 3).sum(2), ["sum", "dim 2", "-2 to 1"]),
        (lambda: mg.ones(3)[5], ["getitem", "5"]),
        (lambda: mg.cat([mg.ones(2, 3), mg.ones(2, 4)]), ["cat", "[2, 4]", "[2, 3]"]),
        (lambda: mg.mse_loss(mg.ones(2, 1), mg.ones(2)), ["mse_loss", "[2, 1]", "[2]"]),
    ],
)
def test_errors_name_operation_shapes_and_what_would_fit(call, words):
    with pytest.raises((ShapeError, ValueError, IndexError)) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_derivative_of_the_wrong_shape_is_refused():
    import dataclasses

    from minigrad.op import REGISTRY

    op = dataclasses.replace(REGISTRY["softmax"], vjp={"x": lambda g: g.sum(0)})
    out = op(leaf(1.0, 2.0), dim=0)
    with pytest.raises(GradientError, match="softmax"):
        out.backward(mg.ones(2, dtype=mg.float64))


def test_manual_seed_repeats_everything_random():
    mg.manual_seed(3)
    first = [mg.randn(3).tolist(), mg.dropout(mg.ones(8)).tolist(), mg.randperm(5).tolist()]
    state = mg.get_rng_state()
    later = mg.rand(2).tolist()
    mg.manual_seed(3)
    assert [mg.randn(3).tolist(), mg.dropout(mg.ones(8)).tolist(), mg.randperm(5).tolist()] == first
    mg.set_rng_state(state)
    assert mg.rand(2).tolist() == later


# ---------------------------------------------------------------------------------------------- cotangents and formulas


@pytest.mark.parametrize("kind", [mg.float64, mg.float16, mg.int64])
def test_a_cotangent_of_another_type_is_brought_to_the_outputs(kind):
    """Kernels write what they are given into arrays of one type."""
    x, w = mg.randn(2, 3, 6, 6).requires_grad_(), mg.randn(4, 3, 3, 3).requires_grad_()
    g = mg.tensor(np.arange(128).reshape(2, 4, 4, 4) % 7).to(kind)
    plain = mg.grad(F.conv2d(x, w), (x, w), g.float())
    for found, expected in zip(mg.grad(F.conv2d(x, w), (x, w), g), plain, strict=True):
        assert found.dtype == np.float32 and np.array_equal(found.array, expected.array)
    logits = mg.randn(4, 6).requires_grad_()
    seed = mg.eye(4, 6).to(kind)
    logits.softmax(1).backward(seed)
    assert np.array_equal(logits.grad.array, mg.grad(logits.softmax(1), logits, seed.float())[0].array)


def test_a_half_precise_cotangent_does_not_overflow_in_a_single_precise_product():
    x, w = (mg.full((4, 4), 300.0).requires_grad_() for _ in range(2))
    (x @ w).backward(mg.full((4, 4), 100.0).to(mg.float16))
    assert (x.grad == 120_000).all()


def test_a_hook_may_not_change_the_type():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g.float())
    with pytest.raises(TypeError, match="hook: a gradient of float32 given back for one of float64"):
        y.sum().backward()


def test_a_gradient_that_is_a_view_of_another_knows_its_changes():
    x = mg.ones(6).requires_grad_()
    y = x.reshape(2, 3)
    gx, gy = mg.grad((y * y).sum(), [x, y])
    w = mg.ones(2, 3).requires_grad_()
    out = (w * gy).sum()
    gx.mul_(100)
    with pytest.raises(GradientError, match="changed in place"):
        out.backward()


def test_an_error_out_of_a_formula_reaches_the_caller_and_leaves_nothing_switched_on():
    class Alarm(ValueError):
        """What a signal's handler might raise, at any moment."""

    def raising(g, b):
        if isinstance(g, np.ndarray):
            raise Alarm
        return g * b

    mul = dataclasses.replace(REGISTRY["mul"], vjp={"a": arrays_too(raising)})
    x = leaf(1.0, 2.0)
    with pytest.raises(Alarm):
        mul(x, leaf(3.0, 4.0).detach()).sum().backward()
    with pytest.raises(TypeError, match="mul: a is a ndarray; expected a tensor"):
        mul(np.ones(2), np.ones(2))
    wrong = dataclasses.replace(REGISTRY["mul"], vjp={"a": arrays_too(lambda g, b: mg.mul(g, b))})
    with pytest.raises(TypeError, match="derivative of mul: a formula marked arrays_too gave a Tensor for arrays"):
        wrong(x, leaf(3.0, 4.0).detach()).sum().backward()
