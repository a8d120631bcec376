"""Numbers on pictures: what went wrong is seen where it went wrong."""

import math
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.viz.observe import stats_of
from minigrad.viz.palette import INK, SCALE, step_of


class Net(nn.Module):
    """Two layers with a ReLU between, and one that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)
        self.forgotten = nn.Linear(2, 2)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return self.second(self.first(x).relu())


def watched(model=None, x=None):
    model = Net() if model is None else model
    x = mg.randn(5, 3) if x is None else x
    with viz.watch():
        loss = model(x).square().sum()
        loss.backward()
    return model, loss


def item(drawing, title):
    (found,) = (item for item in drawing.picture.items.values() if item.title == title)
    return found


def test_numbers_are_numpys():
    array = np.array([[-2.0, 0.0], [4.0, 1.0]], np.float32)
    stats = stats_of(array)
    assert (stats.minimum, stats.mean, stats.maximum, stats.size, stats.zeros) == (-2, 0.75, 4, 4, 1)
    assert stats.norm == pytest.approx(math.sqrt(21), rel=1e-15)
    assert stats.rms == pytest.approx(math.sqrt(21 / 4), rel=1e-15)


def test_a_mean_that_is_nothing_but_rounding_is_0():
    array = np.linspace(-1, 1, 6, dtype=np.float32)
    array[0] += 1e-7
    assert stats_of(array).mean == 0
    assert stats_of(array.astype(np.float64)).mean != 0  # there it is more than rounding
    assert stats_of(array + np.float32(1e-6)).mean == pytest.approx(1e-6, rel=0.1)


def test_norms_of_huge_and_tiny_numbers_are_right():
    for scale in (1e30, 1e-30):
        assert stats_of(np.full(4, scale, np.float32)).norm == pytest.approx(2 * scale, rel=1e-6)
    assert stats_of(np.full(4, 1e300)).norm == pytest.approx(2e300)


def test_more_than_one_chunk(monkeypatch):
    monkeypatch.setattr("minigrad.viz.observe._CHUNK", 7)
    array = np.random.default_rng(0).normal(size=(10, 10))
    stats = stats_of(array)
    assert stats.norm == pytest.approx(np.linalg.norm(array)) and stats.mean == pytest.approx(array.mean())


def test_broken_numbers_are_counted_and_left_out():
    stats = stats_of(np.array([np.nan, np.inf, -np.inf, 1.0, 3.0]))
    assert (stats.nans, stats.infs, stats.minimum, stats.mean, stats.maximum) == (1, 2, 1, 2, 3)
    assert stats.broken and stats_of(np.array([np.nan])).rms == 0


def test_values_and_gradients_are_those_of_the_step():
    model, x = Net(), mg.randn(5, 3)
    _, loss = watched(model, x)
    drawing = viz.graph(loss, model, x)
    hidden = x.array @ model.first.weight.array.T + model.first.bias.array
    relu = item(drawing, "relu")
    assert relu.value.maximum == pytest.approx(hidden.max(), rel=1e-6)
    assert relu.value.zeros == (hidden <= 0).sum()
    out = np.maximum(hidden, 0) @ model.second.weight.array.T + model.second.bias.array
    gradient = 2 * out @ model.second.weight.array  # of the sum of squares, back through the second layer
    assert relu.gradient.norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    (leaf, _) = item(drawing, "first.weight").leaves
    assert leaf.gradient.norm == pytest.approx(np.linalg.norm(model.first.weight.grad.array), rel=1e-6)
    assert item(drawing, "input").leaves[0].value.maximum == x.array.max()


def test_watching_changes_nothing():
    model = Net()
    watched(model, mg.ones(5, 3))
    seen = [p.grad.array.copy() for p in (model.first.weight, model.second.bias)]
    model.zero_grad()
    model(mg.ones(5, 3)).square().sum().backward()
    for one, p in zip(seen, (model.first.weight, model.second.bias), strict=True):
        np.testing.assert_array_equal(one, p.grad.array)
    assert mg.ones(1).requires_grad_().exp().node.hooks is None  # outside the block nobody looks on


def test_what_was_seen_goes_with_the_graph():
    from minigrad.viz import observe

    before = len(observe._seen)
    _, loss = watched()
    assert len(observe._seen) > before
    del loss
    assert len(observe._seen) == before


def test_parameters_without_gradient_are_hatched():
    _, loss = watched()
    drawing = viz.graph(loss, Net())  # another model: none of its parameters was used
    names = {leaf.name for it in drawing.picture.items.values() for leaf in it.leaves if leaf.missing}
    assert names == {f"{m}.{p}" for m in ("first", "second", "forgotten") for p in ("weight", "bias")}
    model, loss = watched()
    drawing = viz.graph(loss, model)
    missing = [it for it in drawing.picture.items.values() if any(leaf.missing for leaf in it.leaves)]
    assert [it.title for it in missing] == ["forgotten.weight"]
    assert drawing.dot.count("style=striped") == 1 and "no gradient arrived" in drawing.dot


def test_a_parameter_that_the_backward_pass_left_out_is_hatched():
    model = Net()
    loss = model(mg.ones(2, 3)).sum()
    loss.backward(inputs=[model.second.weight])
    drawing = viz.graph(loss, model)
    missing = {leaf.name for it in drawing.picture.items.values() for leaf in it.leaves if leaf.missing}
    assert missing == {f"{m}.{p}" for m in ("first", "second", "forgotten") for p in ("weight", "bias")} - {"second.weight"}


def test_drawing_gradients_before_backward_warns():
    model = Net()
    loss = model(mg.randn(5, 3)).sum()
    with pytest.warns(UserWarning, match=r"no backward\(\).*viz\.watch"):
        drawing = viz.graph(loss, model, stats=True)
    assert not any(stats for it in drawing.picture.items.values() for stats in it.gradients())
    assert item(drawing, "relu").value is not None  # kept for the backward pass, so it is there
    assert "gradient" not in node_labels(drawing)


def node_labels(drawing):
    return "".join(line for line in drawing.dot.splitlines() if "label=" in line and "graph" not in line)


def test_after_backward_numbers_appear_by_themselves_and_before_they_do_not():
    model = Net()
    loss = model(mg.randn(5, 3)).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert item(viz.graph(loss, model), "first.weight").leaves[0].value is None
        loss.backward()
        drawing = viz.graph(loss, model)
    assert item(drawing, "first.weight").leaves[0].gradient is not None
    assert item(drawing, "relu").value is None and any("viz.watch()" in note for note in drawing.picture.notes)


def test_the_first_nan_is_found_forward_and_backward():
    x = mg.tensor([1.0, 4.0], requires_grad=True)
    with viz.watch():
        y = ((x - 1).log() * 0).exp().sum()  # log 0 is -Inf, times 0 is NaN
        y.backward()
    drawing = viz.graph(y)
    assert item(drawing, "log").notes == ("NaN or Inf first appears here",)
    assert item(drawing, "log").value.infs == 1 and item(drawing, "mul").value.nans == 1
    assert item(drawing, "sub").notes == () and not item(drawing, "sub").value.broken
    backward = [it.title for it in drawing.picture.items.values() if "the first gradient with NaN or Inf" in it.notes]
    assert backward == ["exp"] or backward == ["mul"]
    assert INK.alarm in drawing.dot


def test_dead_units_are_told_with_their_share():
    layer = nn.Linear(2, 4)
    layer.bias.array[:] = [-100, 100, -100, 100]
    layer.bias.touched()
    with viz.watch():
        loss = layer(mg.randn(6, 2)).relu().sum()
    with pytest.warns(UserWarning, match="backward"):
        drawing = viz.graph(loss, stats=True)
    assert item(drawing, "relu").notes == ("dead: 2 of 4 units, 50 %",)
    assert stats_of(np.zeros((2, 3, 4, 4)), units=True).units == 3  # channels of an image


@pytest.mark.parametrize(("rms", "step"), [(0, 0), (1e-12, 0), (1e-9, 0), (1e-3, 4), (1e-4, 3), (1, 6), (1e3, 8), (1e20, 8)])
def test_scale_of_gradients(rms, step):
    assert step_of(rms) == step


def test_vanishing_gradients_get_their_colour():
    model = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.Sigmoid())))
    _, loss = watched(model, mg.randn(4, 8))
    picture = viz.graph(loss, model, collapse=False).picture
    steps = [step_of(it.gradient.rms) for it in picture.items.values() if it.title == "linear"]
    assert steps == sorted(steps) and steps[0] <= 2 and steps[-1] >= 4
    dot = viz.graph(loss, model, collapse=False).dot
    assert f'BGCOLOR="{SCALE[steps[0]][0]}"' in dot and "vanishing" in dot


def test_a_models_run_shows_its_values():
    with pytest.warns(UserWarning, match="backward"):
        drawing = viz.graph(Net(), mg.ones(1, 3), stats=True)
    assert all(it.value is not None for it in drawing.picture.items.values() if not it.is_leaf)


def test_a_repeated_block_shows_the_nan_of_any():
    x = mg.ones(2, requires_grad=True)
    with viz.watch():
        y = x
        for _ in range(30):
            y = (y * 2).exp().log()  # exp overflows after a few
        loss = y.sum()
        loss.backward()
    drawing = viz.graph(loss)
    folded = {it.title: it for it in drawing.picture.items.values() if it.times == 30}
    assert set(folded) == {"mul", "exp", "log"}
    assert folded["exp"].broken and "NaN or Inf first appears here" in folded["exp"].notes


def test_a_folded_module_tells_of_the_nan_within():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    model[0][0].weight.array[0, 0] = np.nan
    _, loss = watched(model, mg.ones(1, 2))
    drawing = viz.graph(loss, model, depth=1)
    folded = next(it for it in drawing.picture.items.values() if it.title == "0")
    assert folded.broken
    assert "NaN" in drawing.dot
