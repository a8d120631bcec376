"""Modules: registering, walking, state, hooks, the path in the recorded graph, and what is shown of them."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import GradientError, StateDictError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False))
        self.scale = nn.Parameter(mg.ones(1))
        self.register_buffer("seen", mg.zeros(1))
        self.register_buffer("scratch", mg.zeros(1), persistent=False)

    def forward(self, x):
        return self.second(self.first(x)) * self.scale


# ---------------------------------------------------------------------------------------------------- parameters


def test_a_parameter_is_a_leaf_that_shares_memory_and_its_results_are_plain_tensors():
    data = mg.tensor([1.0, 2.0])
    p = nn.Parameter(data)
    assert p.requires_grad and p.is_leaf and p.array is data.array and p.cell is data.cell
    assert type(p * 2) is mg.Tensor and type(p.detach()) is mg.Tensor
    (p * p).sum().backward()
    np.testing.assert_array_equal(p.grad.array, [2.0, 4.0])
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"


def test_a_parameter_of_something_that_cannot_be_written_owns_a_copy():
    p = nn.Parameter(mg.ones(1).expand((3,)))
    p.array[0] = 5
    np.testing.assert_array_equal(p.array, [5, 1, 1])


def test_a_parameter_of_integers_is_refused_unless_it_needs_no_gradient():
    with pytest.raises(GradientError, match="int64"):
        nn.Parameter([1, 2])
    assert not nn.Parameter([1, 2], requires_grad=False).requires_grad


# ---------------------------------------------------------------------------------------------------- registering


def test_parts_are_found_in_order_with_dotted_names():
    block = Block()
    assert [name for name, _ in block.named_parameters()] == ["scale", "first.weight", "first.bias", "second.1.weight"]
    assert [name for name, _ in block.named_parameters(recurse=False)] == ["scale"]
    assert next(name for name, _ in block.named_parameters(prefix="block")) == "block.scale"
    assert [name for name, _ in block.named_buffers()] == ["seen", "scratch"]
    assert [name for name, _ in block.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [name for name, _ in block.named_children()] == ["first", "second"]
    assert block.get_submodule("second.1") is block.second[1] and block.get_submodule("") is block
    assert block.get_parameter("first.bias") is block.first.bias


def test_a_path_that_breaks_off_is_named():
    with pytest.raises(AttributeError, match=r"second has no module '7', only \['0', '1'\]"):
        Block().get_submodule("second.7.weight")
    with pytest.raises(AttributeError, match=r"second\.1\.bias"):
        Block().get_parameter("second.1.bias")


def test_shared_parts_are_counted_once():
    model = nn.Module()
    model.a = nn.Linear(2, 2)
    model.b = nn.Linear(2, 2)
    model.b.weight = model.a.weight
    model.c = model.a
    assert [name for name, _ in model.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "a", "b"]
    everything = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert everything == ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"]
    assert list(model.state_dict()) == everything
    assert len(list(model.children())) == 2


def test_assignment_moves_a_name_to_where_its_new_value_belongs():
    m = nn.Module()
    m.x = 3
    m.x = nn.Parameter(mg.zeros(1))
    assert "x" not in m.__dict__ and list(m._parameters) == ["x"]
    m.x = nn.ReLU()
    assert not m._parameters and isinstance(m.x, nn.ReLU)
    m.x = None
    assert m.x is None and list(m._modules) == ["x"]
    del m.x
    assert not hasattr(m, "x")
    m.x = 4
    assert m.x == 4


def test_what_can_not_be_registered_is_refused():
    m = Block()
    with pytest.raises(TypeError, match="scale is a parameter; it can't be set to a Tensor"):
        m.scale = mg.ones(1)
    with pytest.raises(TypeError, match="seen is a buffer; it can't be set to a float"):
        m.seen = 1.0
    with pytest.raises(TypeError, match="'p' is a Tensor, not a Parameter or None"):
        m.register_parameter("p", mg.ones(1))
    with pytest.raises(TypeError, match="not a Module or None"):
        m.add_module("p", mg.ones(1))
    for name in ("a.b", ""):
        with pytest.raises(KeyError, match="no dot"):
            m.add_module(name, nn.ReLU())
    with pytest.raises(KeyError, match="attribute of the class"):
        m.train = nn.ReLU()
    with pytest.raises(KeyError, match="has an attribute 'first' already"):
        m.register_buffer("first", mg.ones(1))
    with pytest.raises(AttributeError, match=r"Block has no attribute 'third'$"):
        m.third  # noqa: B018
    assert m.seen.shape == (1,) and isinstance(m.train(), Block)


def test_a_forgotten_super_init_is_named():
    class Forgetful(nn.Module):
        def __init__(self):
            self.settings = 3  # nothing wrong yet
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"Forgetful\.__init__ must call super\(\).__init__\(\) before it sets 'layer'"):
        Forgetful()


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


# ---------------------------------------------------------------------------------------------------- switching


def test_training_mode_gradients_and_apply_reach_everything():
    block = Block()
    assert block.eval() is block
    assert not any(m.training for m in block.modules())
    assert all(m.training for m in block.train().modules())
    block.requires_grad_(False)
    assert not any(p.requires_grad for p in block.parameters())
    order = []
    block.apply(lambda m: order.append(type(m).__name__))
    assert order == ["Linear", "ReLU", "Linear", "Sequential", "Block"]


def test_zero_grad_drops_or_empties():
    block = Block()
    block(mg.randn(2, 3)).sum().backward()
    kept = block.scale.grad
    block.zero_grad(set_to_none=False)
    assert all(not p.grad.array.any() for p in block.parameters()) and block.scale.grad is not kept
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())


def test_conversion_keeps_the_parameters_and_leaves_integers():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = list(model.parameters())
    model(mg.randn(4, 2)).sum().backward()
    assert model.double() is model
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
    assert all(p.dtype == np.float64 and p.grad.dtype == np.float64 for p in model.parameters())
    assert model[1].running_mean.dtype == np.float64 and model[1].num_batches_tracked.dtype == np.int64
    assert model(mg.randn(4, 2, dtype=mg.float64)).dtype == np.float64
    assert all(p.dtype == np.float32 for p in model.float().parameters())
    with pytest.raises(TypeError, match="int64 is not a type of floating point"):
        model.to(mg.int64)


def test_a_graph_recorded_before_a_conversion_is_not_walked_with_the_new_numbers():
    layer = nn.Linear(2, 2)
    out = layer(mg.randn(1, 2, requires_grad=True)).sum()
    layer.double()
    with pytest.raises(GradientError, match="changed in place"):
        out.backward()


# ---------------------------------------------------------------------------------------------------- state


def test_a_state_goes_over_to_another_module():
    a, b = Block(), Block()
    a.seen.array[:] = 7
    state = a.state_dict()
    assert list(state) == ["scale", "seen", "first.weight", "first.bias", "second.1.weight"]
    assert not any(t.requires_grad for t in state.values())
    assert b.load_state_dict(state) == ([], [])
    for (name, p), (_, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.array, q.array, err_msg=name)
        assert p.array is not q.array
    assert b.seen.item() == 7


def test_a_state_of_arrays_is_converted_to_the_types_of_the_parts():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.5, 2.5]]), "bias": np.array([3])})
    assert layer.weight.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.array, [[1.5, 2.5]])
    np.testing.assert_array_equal(layer.bias.array, [3.0])


def test_everything_that_does_not_fit_is_told_at_once_and_nothing_is_loaded():
    block = Block()
    before = block.first.weight.array.copy()
    state = {k: v.array.copy() + 1 for k, v in block.state_dict().items()}
    del state["scale"], state["seen"]
    state["extra"] = np.zeros(1)
    state["first.bias"] = np.zeros(3)
    with pytest.raises(StateDictError) as error:
        block.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: the state does not fit Block. "
        "missing: scale, seen; unexpected: extra; wrong shape: first.bias ([3] for [2])"
    )
    with pytest.raises(StateDictError, match="wrong shape"):
        block.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(block.first.weight.array, before)
    del state["first.bias"]
    left_out = block.load_state_dict(state, strict=False)
    assert left_out.missing_keys == ["scale", "seen", "first.bias"] and left_out.unexpected_keys == ["extra"]
    np.testing.assert_array_equal(block.first.weight.array, before + 1)


def test_loading_is_a_change_in_place_that_backward_notices():
    layer = nn.Linear(2, 2)
    out = layer(mg.randn(1, 2, requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(GradientError, match="changed in place"):
        out.backward()


def test_a_deep_copy_is_independent_and_keeps_what_is_shared():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model(mg.randn(1, 2))
    twin = copy.deepcopy(model)
    assert twin[0].weight is twin[1].weight and twin[0].weight is not model[0].weight
    twin[0].weight.array[:] = 0
    assert model[0].weight.array.all()
    out = twin(mg.randn(1, 2))
    assert (out.node.scope, out.node.edges[0].scope) == ("1", "0")


# ---------------------------------------------------------------------------------------------------- hooks


def test_hooks_see_and_replace_arguments_and_outputs_until_they_are_removed():
    layer = nn.Identity()
    seen = []
    before = layer.register_forward_pre_hook(lambda module, args: seen.append(("before", module, args)))
    double = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
    after = layer.register_forward_hook(lambda module, args, out: seen.append(("after", args, out)))
    plus = layer.register_forward_hook(lambda module, args, out: out + 1)
    assert layer(5) == 11
    assert seen == [("before", layer, (5,)), ("after", (10,), 10)]
    for handle in (before, double, after, plus, plus):
        handle.remove()
    assert layer(5) == 5 and len(seen) == 2


def test_one_hook_may_stand_twice_and_a_handle_is_a_block():
    layer = nn.Identity()
    hook = lambda module, args, out: out + 1  # noqa: E731
    with layer.register_forward_hook(hook):
        second = layer.register_forward_hook(hook)
        assert layer(0) == 2
    assert layer(0) == 1
    second.remove()
    assert layer(0) == 0


def test_a_hook_may_remove_itself_while_it_runs():
    layer = nn.Identity()
    handles = []
    handles.append(layer.register_forward_hook(lambda module, args, out: handles[0].remove()))
    layer.register_forward_hook(lambda module, args, out: out + 1)
    assert layer(0) == 1 and layer(0) == 1


# ---------------------------------------------------------------------------------------------------- showing


def test_the_tree_of_modules():
    model = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Linear(2, 3), nn.ReLU()), none=nn.Flatten()))
    assert repr(model) == (
        "Sequential(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): ReLU()\n"
        "  )\n"
        "  (none): Flatten(start_dim=1, end_dim=-1)\n"
        ")"
    )
    assert repr(nn.Sequential()) == "Sequential()"
    assert {"body", "none", "training"} <= set(dir(model))
