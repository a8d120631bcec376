"""Corners of the engine's semantics, each of which was once wrong: who keeps what, who may change what, and who is told."""

import contextlib
import copy
import pickle
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.errors import AnomalyError, FreedGraphError, GradientError, ShapeError
from minigrad.op import Op


def _leaf(*values):
    return mg.tensor(list(values), requires_grad=True)


# ------------------------------------------------------------------------------------------------ walks


def test_a_walk_frees_only_what_it_went_through():
    x = _leaf(1.0, 2.0)
    h = x * x
    (g,) = mg.grad((h * 3).sum(), h)
    h.backward(g)  # the graph below h was reached, but not walked
    assert x.grad.tolist() == [6.0, 12.0]
    with pytest.raises(FreedGraphError):
        h.backward(g)


def test_a_gradient_that_finds_nothing_frees_nothing():
    x, other = _leaf(1.0, 2.0), _leaf(1.0)
    y = (x * x).sum()
    assert mg.grad(y, other, allow_unused=True) == (None,)
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_backward_gives_results_their_gradient_too():
    x = _leaf(1.0, 2.0)
    h = x * 2
    (h * h).sum().backward(inputs=[h])
    assert h.grad.tolist() == [4.0, 8.0] and x.grad is None


@pytest.mark.parametrize("whole", ["long", "bool"])
def test_integers_and_booleans_end_the_graph(whole):
    x = _leaf(1.5, 2.5)
    y = getattr(x, whole)()
    assert not y.requires_grad
    (y.float() * x).sum().backward()
    assert x.grad.tolist() == y.float().tolist()


# ------------------------------------------------------------------------------------------------ hooks


def test_a_hook_may_take_itself_away_while_it_runs():
    x, seen = _leaf(1.0), []
    first = x.register_hook(lambda g: (seen.append("first"), first.remove())[0])
    x.register_hook(lambda g: seen.append("second"))
    for _ in range(2):
        (x * 2).sum().backward()
    assert seen == ["first", "second", "second"]


def test_one_function_hooked_twice_is_taken_away_once():
    for x in (_leaf(1.0), _leaf(1.0) * 1):
        seen = []
        handle, _ = x.register_hook(seen.append), x.register_hook(seen.append)
        handle.remove()
        handle.remove()
        (x * 2).sum().backward()
        assert len(seen) == 1


def test_what_a_hook_gives_back_must_fit():
    x = _leaf(1.0, 2.0)
    handle = x.register_hook(lambda g: mg.ones(5))
    with pytest.raises(ShapeError, match=r"\[5\] given back for a gradient of \[2\]"):
        x.sum().backward()
    handle.remove()
    x.register_hook(lambda g: 2.0)
    with pytest.raises(TypeError, match="a float given back"):
        x.sum().backward()


def test_grad_runs_the_hooks_of_leaves():
    x = _leaf(1.0)
    x.register_hook(lambda g: g * 10)
    assert mg.grad((x * 2).sum(), x)[0].tolist() == [20.0]


# ------------------------------------------------------------------------------------------------ changes in place


@pytest.mark.parametrize("use", [lambda t: t * 2, lambda t: t + mg.zeros(2, requires_grad=True)], ids=["alone", "joined"])
def test_no_gradient_is_lost_through_a_view_of_a_constant(use):
    w = mg.tensor(2.0, requires_grad=True)
    out = mg.zeros(2, 2)
    out[0][1] = w
    with pytest.raises(GradientError, match=r"x\[i, j\] = y, not x\[i\]\[j\] = y"):
        use(out)
    out = mg.zeros(2)
    view = out[:1]
    out.mul_(w)
    with pytest.raises(GradientError, match="through another view"):
        use(view)
    assert use(out).requires_grad


def test_a_detached_tensor_follows_its_memory():
    w = mg.tensor(2.0, requires_grad=True)
    y = w * mg.ones(2)
    cut = y.detach()
    y.mul_(w)
    (cut * w).sum().backward()
    assert cut.tolist() == [4.0, 4.0] and w.grad.item() == 8.0
    cut.add_(1)
    with pytest.raises(GradientError):
        y.sum().backward()


def test_adding_to_a_part_again_and_again():
    w = mg.tensor(2.0, requires_grad=True)
    out = mg.zeros(3)
    for i in (0, 1, 2, 1):
        out[i] += w * i
    out[1:] *= 3
    out.sum().backward()
    assert out.tolist() == [0.0, 12.0, 12.0] and w.grad.item() == 12.0


def test_a_part_changed_behind_ones_back_is_not_taken_for_ones_own():
    w = mg.tensor(2.0, requires_grad=True)
    out = mg.zeros(3) * w
    out[0].add_(w)
    with pytest.raises(GradientError, match="through another view"):
        out[1] += w


@pytest.mark.parametrize("index", [lambda i: i, lambda i: i.array], ids=["tensor", "array"])
def test_an_index_is_kept_as_it_was(index):
    x, i = _leaf(1.0, 2.0, 3.0), mg.tensor([0, 1])
    picked = x[index(i)]
    i.add_(1)
    picked.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]


def test_targets_changed_before_backward_are_noticed():
    logits, target = mg.randn(2, 3, requires_grad=True), mg.tensor([0, 1])
    loss = F.cross_entropy(logits, target)
    target.add_(1)
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()


def test_filling_a_result_passes_a_gradient_of_zero():
    for change in (lambda h: h.zero_(), lambda h: h.copy_(mg.ones(2))):
        x = _leaf(1.0, 2.0)
        h = x * 2
        change(h).sum().backward()
        assert x.grad.tolist() == [0.0, 0.0]


def test_a_change_in_place_keeps_what_it_needs_itself():
    for change, by_x, by_w in (
        (lambda h, w: h.mul_(w), [3.0, 3.0], 3.0),  # h = x w
        (lambda h, w: h.div_(w), [1 / 3, 1 / 3], -3 / 9),
        (lambda h, w: h.mul_(h).mul_(w), [6.0, 12.0], 5.0),  # h = x^2 w
    ):
        x, w = _leaf(1.0, 2.0), mg.tensor(3.0, requires_grad=True)
        h = x * 1
        change(h, w).sum().backward()
        np.testing.assert_allclose(x.grad.array, by_x, rtol=1e-6)
        np.testing.assert_allclose(w.grad.item(), by_w, rtol=1e-6)


def test_numbers_are_written_in_the_precision_of_the_tensor():
    x = mg.zeros(3, dtype="float64")
    x[0] = 0.1
    x[1:2].fill_(0.2)
    x[2:].copy_(0.3)
    assert x.tolist() == [0.1, 0.2, 0.3]


def test_a_float_does_not_go_into_integers():
    x = mg.tensor([1, 2])
    with pytest.raises(TypeError, match="float32 can't be put into a tensor of type int64"):
        x += 0.5


# ------------------------------------------------------------------------------------------------ modes


def test_switches_decorate_with_and_without_brackets():
    x = _leaf(1.0)
    for switch, recorded in ((mg.no_grad, False), (mg.no_grad(), False), (mg.inference_mode(), False), (mg.enable_grad, True)):
        assert switch(lambda: (x * 2).requires_grad)() is recorded
    with mg.no_grad(), mg.inference_mode(False):
        assert mg.is_grad_enabled()


def test_set_grad_enabled_decorates_and_leaves_the_mode_alone():
    x = _leaf(1.0)
    function = mg.set_grad_enabled(False)(lambda: (x * 2).requires_grad)
    assert mg.is_grad_enabled() and not function() and mg.is_grad_enabled()


def test_a_decorated_generator_switches_only_while_it_runs():
    @mg.no_grad()
    def steps():
        try:
            given = yield mg.is_grad_enabled()
            yield given, mg.is_grad_enabled()
        except KeyError:
            yield "caught", mg.is_grad_enabled()
        return mg.is_grad_enabled()

    generator = steps()
    assert next(generator) is False and mg.is_grad_enabled()
    assert generator.send("sent") == ("sent", False) and mg.is_grad_enabled()
    assert generator.throw(KeyError()) == ("caught", False) and mg.is_grad_enabled()
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value is False
    with contextlib.closing(steps()) as unfinished:
        next(unfinished)
    assert mg.is_grad_enabled()


def test_anomaly_names_a_file_beside_minigrad_whose_name_begins_alike(tmp_path):
    for room in (Path(mg.__file__).parent, Path(sys.modules["minigrad.nn"].__file__).parent):
        script = f"{room}_experiment.py"
        with mg.detect_anomaly(), pytest.raises(AnomalyError) as told:
            exec(compile("mg.tensor([0.0]).log()", script, "exec"), {"mg": mg})
        assert f"{script}:1" in str(told.value)


# ------------------------------------------------------------------------------------------------ copies


def test_leaves_are_copied_whole_and_results_are_not():
    x = _leaf(1.0, 2.0)
    (x * x).sum().backward()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.requires_grad and twin.tolist() == x.tolist() and twin.grad.tolist() == x.grad.tolist()
        assert not np.may_share_memory(twin.array, x.array)
    for attempt in (copy.deepcopy, pickle.dumps):
        with pytest.raises(GradientError, match="only leaves can be copied"):
            attempt(x * 2)


# ------------------------------------------------------------------------------------------------ threads


def test_threads_add_up_their_gradients_of_one_leaf(monkeypatch):
    x = _leaf(1.0)
    losses = [(x * i).sum() for i in range(8)]
    slow = type(x).__add__

    def late(a, b):  # between reading what is there and writing the sum, others get their turn
        time.sleep(0.005)
        return slow(a, b)

    monkeypatch.setattr(type(x), "__add__", late)
    threads = [threading.Thread(target=loss.backward) for loss in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad.tolist() == [28.0]


def test_an_operation_may_be_called_while_anothers_forward_runs():
    """As by a signal handler that interrupts a kernel; numpy's warnings are off in both."""
    x = mg.tensor([-1.0, 4.0])
    outer = Op("outer", lambda a: a + x.sqrt().array, lambda a: a)
    assert outer(mg.tensor([1.0, 1.0])).tolist()[1] == 3.0
    broken = Op("broken", lambda a: (_ for _ in ()).throw(RuntimeError("of its own")), lambda a: a)
    with pytest.raises(RuntimeError, match="of its own"):
        broken(x)
