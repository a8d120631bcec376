"""Sequential, ModuleList, ModuleDict."""

from collections import OrderedDict

import pytest

import minigrad as mg
from minigrad import nn


def three():
    return [nn.Linear(1, 1), nn.ReLU(), nn.Tanh()]


def test_sequential_runs_in_order_and_is_indexed_like_a_list():
    parts = three()
    model = nn.Sequential(*parts)
    assert len(model) == 3 and list(model) == parts
    assert model[0] is parts[0] and model[-1] is parts[2]
    x = mg.ones(1, 1)
    assert model(x).item() == parts[2](parts[1](parts[0](x))).item()
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"Sequential: no module {index}, there are 3"):
            model[index]


def test_a_slice_shares_its_modules_and_keeps_their_names():
    model = nn.Sequential(OrderedDict(zip("abc", three(), strict=True)))
    tail = model[1:]
    assert type(tail) is nn.Sequential and list(tail._modules) == ["b", "c"] and tail[0] is model.b
    assert [type(m) for m in model[::-1]] == [nn.Tanh, nn.ReLU, nn.Linear]
    assert model[0] is model.a


def test_modules_are_put_in_taken_out_and_added():
    model = nn.Sequential(*three())
    model[1] = nn.Sigmoid()
    assert [type(m).__name__ for m in model] == ["Linear", "Sigmoid", "Tanh"]
    del model[0]
    assert list(model._modules) == ["0", "1"] and type(model[0]) is nn.Sigmoid
    model.append(nn.ReLU()).extend([nn.ELU()]).insert(0, nn.Identity())
    assert [type(m).__name__ for m in model] == ["Identity", "Sigmoid", "Tanh", "ReLU", "ELU"]
    assert list(model._modules) == ["0", "1", "2", "3", "4"]
    del model[1:4]
    assert [type(m).__name__ for m in model] == ["Identity", "ELU"]


def test_names_stay_where_a_module_is_taken_out_of_named_ones():
    model = nn.Sequential(OrderedDict(zip("abc", three(), strict=True)))
    del model[0]
    assert list(model._modules) == ["b", "c"]


def test_one_module_may_stand_at_several_places():
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(2, 2), relu)
    assert len(model) == 3 and model[0] is model[2] and len(list(model.modules())) == 3


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="'1' is a function, not a Module"):
        nn.Sequential(nn.ReLU(), three)


def test_a_module_list_is_registered_and_added_up():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert len(list(layers.parameters())) == 6 and len(layers) == 3
    both = layers + nn.ModuleList([nn.ReLU()])
    assert type(both) is nn.ModuleList and len(both) == 4 and both[1] is layers[1]
    assert type(layers[:2]) is nn.ModuleList
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)


def test_a_module_dict_is_a_dictionary():
    parts = nn.ModuleDict({"lin": nn.Linear(1, 2), "act": nn.ReLU()})
    assert list(parts) == ["lin", "act"] == list(parts.keys()) and len(parts) == 2
    assert "lin" in parts and "x" not in parts
    assert [name for name, _ in parts.named_parameters()] == ["lin.weight", "lin.bias"]
    parts["act"] = nn.Tanh()
    assert type(parts["act"]) is nn.Tanh and list(parts) == ["lin", "act"]
    assert dict(parts.items())["lin"] is parts["lin"] and list(parts.values())[1] is parts["act"]
    lin = parts.pop("lin")
    assert isinstance(lin, nn.Linear) and list(parts) == ["act"]
    parts.update([("x", nn.ELU())])
    del parts["act"]
    assert list(parts) == ["x"]
    parts.clear()
    assert not len(parts)
    with pytest.raises(KeyError):
        parts["x"]
