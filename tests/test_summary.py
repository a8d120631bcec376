"""The table of a model: its numbers against arithmetic and the published ones, shared weights, and that it leaves no trace."""

import html.parser

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.viz.labels import amount, byte_size, compact


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


class Shared(nn.Module):
    """One layer called twice, with an operation of the model's own in between."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.unused = nn.Linear(2, 3)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return self.layer(self.layer(x).exp())


def test_lenet_has_the_numbers_of_the_lecture():
    counted = viz.summary(lenet(), (1, 1, 28, 28))
    assert counted.parameters == counted.trainable == 61_706
    assert [row.parameters for row in counted.rows if row.parameters] == [156, 2416, 48120, 10164, 850]
    assert [row.macs for row in counted.rows if row.macs] == [
        6 * 28 * 28 * 25,
        16 * 10 * 10 * 6 * 25,
        400 * 120,
        120 * 84,
        84 * 10,
    ]
    assert [row.shape for row in counted.rows][:6] == [
        (1, 6, 28, 28),
        (1, 6, 28, 28),
        (1, 6, 14, 14),
        (1, 16, 10, 10),
        (1, 16, 10, 10),
        (1, 16, 5, 5),
    ]
    assert counted.parameter_bytes == 4 * 61_706


def test_what_the_backward_pass_keeps_counts_once():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    counted = viz.summary(model, (7, 3))
    # The first layer keeps its input, relu its output, and that is also what the last layer keeps.
    assert [row.kept for row in counted.rows] == [4 * 7 * 3, 4 * 7 * 5, 0]
    assert [row.output for row in counted.rows] == [4 * 7 * 5, 4 * 7 * 5, 4 * 7 * 2]


def test_macs_are_of_the_whole_batch():
    one, eight = (viz.summary(lenet(), (n, 1, 28, 28)).macs for n in (1, 8))
    assert eight == 8 * one == 8 * 416_520


def test_shared_weights_count_once():
    counted = viz.summary(Shared(), (1, 4))
    assert [(row.name, row.kind, row.parameters, row.shared) for row in counted.rows] == [
        ("layer", "Linear", 20, False),
        ("", "exp", 0, False),
        ("layer", "Linear", 0, True),
    ]
    assert [row.macs for row in counted.rows] == [16, 0, 16]
    assert counted.parameters == 20 + 9  # the unused layer's are there too
    assert "shared" in counted.text()


def test_frozen_layers_are_counted_and_keep_nothing():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    counted = viz.summary(model, (1, 3))
    assert [row.macs for row in counted.rows] == [15, 0, 10]
    assert [row.kept for row in counted.rows] == [0, 0, 20]
    assert counted.trainable == 12
    assert "20 frozen" in counted.text()


def test_modules_that_do_nothing_have_a_row():
    counted = viz.summary(nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2)), (1, 2))
    assert [row.kind for row in counted.rows] == ["Linear", "Identity", "Linear"]


def test_it_leaves_no_trace():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    model[2].train()
    before = {name: tensor.array.copy() for name, tensor in model.state_dict().items()}
    state = mg.get_rng_state()
    viz.summary(model, (2, 1, 5, 5))
    assert mg.get_rng_state() == state
    assert [module.training for module in model.modules()] == [False, False, False, True]
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_page_is_whole():
    page = viz.summary(nn.Sequential(nn.Linear(2, 2)), (1, 2)).html()
    open_tags: list[str] = []

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert not open_tags
    assert "http" not in page
    # In a narrow window settings are wrapped, and a table that is wider even so is moved sideways in its frame.
    assert "td:nth-child(2){white-space:normal" in page and "div{overflow-x:auto}" in page and "<div><table>" in page


@pytest.mark.parametrize("width", [24, 40, 60, 80])
def test_in_a_narrow_terminal_columns_go_and_nothing_is_broken(width):
    counted = viz.summary(lenet(), (1, 1, 28, 28))
    whole, narrow = counted.text().splitlines(), counted.text(width).splitlines()
    words = {word for line in whole[:18] for word in line.split()}
    rows = [line for line in narrow if line.split() and line.split()[0].isdecimal()]
    assert [row.split()[0] for row in rows] == [row.name for row in counted.rows]
    assert all(word in words or f"{word}(" in counted.text() for row in rows for word in row.split())
    assert all(shape in row for shape, row in zip(("1×6×28×28", "1×6×28×28", "1×6×14×14"), rows, strict=False))
    assert max(map(len, narrow)) <= width
    assert "left out for want of room: settings" in " ".join(counted.text(width).split())
    assert "left out" not in counted.text()


def test_a_name_too_long_for_any_terminal_stays_whole():
    name = "a_name_that_goes_on_" * 12
    assert name in viz.summary(nn.Sequential({name: nn.Linear(2, 2)}), (1, 2)).text()


def test_a_shape_is_wanted():
    with pytest.raises(TypeError, match=r"\(1, 3, 227, 227\)"):
        viz.summary(lenet(), "28")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (61_706, "61.7 k"), (724_406_816, "724.41 M"), (1_135_256_096, "1.14 G")]
)
def test_amounts(value, text):
    assert amount(value) == text


def test_byte_sizes():
    assert [byte_size(n) for n in (0, 999, 1000, 243_860_896)] == ["0 B", "999 B", "1.00 kB", "243.86 MB"]


def test_settings_without_what_goes_without_saying():
    long = "3, 96, kernel_size=(11, 3), stride=(4, 4), padding=(0, 0), groups=2, bias=True"
    assert compact(long) == "3, 96, 11\N{MULTIPLICATION SIGN}3, stride 4, groups 2"
    assert compact("in_features=4, out_features=2, bias=False") == "4, 2, bias False"
    assert compact("") == ""
