"""Who shares memory with whom: changes in place through several views, and gradients that are nobody else's."""

import copy
import os
import signal
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import core, jit
from minigrad.nn.utils import clip_grad_norm_
from minigrad.op import Op, arrays_too

# ------------------------------------------------------------------------------------------------ views changed in place


def leaf(*numbers):
    return mg.tensor(np.array(numbers), requires_grad=True)


def test_an_unrecorded_change_does_not_make_a_stale_tensor_true():
    a = leaf(1.0, 1.0, 1.0)
    x = a * 1
    x[:2].mul_(3)  # through another view: x does not know
    with mg.no_grad():
        x.mul_(2)
    with pytest.raises(mg.GradientError, match="changed in place through another view"):
        x.sum().backward()


def test_an_unrecorded_change_does_not_make_a_constant_of_what_is_none():
    w, x = leaf(1.0, 1.0), mg.tensor(np.zeros(3))
    x[:2].add_(w)
    with mg.no_grad():
        x.mul_(2)
    with pytest.raises(mg.GradientError, match="this tensor does not know it"):
        x * 1


def test_unrecorded_changes_of_what_is_true_leave_it_true():
    a = leaf(1.0, 2.0, 3.0)
    x = a * 1
    with mg.no_grad():
        x.mul_(2)
        x[0] += 1
    (x * x.detach()).sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), [3, 4, 6])


@pytest.mark.parametrize("part", [lambda x: x[:2], lambda x: x.reshape(-1), lambda x: x[1:]])
def test_a_part_of_a_changed_part_does_not_stand_for_all_of_it(part):
    x = leaf(1.0, 1.0, 1.0) * 1
    changed = part(x)
    changed *= 2
    with pytest.raises(mg.GradientError, match="changed in place through another view"):
        x[1] = changed[1 if len(changed) == 3 else 0]


def test_a_changed_part_is_written_back():
    a = leaf(1.0, 1.0, 1.0)
    x = a * 1
    x[:2] *= 2
    x[0] += a[1]
    x.sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), [2, 3, 1])


def test_a_retained_gradient_is_that_of_what_the_tensor_is_now():
    y = leaf(1.0, 2.0) * 2
    y.retain_grad()
    y.mul_(3)
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [12, 24])


def test_what_an_expansion_leaves_as_wide_can_be_changed():
    x = mg.zeros(2, 3)
    x.expand(2, 3).add_(1)
    np.testing.assert_array_equal(x.numpy(), np.ones((2, 3)))
    with pytest.raises(mg.GradientError, match="expanded view"):
        mg.zeros(1, 3).expand(2, 3).add_(1)


def test_a_softmax_over_any_axis_lies_in_row_order():
    out = mg.randn(3, 4, 5).softmax(1)
    out.view(-1).zero_()
    assert not out.numpy().any()


# ------------------------------------------------------------------------------------------------ gradients


def test_leaves_have_gradients_of_their_own_in_a_graph_too():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = a + b
    (y * y).sum().backward(create_graph=True)
    assert a.grad is not b.grad and a.grad.requires_grad and b.grad.requires_grad
    with mg.no_grad():
        a.grad.zero_()
    np.testing.assert_array_equal(b.grad.detach().numpy(), [8, 12])


@pytest.mark.parametrize("through", [lambda w: w, lambda w: w + 0])
def test_what_a_hook_has_kept_is_not_changed_with_the_gradient(through):
    w, log = leaf(3.0, 4.0), []
    x = through(w)
    x.register_hook(lambda g: log.append(g))
    (x * x).sum().backward()
    clip_grad_norm_([w], 1.0)
    np.testing.assert_array_equal(log[0].numpy(), [6, 8])


@pytest.mark.parametrize("mark", [arrays_too, lambda formula: formula])
@pytest.mark.parametrize("formula", [lambda g, out: out, lambda g, d: d])
def test_a_formula_may_give_back_what_was_kept(formula, mark):
    op = Op("odd", lambda x, d: x * 2, lambda x, d: x, {"x": mark(formula)})
    x, d = leaf(1.0, 2.0), mg.tensor(np.array([2.0, 4.0]))
    out = op(x, d)
    for _ in range(2):
        x.grad = None
        out.sum().backward(retain_graph=True)
        np.testing.assert_array_equal(x.grad.numpy(), [2, 4])
        x.grad.zero_()
    np.testing.assert_array_equal(out.detach().numpy(), [2, 4])
    np.testing.assert_array_equal(d.numpy(), [2, 4])


def test_a_retained_gradient_that_is_asked_for_is_collected_once():
    y = leaf(1.0, 2.0) * 2
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    np.testing.assert_array_equal(y.grad.numpy(), [4, 8])


def test_hooks_stay_with_the_tensor_to_which_they_were_given():
    w, log = leaf(1.0), []
    w.register_hook(lambda g: log.append("hooked"))
    copied = copy.deepcopy(w)
    (copied * 2).sum().backward()
    assert log == [] and copied.grad is not None
    (w * 2).sum().backward()
    assert log == ["hooked"]


def test_complex_numbers_have_no_gradient():
    with pytest.raises(mg.GradientError, match="real floating point"):
        mg.tensor(np.ones(2, complex)).requires_grad_()


# ------------------------------------------------------------------------------------------------ signals, forks


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_a_signals_handler_may_calculate(monkeypatch):
    monkeypatch.setattr(jit, "_SERIAL_BELOW", 0)  # so that kernels take their turn
    w, handled = leaf(1.0, 2.0), []

    def step():
        w.relu().sum().backward()

    def handler(*_):
        with mg.enable_grad():  # a backward pass that it interrupts has it off
            step()
        handled.append(1)
        if len(handled) < 20:
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # only now, or handlers would interrupt one another without end

    step()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        count = 1
        while len(handled) < 20:
            step()
            count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(w.grad.numpy(), np.full(2, count + len(handled)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_finds_no_lock_taken():
    held, done = threading.Event(), threading.Event()

    def holding():
        with core._accumulating:
            held.set()
            done.wait()

    thread = threading.Thread(target=holding)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        x = leaf(1.0)
        (x * 2).sum().backward()
        os._exit(int(x.grad.item() != 2))
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
