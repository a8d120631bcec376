"""Watching a model learn: what is kept is what was there, watching changes nothing, and the figure shows it."""

import io

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim, viz
from minigrad.viz.histograms import Histograms, histograms


def net(activation=nn.Tanh):
    mg.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), activation(), nn.Dropout(0.2), nn.Linear(8, 8), activation(), nn.Linear(8, 3))


def learn(model, watch=None, epochs=2, batches=4):
    """The losses of some epochs of training; the epochs are closed."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    rng, losses = np.random.default_rng(0), []
    for _ in range(epochs):
        for _ in range(batches):
            x, y = mg.tensor(rng.normal(size=(5, 6)).astype(np.float32)), mg.tensor(rng.integers(0, 3, 5))
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if watch is not None:
            watch.end_epoch()
    return losses


def test_small_layers_are_kept_whole():
    model = net()
    seen, came = [], []

    def beside(_module, args, output):
        seen.append(output.array.ravel())
        args[0].register_hook(lambda g: came.append(g.array.ravel()))

    watch = Histograms(model, every=1)
    model[4].register_forward_hook(beside)
    learn(model, watch)
    assert watch.layers == ("1", "4")
    for epoch, part in enumerate(watch.epochs):
        np.testing.assert_array_equal(part["4"].values, np.concatenate(seen[4 * epoch : 4 * epoch + 4]))
        np.testing.assert_array_equal(part["4"].gradients, np.concatenate(came[4 * epoch : 4 * epoch + 4]))
        assert part["1"].values.dtype == np.float32
    assert (watch.epochs[0]["1"].gradients != 0).any()


def test_large_ones_are_sampled_and_only_some_batches_count():
    model = net()
    watch = Histograms(model, ["4", "5"], every=3, sample=7)
    seen = []
    model[4].register_forward_hook(lambda module, args, output: seen.append(output.array))
    learn(model, watch)
    for part, batches in zip(watch.epochs, (seen[:4], seen[4:]), strict=True):
        for sample, batch in zip(part["4"].values.reshape(2, 7), batches[::3], strict=True):
            assert np.isin(sample, batch).all()
            assert len(set(sample.tolist())) > 3
    assert [{path: (len(s.values), len(s.gradients)) for path, s in part.items()} for part in watch.epochs] == [
        {"4": (14, 14), "5": (14, 14)}  # the first and the fourth batch; layer 5 takes 40 numbers and gives 15
    ] * 2


def test_watching_changes_nothing_and_can_be_ended():
    plain = learn(net())
    model = net()
    with Histograms(model, every=1) as watch:
        assert learn(model, watch) == plain
    assert not any(module._hooks.by_number or module._pre_hooks.by_number for module in model.modules())
    learn(model)
    assert len(watch.epochs) == 2
    with pytest.raises(ValueError, match="end_epoch: nothing was seen"):
        watch.end_epoch()


def test_only_learning_is_watched():
    model = net()
    watch = Histograms(model, every=1)
    x = mg.randn(5, 6)
    with mg.no_grad():
        model(x)
    model.eval()(x)
    with pytest.raises(ValueError, match="nothing was seen"):
        watch.end_epoch()
    model.train()(x)  # no backward pass comes by
    watch.end_epoch()
    assert len(watch.epochs[0]["1"].values) == 40
    assert len(watch.epochs[0]["1"].gradients) == 0


def test_what_cannot_be_watched():
    with pytest.raises(viz.LayerError, match=r"Sequential has no layer 'conv'; there are 0, 1, 2, 3, 4, 5"):
        Histograms(net(), ["conv"])
    with pytest.raises(viz.LayerError, match=r"has no activation layers; name some: \['0'\]"):
        Histograms(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="every = 0"):
        Histograms(net(), every=0)
    model = net()
    with pytest.raises(ValueError, match="a closed epoch"):
        histograms(Histograms(model))


def test_the_figure_has_a_row_for_each_layer_and_a_pair_of_columns_for_each_run():
    watched = {}
    for name, activation in (("tanh", nn.Tanh), ("ReLU", nn.ReLU)):
        model = net(activation)
        watched[name] = Histograms(model, every=1)
        learn(model, watched[name], epochs=3)
    figure = histograms(watched, title="two")
    assert len(figure.axes) == 2 * 2 * 2
    shown = figure.axes[0].images[0]
    values = [epoch["1"].values for epoch in watched["tanh"].epochs]
    low, high = shown.get_extent()[2:]
    counts = np.stack([np.histogram(np.clip(v, low, high), 48, (low, high))[0] / len(v) for v in values], axis=1)
    np.testing.assert_allclose(shown.get_array(), np.sqrt(counts / np.quantile(counts[counts > 0], 0.95)))
    medians = figure.axes[0].lines[0].get_ydata()[1:-1]
    np.testing.assert_allclose(medians, [np.median(v) for v in values])
    zeros = (watched["ReLU"].epochs[-1]["1"].gradients == 0).mean()
    assert figure.axes[5].texts[0].get_text() == f"0: {zeros:.0%}"
    assert {figure.axes[i].get_ylim() for i in (1, 3, 5, 7)} == {figure.axes[1].get_ylim()}  # one scale for all gradients
    with pytest.raises(ValueError, match=r"runs of \[1, 2\] layers"):
        model = net()
        other = Histograms(model, ["1"])
        learn(model, other)
        histograms({**watched, "other": other})


def test_numbers_that_are_none_are_told():
    model = net(nn.ReLU)
    watch = Histograms(model, every=1)
    model[0].weight.data = mg.full((8, 6), np.nan)
    learn(model, watch, epochs=1)
    figure = histograms(watch)
    (text,) = figure.axes[0].texts
    assert text.get_text() == "not finite: 100%"
    assert text.get_path_effects(), "the rim with which it is read on a dark ground"
    figure.savefig(io.BytesIO(), format="png")
