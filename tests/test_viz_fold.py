"""Legible when large: repeats, levels, selections, and the numbers that stay what they were."""

import importlib.util
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz, zoo
from minigrad.ops.pool import Window
from minigrad.viz.labels import setting_words
from minigrad.viz.modules import in_columns
from minigrad.viz.picture import Edge, Item, Picture

GALLERY = Path(__file__).parent.parent / "docs" / "pictures"


def gallery():
    spec = importlib.util.spec_from_file_location("gallery", GALLERY / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lenet():
    return zoo.lenet()


SHAPE = (1, 1, 28, 28)


def titles(drawing):
    return [item.title for item in drawing.picture.items.values() if not item.is_leaf]


def times(drawing):
    return [box.times for box in drawing.picture.boxes.values() if box.times > 1]


# ------------------------------------------------------------------------------------------------ repeats


def test_twelve_residual_blocks_are_drawn_once():
    model = gallery().residual(12)
    drawing = viz.graph(model, (1, 8, 8, 8))
    assert times(drawing) == [12]
    assert titles(drawing) == ["conv2d", "relu", "conv2d", "add", "relu", "reshape", "linear"]
    whole = viz.graph(model, (1, 8, 8, 8), collapse=False)
    for what in ("macs", "parameters", "kept"):
        assert drawing.picture.total(what) == whole.picture.total(what), what
    assert drawing.picture.operations == whole.picture.operations == 12 * 5 + 2
    again = {
        (drawing.picture.items[e.source].title, drawing.picture.items[e.target].title)
        for e in drawing.picture.edges
        if e.kind == "again"
    }
    assert again == {("relu", "conv2d"), ("relu", "add")}


def test_an_lstm_of_500_steps_is_one_cell():
    loss = gallery().unrolled(500)
    drawing = viz.graph(loss)
    assert times(drawing) == [500] and len(drawing.picture.items) < 30
    assert titles(drawing).count("sigmoid") == 3 and titles(drawing).count("tanh") == 2


def test_repeats_within_repeats():
    w, b = mg.ones(3, requires_grad=True), mg.ones(3, requires_grad=True)
    x = mg.ones(3)
    for _ in range(50):
        for _ in range(6):
            x = (x * w).tanh().exp()
        x = (x + b).sin()
    drawing = viz.graph(x.sum())
    assert [(item.title, item.times) for item in drawing.picture.items.values() if not item.is_leaf] == [
        *(("mul", 300), ("tanh", 300), ("exp", 300)),
        *(("add", 50), ("sin", 50), ("sum", 1)),
    ]
    assert sorted(times(drawing)) == [6, 50]
    assert drawing.picture.total("kept") == viz.graph(x.sum(), collapse=False).picture.total("kept")


def test_its_backward_pass_folds_too():
    both = viz.graph(gallery().unrolled(60), what="both")
    assert len(both.picture.items) < 200
    assert len(times(both)) >= 2 and min(times(both)) >= 55


@pytest.mark.slow
def test_fifty_thousand_operations_are_a_small_picture():
    x = mg.randn(1, 4) * 0.1
    w = mg.randn(4, 4, requires_grad=True)
    for _ in range(17_000):
        x = (x @ w + 0.1).tanh()
    drawing = viz.graph(x.sum())
    assert drawing.picture.operations == 51_001
    assert len(drawing.picture.items) < 12
    assert len(drawing.html) < 1_000_000


def test_blocks_that_differ_are_not_called_equal():
    sizes = [3, 4, 5, 6, 7]
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))
    drawing = viz.graph(model, (1, 3), collapse=True)
    assert times(drawing) == [] and titles(drawing).count("linear") == 4


# ------------------------------------------------------------------------------------------------ selections


def test_depth_makes_one_node_of_each_child(lenet):
    drawing = viz.graph(lenet, SHAPE, depth=1)
    assert titles(drawing) == ["features", "classifier"]
    assert drawing.picture.total("parameters") == 61_706
    with pytest.raises(viz.PictureError, match="at least 1"):
        viz.graph(lenet, SHAPE, depth=0)


def test_collapse_takes_names_and_patterns(lenet):
    assert titles(viz.graph(lenet, SHAPE, collapse="classifier"))[-1] == "classifier"
    assert titles(viz.graph(lenet, SHAPE, collapse=["feat*", "classifier"])) == ["features", "classifier"]
    with pytest.raises(viz.PictureError, match=r"nowhere.*features\.conv1"):
        viz.graph(lenet, SHAPE, collapse="nowhere")


def test_focus_shows_a_module_and_its_neighbours(lenet):
    picture = viz.graph(lenet, SHAPE, focus="features.conv2").picture
    assert [item.title for item in picture.items.values() if item.kind == "op"] == ["conv2d"]
    assert {item.title for item in picture.items.values() if item.kind == "more"} == {"max_pool2d", "relu"}
    with pytest.raises(viz.PictureError, match="nowhere"):
        viz.graph(lenet, SHAPE, focus="nowhere")


def test_what_is_left_out_is_bridged(lenet):
    drawing = viz.graph(lenet, SHAPE, exclude=["activation", "pool", "features.conv2"])
    assert titles(drawing) == ["conv2d", "reshape", "linear", "linear", "linear"]
    items = drawing.picture.items
    assert ("conv2d", "reshape") in {(items[e.source].title, items[e.target].title) for e in drawing.picture.edges}
    assert titles(viz.graph(lenet, SHAPE, include="conv*")) == ["conv2d", "conv2d"]
    with pytest.raises(viz.PictureError, match="nothing is left"):
        viz.graph(lenet, SHAPE, include="attention")


def test_a_style_is_asked_for_each_item(lenet):
    drawing = viz.graph(lenet, SHAPE, style=lambda item: {"penwidth": "7"} if item.title == "linear" else None)
    assert drawing.dot.count("penwidth=7") == 3


# ------------------------------------------------------------------------------------------------ modules, columns, pages


def test_alexnets_columns_have_the_numbers_of_the_lecture():
    with nn.init.skip():
        two, one = zoo.alexnet(groups=2), zoo.alexnet(groups=1)
    shape = (1, 3, 227, 227)
    picture = viz.graph(two, shape, what="modules").picture
    convs = [item for item in picture.items.values() if item.title == "Conv2d"]
    assert [item.columns for item in convs] == [2] * 10
    assert [2 * item.parameters for item in convs[::2]] == [34_944, 307_456, 885_120, 663_936, 442_624]
    macs = [105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192]
    assert [2 * item.macs for item in convs[::2]] == macs
    linear = [(item.parameters, item.macs) for item in picture.items.values() if item.title == "Linear"]
    assert linear == [(37_752_832, 37_748_736), (16_781_312, 16_777_216), (4_097_000, 4_096_000)]
    for model, parameters in ((two, 60_965_224), (one, 62_378_344)):
        drawing, counted = viz.graph(model, shape, what="modules"), viz.summary(model, shape)
        assert drawing.picture.total("parameters") == counted.parameters == parameters
        assert drawing.picture.total("macs") == counted.macs
    shapes = [item.shape for item in viz.graph(one, shape, what="modules").picture.items.values() if item.title == "Conv2d"]
    assert [s[1:] for s in shapes] == [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]


def test_lenets_nodes_say_what_the_summary_says(lenet):
    picture, counted = viz.graph(lenet, SHAPE, what="modules").picture, viz.summary(lenet, SHAPE)
    drawn = [item for item in picture.items.values() if item.kind == "layer"]
    assert [(item.shape, item.parameters, item.macs) for item in drawn] == [
        (row.shape, row.parameters, row.macs) for row in counted.rows
    ]
    graph = viz.graph(lenet, SHAPE).picture
    kept = [item.kept for item in graph.items.values() if not item.is_leaf]
    assert kept == [row.kept for row in counted.rows]
    assert [item.parameters for item in drawn if item.parameters] == [156, 2416, 48120, 10164, 850]


def test_a_layer_that_mixes_channels_ends_the_columns():
    items = [
        Item("a", "layer", "Conv2d", family="conv", shape=(1, 4, 8, 8), columns=2),
        Item("b", "layer", "ReLU", family="activation", shape=(1, 4, 8, 8)),
        Item("c", "layer", "Linear", family="linear", shape=(1, 4)),
    ]
    picture = in_columns(Picture({item.key: item for item in items}, (Edge("a", "b"), Edge("b", "c"))))
    assert list(picture.items) == ["a|0", "a|1", "b|0", "b|1", "c"]
    assert {(e.source, e.target) for e in picture.edges if e.kind == "data"} == {
        ("a|0", "b|0"),
        ("a|1", "b|1"),
        ("b|0", "c"),
        ("b|1", "c"),
    }


def test_a_tall_model_fits_a_page():
    with nn.init.skip():
        drawing = viz.graph(zoo.alexnet(), (1, 3, 227, 227))
    width, height = (float(n) for n in re.search(r'width="(\d+)pt" height="(\d+)pt"', drawing.svg).groups())
    assert height / width < 1.8
    assert [e.kind for e in drawing.picture.edges].count("across") == 1


def test_a_model_from_a_users_tensors_knows_its_input_where_nothing_keeps_it():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return x + self.layer(x)

    items = viz.graph(Twice(), mg.randn(2, 3)).picture.items
    assert [item.title for item in items.values() if item.kind in ("input", "constant")] == ["input"]


def test_buffers_have_their_names():
    class Codes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)
            self.register_buffer("codes", mg.randn(2, 4))

        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return (self.layer(x) - self.codes).tanh()

    items = viz.graph(Codes(), mg.randn(2, 3)).picture.items
    assert [item.title for item in items.values() if item.kind == "constant"] == ["codes"]


def test_a_layer_has_the_colour_of_what_is_typical_of_it():
    class Squash(nn.Module):
        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return (x * 2).tanh() * 1.7

    picture = viz.graph(nn.Sequential(nn.Linear(2, 2), Squash()), (1, 2), what="modules").picture
    assert [item.family for item in picture.items.values() if item.kind == "layer"] == ["linear", "activation"]


def test_what_is_kept_is_drawn_between_the_passes(lenet):
    svg = viz.graph(lenet, SHAPE, what="both").svg
    (kept,) = (float(x) for x in re.findall(r'x="([-\d.]+)"[^>]*>kept by the forward pass<', svg))
    passes = [float(x) for x in re.findall(r'x="([-\d.]+)"[^>]*>features.relu1<', svg)]
    assert min(passes) < kept < max(passes)


def test_both_passes_keep_what_the_forward_pass_keeps(lenet):
    picture = viz.graph(lenet, SHAPE, what="both").picture
    assert picture.total("kept") == viz.summary(lenet, SHAPE).kept
    assert viz.graph(lenet, SHAPE, what="backward").picture.total("kept") == 0


def test_indices_are_written_as_in_brackets():
    index = (slice(None), slice(0, 8), None, Ellipsis, 3, slice(None, None, 2))
    assert setting_words({"index": index}) == "[:, 0:8, None, …, 3, ::2]"
    assert setting_words({"index": slice(1, None)}) == "[1:]"


def test_arrays_among_the_settings_are_named_by_their_shape():
    assert setting_words({"stats": (np.zeros(8), np.ones((2, 3)))}) == "stats array 8, array 2×3"


def test_settings_that_an_operation_takes_as_one_are_written_each_for_itself():
    window = Window(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil_mode=False)
    assert setting_words({"size": (28, 28), "window": window}) == "size 28×28, window 2×2, stride 2"
    assert setting_words({"dtype": np.dtype(np.float64)}) == "dtype float64"


# ------------------------------------------------------------------------------------------------ the gallery


@pytest.mark.slow
def test_the_gallery_is_as_it_would_be_drawn_today():
    """Words and shapes only: random weights, fonts and Graphviz's version may differ."""

    def words(svg):
        text = [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
        return sorted(word for word in text if not re.search(r"\d[\d.e-]* … |NaN|Inf of|dead", word))

    drawn = set()
    for name, drawing in gallery().pictures():
        assert words(drawing.svg) == words((GALLERY / name).read_text(encoding="utf-8")), name
        drawn.add(name)
    assert drawn == {path.name for path in GALLERY.glob("*.svg")}
    shown = (GALLERY.parent / "pictures.md").read_text(encoding="utf-8")
    assert all(f"pictures/{name}" in shown for name in drawn)


def test_weights_that_were_not_drawn_are_not_needed():
    with nn.init.skip():
        model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert viz.graph(model, (1, 2)).dot == viz.graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (1, 2)).dot
    state = mg.get_rng_state()
    with nn.init.skip():
        nn.Linear(5, 5)
    assert mg.get_rng_state() == state
    assert not np.array_equal(nn.Linear(5, 5).weight.array, nn.Linear(5, 5).weight.array)  # and afterwards they are drawn
