"""Which module made a node: the path that is kept while modules run."""

import gc
import threading
import weakref
from collections import OrderedDict

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.graph import reachable
from minigrad.modes import modes


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False))
        self.scale = nn.Parameter(mg.ones(1))

    def forward(self, x):
        return self.second(self.first(x)) * self.scale


def scopes(out):
    """Operation and path of every recorded node, oldest first."""
    return [(node.name, node.scope) for node in reversed(reachable([out.node]))]


def test_nodes_know_which_module_made_them():
    out = Block()(mg.randn(2, 3))
    assert scopes(out) == [("linear", "first"), ("relu", "second.0"), ("linear", "second.1"), ("mul", "")]
    assert modes.now.scope is None
    assert scopes(out + 1)[-1] == ("add", None)


def test_a_module_called_on_its_own_is_its_own_root():
    block = Block()
    block(mg.randn(2, 3))
    assert scopes(block.second(mg.randn(1, 2))) == [("linear", "1")]
    assert scopes(block.first(mg.randn(1, 3))) == [("linear", "")]


def test_the_path_returns_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    model = nn.Sequential(nn.Sequential(Broken()))
    with pytest.raises(RuntimeError, match="broken"):
        model(1)
    assert modes.now.scope is None
    assert scopes(nn.Linear(1, 1)(mg.ones(1, 1))) == [("linear", "")]


def test_a_shared_module_has_the_path_it_is_called_by():
    act, lin = nn.Tanh(), nn.Linear(2, 2)
    model = nn.Sequential(OrderedDict(a=lin, b=act, c=nn.Sequential(lin, act), d=act))
    names = [scope for _, scope in scopes(model(mg.randn(1, 2)))]
    assert names == ["a", "b", "c.0", "c.1", "d"]


def test_calls_past_a_container_have_true_paths_and_strangers_their_callers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
            self.named = nn.ModuleDict({"head": nn.Sequential(nn.Tanh())})
            self.hidden = [nn.Tanh()]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            x = nn.Sigmoid()(x)
            return self.hidden[0](self.named["head"][0](x))

    expected = ["layers.0", "layers.1", "", "named.head.0", ""]
    assert [scope for _, scope in scopes(Net()(mg.randn(1, 2)))] == expected
    outer = nn.Sequential(Net())
    expected = ["0.layers.0", "0.layers.1", "0", "0.named.head.0", "0"]
    assert [scope for _, scope in scopes(outer(mg.randn(1, 2)))] == expected


def test_paths_follow_changes_of_the_structure():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    assert [s for _, s in scopes(model(mg.randn(1, 2)))] == ["0", "1"]
    model.insert(1, nn.Sigmoid())
    assert scopes(model(mg.randn(1, 2))) == [("linear", "0"), ("sigmoid", "1"), ("tanh", "2")]
    model[0] = nn.Sequential(nn.Linear(2, 2))
    assert scopes(model(mg.randn(1, 2)))[0] == ("linear", "0.0")


def test_each_thread_has_its_own_path():
    inside, proceed = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x):
            inside.set()
            proceed.wait(5)
            return x

    thread = threading.Thread(target=nn.Sequential(Waits()), args=(1,))
    thread.start()
    assert inside.wait(5)
    assert scopes(nn.Sequential(nn.Linear(1, 1))(mg.ones(1, 1))) == [("linear", "0")]
    proceed.set()
    thread.join()


def test_a_called_model_is_freed_with_its_last_reference():
    model = nn.Sequential(nn.Linear(1, 1))
    model(mg.ones(1, 1))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()
