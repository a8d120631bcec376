"""The command line: what a person sees, and one clear line with exit code 2 for every bad request."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_data_zoo import folder_of

import minigrad
from minigrad.cli import main
from minigrad.cli.show import Show
from minigrad.io.checkpoint import load_state, save_state
from minigrad.zoo import runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("digits"), train=40, test=20)


@pytest.fixture
def run(capsys):
    """Run a command line; gives exit code, standard output, standard error."""

    def call(*argv):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def train(run, folder):
    """A small training run, with further options."""
    return lambda *more: run("train", "lenet", "--data", folder, "--epochs", 2, "--batch-size", 16, *more)


def whole_files(out):
    """Nothing half written is in the folder: what is there can be read."""
    assert not list(out.glob(".unfinished*"))
    for path in out.glob("*.json"):
        json.loads(path.read_text())
    if (out / runs.CHECKPOINT).exists():
        runs.read_checkpoint(out)


def refused(result, message, program="minigrad train"):
    code, _, err = result
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith(f"{program}: ")
    assert re.search(message, err), err


def metrics(out):
    return {k: v for k, v in json.loads((out / "metrics.json").read_text()).items() if k != "seconds"}


# ------------------------------------------------------------------------------------------------ what a person sees


def test_a_run_from_start_to_end(train, tmp_path):
    code, out, err = train("--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "lenet: 61,706 parameters; " in out
    assert "40 images to learn from, 20 held out" in out
    assert re.search(r"^epoch 2/2: loss .*, accuracy .*%; held out: loss .*, accuracy .*%; [\d,]+ images/s$", out, re.M)
    assert "rows: truth; columns: answer" in out
    assert re.search(r"% of 20 held-out images are right, \d+ wrong; \d+\.\d s", out)
    assert f"in {tmp_path / 'run'}: metrics.json, " in out.replace("\n", "")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(runs.FILES)


def test_quiet_prints_one_line(train, tmp_path):
    code, out, err = train("--out", tmp_path / "run", "--quiet")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert str(tmp_path / "run") in out


def test_compiling_is_told_once_and_only_if_it_happens(capsys):
    show = Show()
    show.compiling("conv2d")
    show.compiling("max_pool")
    assert capsys.readouterr().out.count("compiling kernels") == 1
    quiet = Show(quiet=True)
    quiet.compiling("conv2d")
    assert capsys.readouterr().out == ""


@pytest.fixture
def on_terminal(train, tmp_path, monkeypatch):
    """What a terminal of some columns shows of a training run, without colours."""

    def shown(columns):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = train("--out", tmp_path / "run")
        assert code == 0
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)

    return shown


def test_a_terminal_gets_a_bar(on_terminal):
    shown = on_terminal(120)
    assert re.search(r"epoch 2/2 .*loss \d\.\d+ accuracy \d+\.\d+% [\d,]+ images/s 0:00:00", shown)
    assert "rows: truth; columns: answer" in shown


def test_in_a_narrow_terminal_no_number_is_cut_short(on_terminal):
    shown = on_terminal(40)
    assert re.search(r"epoch 2/2 +loss \d\.\d{4} +accuracy \d+\.\d\d% *[\r\n]", shown)
    assert "…" not in shown
    assert "rows: truth" not in shown and re.search(r"needs \d\d columns; confusion\.png shows it", shown)


def test_the_same_command_gives_the_same_numbers(train, tmp_path):
    for name in ("a", "b"):
        assert train("--out", tmp_path / name, "--seed", 5)[0] == 0
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_an_earlier_run_is_overwritten_only_if_asked(train, tmp_path):
    assert train("--out", tmp_path / "run", "--seed", 5)[0] == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    refused(train("--out", tmp_path / "run"), "run holds a run that is finished: --overwrite replaces it")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert train("--out", tmp_path / "run", "--overwrite")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before


def test_options_reach_the_run(train, tmp_path):
    code, *_ = train("--out", tmp_path / "run", "--lr", "0.01", "--seed", 8, "--optimizer", "sgd", "--no-augment")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert code == 0
    assert {k: config[k] for k in ("epochs", "batch_size", "lr", "seed", "optimizer", "augment", "distortions")} == {
        "epochs": 2,
        "batch_size": 16,
        "lr": 0.01,
        "seed": 8,
        "optimizer": "sgd",
        "augment": False,
        "distortions": None,
    }


# ------------------------------------------------------------------------------------------------ interrupted


def interrupt_at(monkeypatch, step, times=1):
    plain = Show.batch

    def batch(self, progress):
        plain(self, progress)
        if progress.step == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Show, "batch", batch)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])  # three batches an epoch
def test_ctrl_c_and_resume_change_nothing(train, run, tmp_path, step):
    assert train("--out", tmp_path / "whole")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, step)
        code, _, err = train("--out", tmp_path / "run")
    assert code == 130
    stopping = "stopping: this batch is finished and the state saved; Ctrl-C again stops at once\n"
    assert err == f"{stopping}interrupted; minigrad train lenet --resume {tmp_path / 'run'} goes on\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole_files(tmp_path / "run")
    before = runs.read_checkpoint(tmp_path / "run")
    assert before.state["place"] == {"epoch": step // 3, "batch": step % 3}
    code, _, err = run("train", "lenet", "--resume", tmp_path / "run")
    assert (code, err) == (0, "")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    for name in ("model.safetensors", "curves.png", "confusion.png"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["seconds"] > before.seconds > 0


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_stays(train, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 5, times=2)
    code, _, err = train("--out", tmp_path / "run")
    assert code == 130
    assert "--resume" in err
    assert runs.read_checkpoint(tmp_path / "run").state["place"] == {"epoch": 1, "batch": 0}


def test_a_first_ctrl_c_while_kernels_compile_says_what_the_wait_is_for(capsys):
    Show(quiet=True).stopping()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the first batch is finished, its kernels compiled" in said


def test_options_may_be_repeated_but_not_changed(train, run, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        train("--out", out)
    for option, value, message in (
        ("--epochs", 3, "--epochs 3 contradicts the run .*, which has epochs 2"),
        ("--batch-size", 8, "--batch-size 8 contradicts"),
        ("--lr", 0.5, "--lr 0.5 contradicts"),
        ("--seed", 1, "--seed 1 contradicts the run .*, which has seed 0"),
        ("--optimizer", "sgd", "--optimizer sgd contradicts .* optimizer adamw"),
        ("--out", tmp_path / "other", "--out .* contradicts --resume"),
        ("--data", folder_of(tmp_path), "the data are not those"),
    ):
        refused(run("train", "lenet", "--resume", out, option, value), message)
    refused(run("train", "lenet", "--resume", out, "--no-augment"), "--no-augment contradicts")
    refused(run("train", "lenet", "--resume", out, "--overwrite"), "--overwrite contradicts --resume")
    assert train("--resume", out / runs.CHECKPOINT, "--out", out, "--seed", 0)[0] == 0
    assert (out / "metrics.json").exists()


def test_other_versions_are_remarked_on(train, run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        train("--out", tmp_path / "run")
    path = tmp_path / "run" / runs.CHECKPOINT
    state = load_state(path)
    state["environment"]["threads"] = 64
    save_state(state, path)
    code, _, err = run("train", "lenet", "--resume", path)
    assert code == 0
    assert err.startswith("note: this run was begun with other versions or threads")


@pytest.mark.slow
def test_kill_9_and_resume_change_nothing(train, run, folder, tmp_path):
    assert train("--epochs", 4, "--out", tmp_path / "whole")[0] == 0
    out = tmp_path / "run"
    words = ["train", "lenet", "--data", str(folder), "--epochs", "4", "--batch-size", "16", "--out", str(out)]
    code = f"import sys; from minigrad.cli import main; sys.exit(main({words!r}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/4"):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    assert not (out / "metrics.json").exists()
    assert run("train", "lenet", "--resume", out)[0] == 0
    whole_files(out)
    assert metrics(out) == metrics(tmp_path / "whole")


# ------------------------------------------------------------------------------------------------ bad requests


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "--epochs: '0' is not a whole number from 1 on"),
        (["--epochs", "1.5"], "--epochs: '1.5' is not"),
        (["--epochs", "-3"], "--epochs: '-3' is not"),
        (["--batch-size", "none"], "--batch-size: 'none' is not a whole number from 1 on"),
        (["--lr", "nan"], "--lr: 'nan' is not a number above 0"),
        (["--lr", "inf"], "--lr: 'inf' is not"),
        (["--lr", "0"], "--lr: '0' is not"),
        (["--lr", "-1"], "--lr: '-1' is not"),
        (["--seed", "-1"], "--seed: '-1' is not a whole number from 0 on"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--optimizer", "adagrad"], "unknown optimizer 'adagrad'; there are: adamw, adam, sgd"),
        (["--data", "nowhere"], "expected mnist5k, digits or a folder of IDX files; there is no such folder"),
        (["--resume", "nowhere"], "nowhere: there is no run to resume"),
    ],
)
def test_bad_options(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run("train", "lenet", *words)
    refused(result, message, "minigrad" if "unrecognized" in message else "minigrad train")
    assert not list(tmp_path.iterdir())


def test_unknown_models_and_commands(run):
    refused(run("train", "lenot"), "unknown model 'lenot'; there are: lenet, lenet5")
    refused(run("train"), "the following arguments are required: model")
    refused(run("teach"), "invalid choice: 'teach'", "minigrad")
    refused(run(), "required: COMMAND", "minigrad")
    assert run("--version")[:2] == (0, f"minigrad {minigrad.__version__}\n")
    code, out, _ = run("train", "--help")
    assert code == 0
    options = {"data", "epochs", "batch-size", "lr", "seed", "optimizer", "no-augment", "out", "overwrite", "resume", "quiet"}
    assert all(f"--{option}" in out for option in options)


def test_bad_folders_of_data(run, folder, tmp_path):
    empty, damaged = tmp_path / "empty", tmp_path / "damaged"
    empty.mkdir()
    shutil.copytree(folder, damaged)
    (damaged / "train-images-idx3-ubyte").write_bytes(b"")
    refused(run("train", "lenet", "--data", empty, "--out", tmp_path / "run"), "empty: no train images; expected a file")
    refused(run("train", "lenet", "--data", damaged, "--out", tmp_path / "run"), "train-images-idx3-ubyte: the file is empty")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written(train, tmp_path):
    (tmp_path / "file").touch()
    refused(train("--out", tmp_path / "file"), "file: (File exists|Not a directory)")
    refused(train("--out", tmp_path / "file" / "run"), "Not a directory")
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("damage", ["cut off", "a byte changed", "not a checkpoint", "another model", "a model of today"])
def test_bad_checkpoints(train, run, tmp_path, monkeypatch, damage):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        train("--out", out)
    path = out / runs.CHECKPOINT
    whole, state = path.read_bytes(), load_state(path)
    if damage == "cut off":
        path.write_bytes(whole[:-100])
        message = "not a safetensors file, or damaged"
    elif damage == "a byte changed":
        path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
        message = "the state is damaged"
    elif damage == "not a checkpoint":
        path.write_text("hello")
        message = "not a safetensors file, or damaged"
    elif damage == "another model":
        state["training"]["settings"]["model"] = "resnet"
        save_state(state, path)
        message = "unknown model 'resnet'"
    else:
        state["training"]["model"]["features.conv1.weight"] = np.zeros((9, 1, 5, 5), np.float32)
        save_state(state, path)
        message = "features.conv1.weight"
    refused(run("train", "lenet", "--resume", path), message)
    assert not (out / "metrics.json").exists()


def test_a_full_disk_at_any_moment(train, run, tmp_path, monkeypatch):
    """The disk fills at the n-th write and stays full: one line, whole files; with room again the run can be finished."""
    assert train("--out", tmp_path / "whole", "--epochs", 1)[0] == 0
    plain, moment, done = os.fsync, 0, False
    while not done:
        moment += 2  # each file is flushed and then its folder, whose failure does no harm
        left, out = [moment], tmp_path / f"run{moment}"

        def full(handle, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            plain(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            result = train("--out", out, "--epochs", 1, "--quiet")
        whole_files(out)
        done = result[0] == 0
        if not done:
            refused(result, rf"run{moment}/[\w.]+: No space left on device")
            assert run("train", "lenet", "--resume", out, "--quiet")[0] == 0
        assert metrics(out) == metrics(tmp_path / "whole")
    assert moment > 12  # config, checkpoints, results: each was hit once


def test_a_disk_that_is_full_from_the_start_leaves_nothing(train, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused(train("--out", tmp_path / "deep" / "run"), "checkpoint.safetensors: No space left on device")
    assert not list(tmp_path.iterdir())
