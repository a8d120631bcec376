"""What a network looks for: ReLU's backward rules against a pass written by hand, occlusion and top images against loops."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz, zoo
from minigrad.core import grad
from minigrad.viz.rules import RULES, relu_rule


def small(activation=nn.ReLU, seed=0):
    mg.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        activation(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(4, 3, 2, stride=2),
        activation(),
        nn.Flatten(),
        nn.Linear(3 * 2 * 2, 5),
    ).double()


IMAGES = np.random.default_rng(1).normal(size=(3, 2, 9, 9))


# ------------------------------------------------------------------------------------------------ the hand-written way


def taps(image, window, stride, padding, size):
    """(output pixel, tap, input pixel) for every tap that lies in the image."""
    for oy, ox, r, s in np.ndindex(*size, *window):
        iy, ix = oy * stride + r - padding, ox * stride + s - padding
        if 0 <= iy < image[0] and 0 <= ix < image[1]:
            yield (oy, ox), (r, s), (iy, ix)


def convolved(x, w, b, stride, padding):
    size = [(n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[1:], w.shape[2:], strict=True)]
    out = np.zeros((len(w), *size)) + b[:, None, None]
    for o, t, i in taps(x.shape[1:], w.shape[2:], stride, padding, size):
        out[:, *o] += w[:, :, *t] @ x[:, *i]
    return out


def transposed(g, w, shape, stride, padding):
    out = np.zeros(shape)
    for o, t, i in taps(shape[1:], w.shape[2:], stride, padding, g.shape[1:]):
        out[:, *i] += g[:, *o] @ w[:, :, *t]
    return out


def pooled(x):
    """Windows of 3 at every 2: the maxima, and where each was."""
    size = [(n - 3) // 2 + 1 for n in x.shape[1:]]
    out, switches = np.zeros((len(x), *size)), {}
    for c, y, z in np.ndindex(out.shape):
        window = x[c, 2 * y : 2 * y + 3, 2 * z : 2 * z + 3]
        r, s = np.unravel_index(window.argmax(), (3, 3))
        out[c, y, z], switches[c, y, z] = window[r, s], (c, 2 * y + r, 2 * z + s)
    return out, switches


def unpooled(g, switches, shape):
    out = np.zeros(shape)
    for place, switch in switches.items():
        out[switch] += g[place]
    return out


def through_relu(g, x, rule):
    if rule == "gradient":
        return np.where(x > 0, g, 0)
    g = np.maximum(g, 0)
    return g if rule == "deconvnet" else np.where(x > 0, g, 0)


def by_hand(model, image, target, rule):
    conv1, conv2, linear = ({n: p.array for n, p in model[i].named_parameters()} for i in (0, 3, 6))
    a = convolved(image, conv1["weight"], conv1["bias"], 1, 1)
    b, switches = pooled(np.maximum(a, 0))
    c = convolved(b, conv2["weight"], conv2["bias"], 2, 0)
    g = through_relu(linear["weight"][target].reshape(c.shape), c, rule)
    g = unpooled(transposed(g, conv2["weight"], b.shape, 2, 0), switches, a.shape)
    return transposed(through_relu(g, a, rule), conv1["weight"], image.shape, 1, 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("target", [0, [4, 1, 2]])
def test_each_rule_is_the_one_written_by_hand(rule, target):
    model = small()
    found = viz.backprop(model, IMAGES, target, rule=rule)
    classes = [target] * 3 if isinstance(target, int) else target
    expected = [by_hand(model, image, label, rule) for image, label in zip(IMAGES, classes, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_the_three_rules_differ_and_the_named_functions_are_theirs():
    model = small()
    gradient, deconvnet, guided = (viz.backprop(model, IMAGES, 1, rule=rule) for rule in RULES)
    assert not np.allclose(gradient, deconvnet)
    assert not np.allclose(gradient, guided)
    assert not np.allclose(guided, deconvnet)
    np.testing.assert_array_equal(viz.deconvnet(model, IMAGES, 1), deconvnet)
    np.testing.assert_array_equal(viz.guided_backprop(model, IMAGES, 1), guided)
    np.testing.assert_array_equal(viz.saliency(model, IMAGES, 1), np.abs(gradient).max(1))


def test_at_one_relu_guided_lets_through_what_both_others_do():
    x = mg.randn(1000, dtype=mg.float64, requires_grad=True)
    g = np.random.default_rng(0).normal(size=1000)
    passed = {}
    for rule in RULES:
        y = mg.relu(x)
        with relu_rule(y, rule):
            passed[rule] = grad(y, x, g)[0].array
    np.testing.assert_array_equal(passed["gradient"], np.where(x.array > 0, g, 0))
    np.testing.assert_array_equal(passed["deconvnet"], np.where(g > 0, g, 0))
    both = (passed["gradient"] != 0) & (passed["deconvnet"] != 0)
    np.testing.assert_array_equal(passed["guided"], np.where(both, g, 0))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Identity, nn.LeakyReLU])
def test_without_relus_the_deconvnet_is_the_gradient(activation):
    model = small(activation)
    x = mg.tensor(IMAGES, requires_grad=True)
    exact = mg.grad(model(x)[:, 2].sum(), x)[0].array
    for rule in RULES:
        np.testing.assert_array_equal(viz.backprop(model, IMAGES, 2, rule=rule), exact)


def test_the_graph_has_its_own_operations_back_whatever_happens():
    x = mg.randn(3, requires_grad=True)
    y = mg.relu(mg.relu(x).exp() - 1)
    plain = mg.grad(y, x, np.ones(3), retain_graph=True)[0].array
    with pytest.raises(RuntimeError), relu_rule(y, "deconvnet"):
        assert y.node.op is RULES["deconvnet"]
        raise RuntimeError
    np.testing.assert_array_equal(mg.grad(y, x, np.ones(3))[0].array, plain)
    with pytest.raises(ValueError, match=r"rule 'magic'; there are gradient, deconvnet, guided"):
        viz.backprop(small(), IMAGES, rule="magic")


# ------------------------------------------------------------------------------------------------ which neuron


def test_a_neuron_within_the_network():
    model = small()
    maps = viz.activations(model, IMAGES, "4")
    x = mg.tensor(IMAGES, requires_grad=True)
    at_one = mg.grad(model[:5](x)[:, 1, 0, 1].sum(), x)[0].array
    np.testing.assert_array_equal(viz.backprop(model, IMAGES, 1, layer="4", at=(0, 1)), at_one)
    for n, image in enumerate(IMAGES):
        channel, row, column = np.unravel_index(maps[n].argmax(), maps[n].shape)
        here = viz.backprop(model, image[None], int(channel), layer="4", at=(row, column))
        np.testing.assert_allclose(viz.backprop(model, IMAGES, layer="4")[n], here[0], rtol=1e-12)  # the most excited one
        np.testing.assert_allclose(viz.backprop(model, IMAGES, int(channel), layer="4")[n], here[0], rtol=1e-12)
    best = model(mg.tensor(IMAGES)).array.argmax(1).tolist()
    np.testing.assert_array_equal(viz.backprop(model, IMAGES), viz.backprop(model, IMAGES, best))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": 5}, "target 5 for 3 images; expected a whole number from 0 to 4, or 3"),
        ({"target": -1}, "target -1"),
        ({"target": [0, 1]}, r"target \[0, 1\] for 3 images"),
        ({"target": 0.5}, "target 0.5"),
        ({"target": 0, "at": (0, 0)}, r"place \(0, 0\) in an output of shape \[3, 5\]"),
        ({"target": 0, "layer": "4", "at": (2, 0)}, r"place \(2, 0\) in an output of shape \[3, 3, 2, 2\]"),
    ],
)
def test_neurons_that_there_are_not(settings, message):
    with pytest.raises(mg.ShapeError, match=message):
        viz.backprop(small(), IMAGES, **settings)


def test_layers_that_there_are_not():
    for ask in (viz.backprop, viz.saliency, viz.deconvnet, viz.guided_backprop):
        with pytest.raises(viz.LayerError, match=r"Sequential has no layer 'conv9'; there are 0, 1, 2, 3, 4, 5, 6$"):
            ask(small(), IMAGES, layer="conv9")
    with pytest.raises(viz.LayerError, match="no layer ''"):
        viz.activations(small(), IMAGES, "")
    with pytest.raises(viz.LayerError, match="'1' has no filters; those have: 0, 3"):
        viz.filters(small(), "1")
    with pytest.raises(ValueError, match=r"images: numbers of a batch"):
        viz.backprop(small(), np.array(["a"]))


class Rich(nn.Module):
    """Something random, buffers that follow the batch or count, and a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)
        self.head, self.spare = nn.Linear(8, 3), nn.ReLU()
        self.register_buffer("calls", mg.zeros(1))

    def forward(self, x):
        self.calls += 1
        x = x + 0 * mg.rand(1)
        return self.head(self.drop(self.norm(self.conv(x)).relu()).flatten(1))


def test_looking_leaves_no_trace():
    model = Rich()
    model.drop.eval()
    images = mg.randn(6, 1, 4, 4)
    model(images).sum().backward()
    before = {name: part.array.copy() for name, part in model.state_dict().items()}
    grads = {name: part.grad for name, part in model.named_parameters()}
    state = mg.get_rng_state()
    first = viz.saliency(model, images)
    np.testing.assert_allclose(first[:2], viz.saliency(model, images.array[:2]), rtol=1e-6)  # each image for itself
    viz.occlusion(model, images, 0, size=2, stride=2)
    viz.top_images(model, images, "conv")
    viz.activations(model, images)
    assert mg.get_rng_state() == state
    assert [m.training for m in model.modules()] == [m is not model.drop for m in model.modules()]
    assert all(part.grad is grads[name] for name, part in model.named_parameters())
    for name, part in model.state_dict().items():
        np.testing.assert_array_equal(part.array, before[name])
    assert not any(module._hooks.by_number for module in model.modules())
    assert not images.requires_grad
    with pytest.raises(viz.LayerError, match="layer 'spare' was not called"):
        viz.activations(model, images, "spare")


# ------------------------------------------------------------------------------------------------ layers


def test_activations_are_what_the_layers_give():
    model = small()
    every = viz.activations(model, IMAGES)
    assert list(every) == ["0", "1", "2", "3", "4", "5", "6"]
    x = mg.tensor(IMAGES)
    for name, layer in model.named_children():
        x = layer(x)
        np.testing.assert_array_equal(every[name], x.detach().array)
        np.testing.assert_array_equal(viz.activations(model, IMAGES, name), every[name])
    assert viz.feature_layers(model, IMAGES) == ["1", "2", "4"]
    same = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Tanh())
    assert viz.feature_layers(same, np.zeros((1, 1, 4, 4))) == ["1", "4"]
    assert viz.feature_layers(zoo.lenet5(), np.zeros((1, 1, 32, 32))) == ["f1", "f2", "f3", "f4", "f5"]


def test_filters_are_the_weights():
    model = small()
    assert {name: w.shape for name, w in viz.filters(model).items()} == {"0": (4, 2, 3, 3), "3": (3, 4, 2, 2)}
    np.testing.assert_array_equal(viz.filters(model, "3"), model[3].weight.array)


# ------------------------------------------------------------------------------------------------ occlusion, top images


@pytest.mark.parametrize(("size", "stride"), [(3, 2), ((2, 5), 1), (9, 4)])
def test_occlusion_is_one_covered_image_after_the_other(monkeypatch, size, stride):
    monkeypatch.setattr("minigrad.viz.features.BATCH", 7)
    model = small()
    height, width = (size, size) if isinstance(size, int) else size
    found = viz.occlusion(model, IMAGES, [3, 0, 1], size, stride, fill=0.5)
    tops, lefts = range(0, 9 - height + 1, stride), range(0, 9 - width + 1, stride)
    assert found.shape == (3, len(tops), len(lefts))
    for (n, label), (i, top), (j, left) in itertools.product(enumerate([3, 0, 1]), enumerate(tops), enumerate(lefts)):
        covered = IMAGES[n : n + 1].copy()
        covered[..., top : top + height, left : left + width] = 0.5
        e = np.exp(model(mg.tensor(covered)).detach().array[0])
        assert np.isclose(found[n, i, j], e[label] / e.sum(), rtol=1e-10)


def test_occlusion_by_default_asks_for_the_models_answer():
    model = small()
    answer = model(mg.tensor(IMAGES)).array.argmax(1).tolist()
    np.testing.assert_array_equal(viz.occlusion(model, IMAGES), viz.occlusion(model, IMAGES, answer, 2, 1))
    with pytest.raises(mg.ShapeError, match=r"a square of 10x10, stride 2, on images of 9x9"):
        viz.occlusion(model, IMAGES, size=10)
    with pytest.raises(mg.ShapeError, match="target 7"):
        viz.occlusion(model, IMAGES, 7)
    with pytest.raises(mg.ShapeError, match=r"expected \(N, classes\)"):
        viz.occlusion(model[:5], IMAGES, 0)


def test_top_images_are_the_strongest(monkeypatch):
    monkeypatch.setattr("minigrad.viz.features.BATCH", 4)
    model = small()
    images = np.random.default_rng(5).normal(size=(11, 2, 9, 9))
    images[6] = images[2]  # a tie: the first stands first
    every = viz.top_images(model, images, "1")
    assert (every.images.shape, every.places.shape) == ((4, 9), (4, 9, 2))
    maps = viz.activations(model, images, "1")
    for channel in range(4):
        own = viz.top_images(model, images, "1", channel)
        peaks = maps[:, channel].max((1, 2))
        expected = sorted(range(11), key=lambda n: (-peaks[n], n))[:9]
        assert own.images.tolist() == expected == every.images[channel].tolist()
        np.testing.assert_array_equal(own.values, peaks[expected])
        for n, value, (row, column) in zip(own.images, own.values, own.places, strict=True):
            assert maps[n, channel, row, column] == value
    assert viz.top_images(model, images, "6", 2, count=20).places.shape == (11, 0)
    with pytest.raises(mg.ShapeError, match="channel 4 of '1', which has 4: from 0 to 3"):
        viz.top_images(model, images, "1", 4)
    with pytest.raises(mg.ShapeError, match="the best 9 of 0 images"):
        viz.top_images(model, images[:0], "1")
