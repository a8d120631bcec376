"""`minigrad draw` and `minigrad summary` as a person types them."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from minigrad import zoo
from minigrad.cli import main
from minigrad.viz import render

MODEL = """
from minigrad import nn
class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.last = nn.Linear(width, 2)
    def forward(self, x):
        return self.last(self.first(x).relu())
READY = Net(5)
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return call


def words(path):
    return " ".join(ET.parse(path).getroot().itertext())


@pytest.mark.parametrize("what", ["graph", "modules", "backward", "both"])
def test_every_view_of_lenet(run, tmp_path, what):
    assert run("draw", "lenet", "--what", what) == (0, "lenet.svg\n", "")
    text = words(tmp_path / "lenet.svg")
    assert "features.conv2" in text
    assert ("gradient of" in text) == (what in ("backward", "both"))


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_model_of_the_zoo_draws_and_counts(run, name):
    code, _, err = run("draw", name, "--what", "modules", "--out", "model.dot")
    assert (code, err) == (0, "")
    code, out, _ = run("summary", name)
    assert code == 0 and "kept for the backward pass" in out


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "html", "dot"])
def test_the_ending_says_the_format(run, tmp_path, ending):
    code, out, err = run("draw", "lenet", "--what", "modules", "--out", f"picture.{ending}")
    assert (code, out, err) == (0, f"picture.{ending}\n", "")
    head = (tmp_path / f"picture.{ending}").read_bytes()[:400]
    assert {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "html": b"<!DOCTYPE html>", "dot": b"digraph"}[ending] in head


def test_a_model_of_ones_own(run, tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    code, out, _ = run("draw", "net.py:Net", "--input", "1,3", "--set", "width=7")
    assert (code, out) == (0, "net.svg\n") and "1×7" in words(tmp_path / "net.svg")
    assert run("draw", "net.py:READY", "--input", "2,3")[0] == 0
    assert "2×5" in words(tmp_path / "net.svg")


def test_options_choose_what_is_seen(run, tmp_path):
    picture = tmp_path / "lenet.svg"
    run("draw", "lenet", "--depth", "1")
    assert "conv1" not in words(picture)
    run("draw", "lenet", "--collapse", "classifier")
    assert "fc1" not in words(picture) and "conv1" in words(picture)
    run("draw", "lenet", "--focus", "classifier.fc2")
    assert "fc2" in words(picture) and "conv1" not in words(picture)
    run("draw", "lenet", "--exclude", "activation,pool")
    assert "relu" not in words(picture) and "conv2d" in words(picture)
    run("draw", "lenet", "--include", "linear", "--collapse", "none", "--theme", "dark", "--direction", "LR")
    assert "conv2d" not in words(picture) and "prefers-color-scheme" not in picture.read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "there are alexnet, lenet"),
        (["lenet", "--focus", "features.conv9"], "features.conv1"),
        (["lenet", "--collapse", "middle"], "no module of that name"),
        (["lenet", "--include", "attention"], "nothing is left"),
        (["lenet", "--out", "picture.bmp"], ".html or .dot"),
        (["lenet", "--out", "no/such/folder/a.svg"], "No such file"),
        (["lenet", "--input", "1,3,28,28"], "channels"),
        (["missing.py:Net", "--input", "1"], "no such file"),
    ],
)
def test_what_cant_be_is_said_in_one_line(run, tmp_path, argv, message):
    code, out, err = run("draw", *argv)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["draw", "summary"])
@pytest.mark.parametrize(
    ("forward", "said"),
    [
        ("self, x: x.missing", r"own\.py:Net does not run on 2,3: AttributeError: .*missing.* \(own\.py, line 3\)"),
        ("self, x, y: x + y", r"own\.py:Net does not run on 2,3: TypeError: .*'y'"),
        ("self, x: x @ x", "matmul"),  # an error of the engine's says enough
    ],
)
def test_what_a_model_of_ones_own_raises_is_said_in_one_line(run, tmp_path, command, forward, said):
    (tmp_path / "own.py").write_text(f"from minigrad import nn\nclass Net(nn.Module):\n    forward = lambda {forward}\n")
    code, _, err = run(command, "own.py:Net", "--input", "2,3")
    assert code == 2
    assert re.fullmatch(f"minigrad {command}: .*{said}.*\n", err)


@pytest.mark.parametrize("command", ["draw", "summary"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("pass", "NotImplementedError: Net has no forward"),
        ("forward = lambda self, x: exit(0)", r"SystemExit: 0 \(own\.py, line 3\)"),
    ],
)
def test_a_model_that_does_not_calculate_is_told_in_one_line(run, tmp_path, command, body, said):
    (tmp_path / "own.py").write_text(f"from minigrad import nn\nclass Net(nn.Module):\n    {body}\n")
    code, _, err = run(command, "own.py:Net", "--input", "2,3")
    assert code == 2
    assert re.fullmatch(rf"minigrad {command}: own\.py:Net does not run on 2,3: {said}\n", err)


def test_an_error_of_minigrad_s_own_is_not_put_on_the_model(run, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(MODEL)
    monkeypatch.setattr("minigrad.cli.draw.viz.graph", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("draw", "net.py:Net", "--input", "1,3")


def test_a_file_that_ends_the_process_does_not_end_it(run, tmp_path):
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(0)")
    code, _, err = run("draw", "leaves.py:Net", "--input", "1,3")
    assert (code, err) == (2, "minigrad draw: leaves.py can't be imported: SystemExit: 0\n")


def test_an_unknown_view_lists_those_there_are(run):
    code, _, err = run("draw", "lenet", "--what", "sideways")
    assert code == 2 and "modules" in err and err.count("\n") == 1


def test_without_graphviz_a_line_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "_command", lambda format: None)
    code, out, err = run("draw", "lenet", "--out", "lenet.png")
    assert (code, out) == (0, "lenet.dot\n")
    assert err.count("\n") == 1 and "pip install pygraphviz" in err
    assert (tmp_path / "lenet.dot").read_text().startswith("digraph")


@pytest.mark.slow
def test_drawing_alexnet_draws_no_weights(tmp_path):
    code = (
        "from minigrad.cli import main; import minigrad.random as random; before = random.get_rng_state(); "
        "assert main(['draw', 'alexnet', '--what', 'modules', '--out', 'a.dot']) == 0; "
        "assert random.get_rng_state() == before"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)
