"""What is used in a wrong way is told so in one sentence: what was given, where, and what would fit."""

import re

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad.errors import ShapeError
from minigrad.io.safetensors import save_file
from minigrad.utils.data import DataLoader

# ------------------------------------------------------------------------------------------------ tensors and losses


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x: F.conv2d(x, mg.ones(1, 1, 2, 2)), "conv2d: input is a ndarray; expected a tensor"),
        (lambda x: F.max_pool2d(x, 2), "max_pool2d: input is a ndarray; expected a tensor"),
        (lambda x: F.conv2d(mg.ones(1, 1, 2, 2), x), "conv2d: weight is a ndarray; expected a tensor"),
    ],
)
def test_what_is_no_tensor_is_named(call, told):
    with pytest.raises(TypeError, match=told):
        call(np.ones((1, 1, 4, 4), np.float32))


_LOGITS, _LABELS = mg.ones(4, 3), mg.tensor([0, 1, 2, 2])


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss, F.mse_loss, nn.CrossEntropyLoss(), nn.NLLLoss(), nn.MSELoss()])
@pytest.mark.parametrize("stranger", [None, [1], np.ones((4, 3)), 1.0])
def test_a_loss_of_what_is_no_tensor_names_it(loss, stranger):
    shown = "None" if stranger is None else f"a {type(stranger).__name__}"
    for name, given in (("input", (stranger, _LABELS)), ("target", (_LOGITS, stranger))):
        with pytest.raises(TypeError, match=rf"^\w+: {name} is {shown}; expected a tensor \(minigrad.tensor makes one\)$"):
            loss(*given)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_a_loss_is_told_of_labels_and_weights_that_are_none(loss):
    name = loss.__name__
    told = rf"{name}: input float32 \[4, 3\], target float32 \[4\]; expected class indices, integers \[4\] \(convert with .long"
    with pytest.raises(TypeError, match=told):
        loss(_LOGITS, _LABELS.float())
    with pytest.raises(TypeError, match=f"{name}: weight is a str; expected a tensor"):
        loss(_LOGITS, _LABELS, "sum")
    with pytest.raises(ShapeError, match=f"{name}: logits need a class axis"):
        loss(_LOGITS.sum(), _LABELS)
    assert loss(_LOGITS, _LABELS > 1).item() == loss(_LOGITS, (_LABELS > 1).long()).item()


def test_probabilities_of_another_shape_are_told_what_fits():
    with pytest.raises(ShapeError, match=r"target float32 \[4, 1\]; expected class indices, .*, or probabilities \[4, 3\]$"):
        F.cross_entropy(_LOGITS, mg.ones(4, 1))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([[1, 2], [3]], r"data[0] is 2 long, data[1] is 1 long; all of one level must be equally long"),
        ([[[1, 2]], [[1, 2, 3]]], "data[0][0] is 2 long, data[1][0] is 3 long"),
        ([[1, 2], 3], "data[0] is 2 long, data[1] is a number"),
        ([np.ones((2, 3)), np.ones((2, 4))], "data[0][0] is 3 long, data[1][0] is 4 long"),
        ([mg.ones(2), mg.ones(3)], "data[0] is 2 long, data[1] is 3 long"),
    ],
)
def test_ragged_lists_are_told_where(data, told):
    for dtype in (None, "float32"):
        with pytest.raises(ShapeError, match=re.escape(f"tensor: the nested lists are ragged: {told}")):
            mg.tensor(data, dtype=dtype)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "None (NoneType) as object"),
        (["a"], "'a' (str) as <U1"),
        ([[1.0, 2], [3, "four"]], "'four' (str) as <U"),
        (np.array(["a"]), "np.str_('a') (str_) as <U1"),
        ([2**70], f"{2**70} (int) as object"),
        ({1: 2}, "{1: 2} (dict) as object"),
    ],
)
def test_what_is_no_number_makes_no_tensor(data, told):
    fits = "a number, nested lists of numbers, an array or a tensor"
    with pytest.raises(TypeError, match=rf"^tensor: {re.escape(told)}.* is no number that a tensor can hold; expected {fits}$"):
        mg.tensor(data)
    if isinstance(data, np.ndarray):
        with pytest.raises(TypeError, match=r"from_numpy: .* expected an array of numbers"):
            mg.from_numpy(data)


def test_numbers_that_are_refused_by_numpy_itself_have_its_words():
    with pytest.raises(ValueError, match="could not convert string to float"):
        mg.tensor([["a", 1], ["b", 2]], dtype="float32")


@pytest.mark.parametrize("several", [mg.ones(2, 3), mg.ones(0)])
def test_several_numbers_are_no_single_one(several):
    shape = re.escape(str(list(several.shape)))
    for call in (bool, lambda x: F.relu(x, x), lambda x: x + 1 in [x], lambda x: 1 if x > 0 else 0):
        with pytest.raises(ShapeError, match=rf"^bool: a tensor of shape {shape} is neither true nor false.*x\.any\(\)"):
            call(several)
    for kind in (float, int):
        with pytest.raises(ShapeError, match=rf"^{kind.__name__}: a tensor of shape {shape} is not one number"):
            kind(several)
    for x in (several, mg.tensor(1.0)):
        with pytest.raises(TypeError, match=r"^a tensor float32 \[.*\] stands where one whole number is expected"):
            range(x)
    assert range(mg.tensor([2])) == range(2) and bool(mg.tensor([[0.5]])) and float(mg.tensor([2])) == 2.0


@pytest.mark.parametrize("join", [mg.cat, mg.stack])
def test_what_is_joined_comes_in_a_list(join):
    a = mg.ones(2)
    for given in ((a, a), (iter([a]),)):
        with pytest.raises(TypeError, match=rf"{join.__name__}: tensors is a \w+; expected a list or tuple of tensors"):
            join(*given)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_class_weights_of_another_number_are_named(loss):
    with pytest.raises(ShapeError, match=r"class weights of shape \[5\] for logits of shape \[2, 3\]; \[3\] would fit"):
        loss(mg.ones(2, 3), mg.tensor([1, 2]), weight=mg.ones(5))


def test_smoothing_by_more_than_all():
    with pytest.raises(ValueError, match=r"label_smoothing 2\.0 must lie from 0 to 1"):
        F.cross_entropy(mg.ones(2, 3), mg.tensor([1, 2]), label_smoothing=2.0)


def test_negative_lengths_are_no_shape():
    with pytest.raises(ShapeError, match=r"reshape: \[-2, -3\] has a negative length"):
        mg.ones(2, 3).reshape(-2, -3)


# ------------------------------------------------------------------------------------------------ layers


@pytest.mark.parametrize(
    ("call", "kind", "told"),
    [
        (
            lambda: nn.Linear(28 * 28 / 2, 5),
            TypeError,
            "Linear: in_features = 392.0; expected a whole number (// divides to one)",
        ),
        (lambda: nn.Linear(3, "5"), TypeError, "Linear: out_features = '5'; expected a whole number"),
        (lambda: nn.Linear(3, -1), ValueError, "Linear: out_features = -1; expected 0 or more"),
        (lambda: nn.BatchNorm2d(3.0), TypeError, "BatchNorm2d: num_features = 3.0; expected a whole number"),
        (lambda: nn.Conv2d(3.0, 8, 3), TypeError, "Conv2d: in_channels = 3.0; expected a whole number"),
        (lambda: nn.Conv2d(3, 8, 3, groups=1.0), TypeError, "Conv2d: groups = 1.0; expected a whole number"),
        (lambda: nn.Conv2d(3, 8, 3.0), TypeError, "Conv2d: kernel_size 3.0; whole numbers expected"),
        (lambda: nn.Conv1d(3, 8, "3"), TypeError, "Conv1d: kernel_size '3'; whole numbers expected"),
        (lambda: nn.Conv2d(3, 8, None), TypeError, "Conv2d: kernel_size None; whole numbers expected"),
        (lambda: nn.Conv2d(3, 8, 0), ShapeError, "Conv2d: kernel_size 0; must be at least 1"),
        (lambda: nn.Conv2d(3, 8, 3, stride=0), ShapeError, "Conv2d: stride 0; must be at least 1"),
        (lambda: nn.Conv2d(3, 8, 3, stride=(2, 0)), ShapeError, "Conv2d: stride (2, 0); must be at least 1"),
        (lambda: nn.Conv1d(3, 8, 3, dilation=0), ShapeError, "Conv1d: dilation 0; must be at least 1"),
        (lambda: nn.Conv2d(3, 8, 3, padding=-1), ShapeError, "Conv2d: padding -1; must be at least 0"),
    ],
)
def test_a_layer_refuses_sizes_that_are_none_when_it_is_made(call, kind, told):
    with pytest.raises(kind, match=f"^{re.escape(told)}"):
        call()


def test_whole_numbers_of_numpy_make_layers():
    three = np.int64(3)
    assert nn.Linear(three, three)(mg.ones(1, 3)).shape == (1, 3)
    assert nn.Conv2d(1, 2, three, stride=three, padding=np.int64(1))(mg.ones(1, 1, 7, 7)).shape == (1, 2, 3, 3)


# ------------------------------------------------------------------------------------------------ states


@pytest.mark.parametrize("given", ["m.pt", None, nn.Linear(2, 2), [1]])
def test_a_state_comes_by_name(given, tmp_path):
    name, layer = type(given).__name__, nn.Linear(2, 2)
    with pytest.raises(TypeError, match=rf"load_state_dict: state_dict is a {name}; .*load_file\(path\) reads them$"):
        layer.load_state_dict(given)
    with pytest.raises(TypeError, match=rf"SGD\.load_state_dict: 'param_groups' and 'state' expected.*, got a {name}$"):
        optim.SGD(layer.parameters()).load_state_dict(given)
    with pytest.raises(TypeError, match=rf"save_file: tensors is a {name}; expected .*, as model\.state_dict\(\) gives them$"):
        save_file(given, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_another_dictionary_is_no_state(tmp_path):
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"'param_groups' and 'state' expected.*, got \['weight', 'bias'\]$"):
        optim.SGD(layer.parameters()).load_state_dict(layer.state_dict())
    with pytest.raises(TypeError, match=r"save_file: the names are \[1\]; expected"):
        save_file({1: np.ones(2)}, tmp_path / "m.safetensors")


# ------------------------------------------------------------------------------------------------ optimisers


def test_an_optimiser_wants_parameters():
    model = nn.Linear(2, 2)
    for given in (model, model.parameters, None):
        told = rf"^SGD: an iterable of parameters expected, such as model\.parameters\(\), got a {type(given).__name__}$"
        with pytest.raises(TypeError, match=told):
            optim.SGD(given)
    for group in ({"lr": 1}, {"params": None}, {"params": model}):
        with pytest.raises(TypeError, match=r"SGD: a group is a dictionary whose 'params' are parameters, got \{'"):
            optim.SGD([group])
    with pytest.raises(TypeError, match=r"a Linear is no parameter; tensors expected, such as model\.parameters\(\) gives"):
        optim.SGD(nn.Sequential(model))
    assert len(optim.SGD([{"params": model.weight}, {"params": [model.bias]}]).param_groups) == 2


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_rates_are_numbers(kind):
    model = nn.Linear(2, 2)
    for rate in ("1e-3", None, 1j, [0.1]):
        with pytest.raises(TypeError, match=rf"^{kind.__name__}: lr = {re.escape(repr(rate))} is no number$"):
            kind(model.parameters(), lr=rate)
    with pytest.raises(ValueError, match="lr = -1 must not be below 0"):
        kind(model.parameters(), lr=-1)
    kind(model.parameters(), lr=np.float32(0.1))


@pytest.mark.parametrize("betas", [0.9, (0.9,), ("0.9", 0.99)])
def test_betas_are_two_numbers(betas):
    with pytest.raises(TypeError, match=rf"Adam: betas = {re.escape(repr(betas))}; expected two numbers"):
        optim.Adam(nn.Linear(2, 2).parameters(), betas=betas)


# ------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("make", [np.ones, mg.ones])
def test_samples_of_two_shapes_are_named_by_their_number(make):
    samples = [make((2, 3)), make((2, 3)), make((2, 4)), make((2, 3))]
    alike = "the samples of one batch must be alike, or a collate_fn join them"
    told = f"default_collate: sample {{0}}{{2}} has shape [2, 3], sample {{1}}{{2}} has shape [2, 4]; {alike}"
    for wrapped, place in (
        (samples, ""),
        ([(x, 1) for x in samples], "[0]"),
        ([{"x": {"y": x}} for x in samples], "['x']['y']"),
    ):
        with pytest.raises(ShapeError, match=re.escape(told.format(0, 2, place))):
            next(iter(DataLoader(wrapped, batch_size=4)))
        with pytest.raises(ShapeError, match=re.escape(told.format(3, 2, place))):
            next(iter(DataLoader(wrapped, batch_sampler=[[3, 2]])))


@pytest.mark.parametrize(
    ("samples", "kind", "told"),
    [
        ([1, None], TypeError, "sample 0 is a int, sample 1 is a NoneType"),
        ([np.ones(2), "a"], TypeError, "sample 0 is a ndarray, sample 1 is a str"),
        ([mg.ones(2), 1.0], TypeError, "sample 0 is a Tensor, sample 1 is a float"),
        ([(1, 2), 3], TypeError, "sample 0 is a tuple, sample 1 is a int"),
        ([(1, 2), (3,)], ShapeError, "sample 0 has 2 parts, sample 1 has 1 parts"),
        ([{"x": 1, "y": 2}, {"y": 3}], ShapeError, "sample 0 has the keys ['x', 'y'], sample 1 has the keys ['y']"),
    ],
)
def test_samples_of_two_kinds_are_named(samples, kind, told):
    with pytest.raises(kind, match=re.escape(f"default_collate: {told}; ")):
        next(iter(DataLoader(samples, batch_size=2)))


def test_samples_that_differ_in_kind_of_number_or_order_of_keys_are_alike():
    (numbers,) = DataLoader([np.float32(1), 2, True], batch_size=3)
    assert numbers.tolist() == [1, 2, 1]
    (batch,) = DataLoader([{"x": 1, "y": 2}, {"z": 0, "y": 4, "x": 3}], batch_size=2)
    assert {key: value.tolist() for key, value in batch.items()} == {"x": [1, 3], "y": [2, 4]}
