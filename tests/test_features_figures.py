"""Figures of what a network looks for: the right numbers at the right places, and `minigrad draw --what features`."""

import numpy as np
import pytest
from test_cli import refused, run  # noqa: F401 (a fixture)
from test_data_zoo import folder_of

import minigrad as mg
from minigrad import nn, viz, zoo
from minigrad.io.safetensors import save_file
from minigrad.viz import gallery
from minigrad.viz.figures import mosaic, save_figure
from minigrad.viz.gallery import draw_activations, draw_filters, draw_reasons, draw_top, over_image

RNG = np.random.default_rng(0)


def pictures(figure):
    """The pictures in a figure, in the order in which they were drawn, and the words."""
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    words = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]
    return drawn, words


def test_a_mosaic_has_its_tiles_in_rows():
    tiles = np.arange(5 * 20 * 18).reshape(5, 20, 18)
    whole = mosaic(tiles, 3, gap=2)
    assert whole.shape == (42, 58)
    for i, tile in enumerate(tiles):
        top, left = i // 3 * 22, i % 3 * 20
        np.testing.assert_array_equal(whole[top : top + 20, left : left + 18], tile)
    assert np.isnan(whole).sum() == 42 * 58 - 5 * 20 * 18
    small = mosaic(np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    np.testing.assert_array_equal(small, np.array([[1.0, 2.0], [3.0, 4.0]]).repeat(15, 0).repeat(15, 1))


def test_filters_stand_in_a_row_for_each_channel():
    weight = RNG.normal(size=(4, 2, 30, 30))
    (first, second), words = pictures(draw_filters({"a": weight, "b": weight[:, :1]}, title="weights"))
    for f, c in np.ndindex(4, 2):
        np.testing.assert_array_equal(first.get_array()[c * 34 : c * 34 + 30, f * 34 : f * 34 + 30], weight[f, c])
    top = np.abs(weight).max()
    assert first.get_clim() == (-top, top)
    assert second.get_array().shape == (30, 4 * 34 - 4)
    assert f"a: 4 filters of 30x30 over 2 channels, a row for each channel; from {-top:.2g} to {top:.2g}" in words
    assert "weights" in words


def test_filters_over_three_channels_are_coloured_and_many_are_cut():
    weight = RNG.normal(size=(5, 3, 30, 30))
    (coloured, many), words = pictures(draw_filters({"rgb": weight, "many": RNG.normal(size=(300, 50, 3, 3))}))
    tile = coloured.get_array()[:30, 34:64]
    expected = np.moveaxis((weight[1] - weight[1].min()) / np.ptp(weight[1]), 0, -1)
    np.testing.assert_allclose(tile, expected, atol=1e-12)
    assert any("300 filters of 3x3 over 50 channels; drawn: the first 24 filters and 8 channels" in word for word in words)
    assert many.get_array().shape == (8 * 34 - 4, 24 * 34 - 4)


def test_activations_are_amounts_or_signed():
    maps = {"relu": RNG.uniform(0, 3, (2, 30, 30)), "tanh": RNG.uniform(-1, 1, (70, 30, 30)), "dead": np.zeros((1, 4, 4))}
    (image, relu, tanh, dead), words = pictures(draw_activations(RNG.normal(size=(1, 8, 8)), maps))
    assert image.get_array().min() == 0
    assert image.get_array().max() == 1
    np.testing.assert_array_equal(relu.get_array()[:, 31:61], maps["relu"][1])
    assert relu.get_clim() == (0, maps["relu"].max())
    assert tanh.get_clim()[0] == -tanh.get_clim()[1]
    assert dead.get_clim() == (0, 1)
    assert any("tanh: 70 maps of 30x30; drawn: the first 64 maps" in word for word in words)


def test_reasons_stand_beside_their_images():
    images, signed, amount = RNG.normal(size=(2, 1, 30, 30)), RNG.normal(size=(2, 1, 30, 30)), RNG.uniform(size=(2, 7, 7))
    drawn, words = pictures(draw_reasons(images, {"gradient": signed, "occlusion": amount}, ["a 3", "a 5"]))
    assert len(drawn) == 6
    np.testing.assert_allclose(drawn[4].get_array(), signed[1, 0] / np.abs(signed[1]).max())
    np.testing.assert_array_equal(drawn[5].get_array(), amount[1])
    assert {"image", "gradient", "occlusion", "a 3", "a 5", f"±{np.abs(signed[0]).max():.2g}", f"{amount[1].max():.2g}"} <= {
        *words
    }


def test_traces_stay_pale():
    amount = np.array([[[0.0, 1e-6]], [[0.0, 0.4]]])
    images = np.zeros((2, 1, 3, 3))
    drawn, _ = pictures(draw_reasons(images, {"lost": amount, "own": amount}, least={"lost": 0.05}))
    assert [drawn[i].get_clim()[1] for i in (1, 2, 4, 5)] == [0.05, 1e-6, 0.4, 0.4]


def test_occlusion_stands_round_the_middle_of_its_squares():
    numbers = np.arange(6.0).reshape(1, 2, 3)
    picture = over_image(numbers, (9, 12), size=6, stride=3)[0]
    for i, j in np.ndindex(2, 3):
        middle = (3 * i + 3, 3 * j + 3)  # of the square's six pixels: between the third and the fourth
        assert picture[middle] == picture[middle[0] - 1, middle[1] - 1] == numbers[0, i, j]
    assert np.isnan(picture[0]).all()
    assert np.isnan(picture[:, 0]).all()


def test_top_images_are_cut_to_what_the_channel_sees():
    images = RNG.uniform(0.1, 1, (2, 3, 1, 40, 40))
    back = np.zeros_like(images)
    corners = {}
    for channel, place in np.ndindex(2, 3):
        corners[channel, place] = top, left = RNG.integers(0, 40 - 12, 2)
        back[channel, place, 0, top : top + 12, left : left + 10] = 1.0
    own, seen = gallery._seen(images, back)
    assert own.shape == seen.shape == (2, 3, 1, 12, 10)
    assert (seen == 1).all()
    for (channel, place), (top, left) in corners.items():
        np.testing.assert_array_equal(own[channel, place, 0], images[channel, place, 0, top : top + 12, left : left + 10])
    back[0, 0] = 0
    back[0, 0, 0, 20:24, 30] = 1.0  # less of the image than others: it stands in the middle
    own, seen = gallery._seen(images, back)
    np.testing.assert_array_equal(own[0, 0, 0], images[0, 0, 0, 16:28, 25:35])
    assert seen[0, 0].sum() == 4
    top = viz.Top(np.zeros((2, 3), int), np.array([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), np.zeros((2, 3, 2), int))
    drawn, words = pictures(draw_top(images, back, top, [0, 1], title="a layer"))
    assert len(drawn) == 4
    assert {"channel 0", "channel 1: never excited", "a layer"} <= {*words}
    assert gallery._seen(images, np.zeros_like(back))[0].shape == (2, 3, 1, 1, 1)  # all dead: nothing to see


def test_figures_are_written_whole_or_not_at_all(tmp_path):
    weight = RNG.normal(size=(2, 1, 3, 3))
    figure = draw_filters({"a": weight})
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        whole = save_figure(figure, tmp_path / f"a{ending}").read_bytes()
        assert whole.startswith(start)
        assert save_figure(draw_filters({"a": weight}), tmp_path / f"a{ending}").read_bytes() == whole
    with pytest.raises(ValueError, match=r"can't draw a \.gif; \.png, \.svg, \.pdf"):
        save_figure(figure, tmp_path / "a.gif")
    with pytest.raises(FileNotFoundError):
        save_figure(figure, tmp_path / "nowhere" / "a.png")
    assert len(list(tmp_path.iterdir())) == 3


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of LeNet as a run leaves them, and digits."""
    folder = tmp_path_factory.mktemp("run")
    mg.manual_seed(0)
    state = {name: part.array for name, part in zoo.lenet().state_dict().items()}
    save_file(state, folder / "model.safetensors", {"model": "lenet", "mean": "0.13", "std": "0.3"})
    return folder, folder_of(tmp_path_factory.mktemp("data"), train=30, test=20)


FILES = ["activations", "filters", "reasons", "top-features.relu1", "top-features.relu2"]


def test_features_are_drawn_into_a_folder(run, trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    weights, data = trained
    words = ("draw", "lenet", "--what", "features", "--data", data)
    assert run(*words, "--weights", weights) == (0, "lenet-features\n", "")  # the run's folder
    assert sorted(path.name for path in (tmp_path / "lenet-features").iterdir()) == [f"{name}.png" for name in FILES]


def test_features_of_one_layer(run, trained, tmp_path):  # noqa: F811
    weights, data = trained
    for layer, names in (("features.conv2", ["activations", "filters"]), ("classifier.relu4", [])):
        out = tmp_path / layer.replace(".", "-")
        words = ("draw", "lenet", "--what", "features", "--data", data, "--weights", weights, "--layer", layer, "--out", out)
        assert run(*words)[0] == 0
        assert sorted(path.stem for path in out.iterdir()) == [*names, f"top-{layer}"]


def test_features_of_a_model_of_ones_own(run, trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from minigrad import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 30, 10))\n"
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(32 * 30, 10))
    save_file({name: part.array for name, part in model.state_dict().items()}, tmp_path / "w.safetensors")
    words = ("draw", "own.py:net", "--what", "features", "--data", trained[1], "--input", "1,1,32,30", "--out", "deep/a.svg")
    assert run(*words, "--weights", "w.safetensors") == (0, "deep/a\n", "")
    assert [path.name for path in (tmp_path / "deep/a").iterdir()] == ["reasons.svg"]


def test_features_that_cannot_be_drawn(run, trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    weights, data = trained

    def refuse(message, *words):
        refused(run("draw", *words, "--what", "features"), message, "minigrad draw")

    refuse("needs a trained model: --weights runs", "lenet")
    refuse("nowhere: No such file", "lenet", "--weights", "nowhere")
    refuse("holds the weights of lenet, not of lenet5", "lenet5", "--weights", weights, "--data", data)
    refuse(
        "LeNet has no layer 'conv9'; there are features.conv1, ",
        *("lenet", "--weights", weights, "--data", data, "--layer", "conv9"),
    )
    refuse("expected mnist5k, digits or a folder", "lenet", "--weights", weights, "--data", "nowhere")
    refuse(
        "images of 1x20x20; .* has images of 1x28x28", *("lenet", "--weights", weights, "--data", data, "--input", "1,1,20,20")
    )
    refuse(r"features are drawn as \.png, \.svg, \.pdf", "lenet", "--weights", weights, "--out", "a.dot")
    save_file({"features.conv1.weight": np.zeros((6, 1, 3, 3), np.float32)}, tmp_path / "other.safetensors")
    refuse(
        r"other.safetensors: load_state_dict: the state does not fit LeNet\. missing: ",
        *("lenet", "--weights", "other.safetensors"),
    )
    state = {name: part.array for name, part in zoo.lenet().state_dict().items()}
    save_file(state, tmp_path / "odd.safetensors", {"mean": "much"})
    refuse("mean or std of the images is not a number", "lenet", "--weights", "odd.safetensors", "--data", data)
    (tmp_path / "text.safetensors").write_text("hello")
    refuse("not a safetensors file", "lenet", "--weights", "text.safetensors")
    assert not any(path.is_dir() for path in tmp_path.iterdir())
