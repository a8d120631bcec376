"""`minigrad gradcheck`: what a student and a teacher see, exit codes, and one line for every bad request."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from grading_afternoon import RIGHT

from minigrad.cli import main

SOLUTIONS = Path(__file__).with_name("grading_solutions.py")


@pytest.fixture
def run(capsys):
    def call(*words):
        try:
            code = main(["gradcheck", *(str(word) for word in words)])
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "layers.py"
    path.write_text("import numpy as np\n" + RIGHT["affine"] + RIGHT["relu"])
    return path


def test_a_student_s_file_that_is_right(run, mine):
    code, out, err = run(mine)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "gradient check: layers.py, seed 0"
    assert "✓ affine_forward: right\n    on x (4, 2, 3), w (6, 5), b (5,)\n✓ relu_forward: right\n" in out
    assert out.endswith("2 of 2 right\n")


def test_a_student_s_file_that_is_wrong(run, mine):
    mine.write_text(mine.read_text().replace("dout * (cache > 0)", "dout"))
    code, out, err = run(mine, "--seed", "3")
    assert (code, err) == (1, "")
    assert "✓ affine_forward: right" in out
    assert re.search(r"✗ relu_forward: the gradient of x is wrong at \d+ of 28 elements", out)
    assert re.search(r"index +analytic +numeric", out)
    again = re.search(r"again: minigrad (gradcheck .*)", out)[1].split()
    assert again == ["gradcheck", str(mine), "--function", "relu_forward", "--seed", "3"]
    assert run(*again[1:])[1].count("wrong at") == 1


def test_one_function(run, mine):
    for name in ("relu", "relu_forward", "relu_backward"):
        code, out, _ = run(mine, "--function", name)
        assert code == 0
        assert "affine" not in out


def test_a_file_may_import_its_neighbours_and_minigrad(run, tmp_path):
    (tmp_path / "helpers.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "inner.py").write_text("two = 2\n")
    path = tmp_path / "mine.py"
    path.write_text(
        """
from helpers import half
from minigrad import nn
from net.inner import two

def half_forward(x):
    return half(x), None

def half_backward(g, cache):
    return g / two

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x).tanh()
"""
    )
    code, out, err = run(path)
    assert code == 0, out + err
    assert "2 of 2 right" in out


def test_a_file_of_a_package_may_import_the_package(run, tmp_path):
    package = tmp_path / "course"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "half.py").write_text("def half(x):\n    return x / 2\n")
    path = package / "mine.py"
    path.write_text(
        "from .half import half\nfrom course.half import half as same\n"
        "def half_forward(x):\n    return half(x), None\ndef half_backward(g, _):\n    return same(g)\n"
    )
    code, out, err = run(path)
    assert code == 0, out + err
    path.rename(package / "hers.py")
    path.symlink_to(package / "hers.py")
    assert run(path)[0] == 0


def test_remarks_go_to_standard_error(run, mine):
    mine.write_text(mine.read_text() + "\ndef lonely_forward(x):\n    return x\n")
    code, _, err = run(mine)
    assert (code, err) == (0, "note: lonely_forward has no lonely_backward\n")


def test_shapes_that_were_guessed_may_be_to_blame(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def f_forward(x):\n    return x.reshape(7, 7), x\ndef f_backward(g, x):\n    return g\n")
    code, out, _ = run(path)
    assert code == 1
    assert "! f_forward: ValueError: cannot reshape" in out
    assert "mine.py:2 in f_forward: return x.reshape(7, 7), x" in out
    assert "the shapes were guessed from names" in out


@pytest.mark.parametrize(
    ("body", "blamed"),
    [
        ("import nosuch", False),
        ("raise SystemExit(3)", False),
        ("raise NotImplementedError", False),
        ("return undefined, x", False),
        ("return np.maxmum(x, 0), x", False),
        ("return x.maen(1), x", False),
        ("return x.sum(1, keepdim=True), x", False),
        ("return None, x", False),
        ("n, c, h, w = x.shape", True),
        ("return x.dot(x), x", True),
        ("return x[:, 6], x", True),
        ("return x.sum(3), x", True),
        ("assert x.ndim == 3", True),
        ("return np.linalg.inv(x), x", True),
        ("return np.zeros(x), x", True),
    ],
)
def test_what_no_shape_can_be_blamed_for(run, tmp_path, body, blamed):
    path = tmp_path / "mine.py"
    path.write_text(f"import numpy as np\ndef f_forward(x):\n    {body}\ndef f_backward(g, x):\n    return g\n")
    code, out, _ = run(path)
    assert (code, "! f_forward: " in out) == (1, True)
    assert ("the shapes were guessed from names" in out) == blamed, out


def test_shapes_may_be_to_blame_in_a_module(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from minigrad import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(9, 2)\n"
        "    def forward(self, x):\n        return self.layer(x)\n"
    )
    code, out, _ = run(path)
    assert code == 1
    assert "the shapes were guessed from names" in out


def test_a_spec_with_points(run, mine, tmp_path):
    spec = tmp_path / "teacher" / "checks.toml"
    spec.parent.mkdir()
    spec.write_text("title = 'Homework'\n[[check]]\nready = 'affine'\npoints = 3\n[[check]]\nready = 'softmax'\npoints = 2\n")
    code, out, _ = run(mine, "--spec", spec)
    assert code == 1
    assert "✓ affine [3/3]: right" in out
    there = "affine_forward, affine_backward, relu_forward, relu_backward"
    assert f"! softmax [0/2]: the submission has no 'softmax_loss'; there is: {there}\n" in out
    assert "1 of 2 right; 3 of 5 points" in out


def test_an_output_file_is_written_whole(run, mine, tmp_path):
    code, out, _ = run(mine, "--format", "gradescope", "--out", tmp_path / "results.json")
    assert (code, out) == (0, f"2 of 2 right; {tmp_path / 'results.json'}\n")
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 2
    code, _, err = run(mine, "--out", tmp_path / "nowhere" / "x.json")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("form", ["json", "otter", "nbgrader"])
def test_standard_output_has_the_report_alone(run, mine, form):
    code, out, err = run(mine, "--format", form)
    assert (code, err) == (0, "")
    assert json.loads(out)


def test_a_submission_without_the_file_has_no_points_and_a_report(run, tmp_path):
    """Gradescope wants a results.json of everybody."""
    spec = tmp_path / "checks.toml"
    spec.write_text("file = 'layers.py'\n[[check]]\nready = 'relu'\n")
    (tmp_path / "handed-in").mkdir()
    code, out, _ = run(tmp_path / "handed-in", "--spec", spec, "--format", "gradescope")
    assert code == 1
    assert json.loads(out)["score"] == 0
    assert "there is no layers.py in it" in json.loads(out)["tests"][0]["output"]


def refused(result, message):
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("minigrad gradcheck: ")
    assert re.search(message, err), err


def test_bad_requests(run, mine, tmp_path):
    spec = tmp_path / "checks.toml"
    spec.write_text("[[check]]\nready = 'rellu'\n")
    refused(run(), "expected either SUBMISSION or --batch DIR")
    refused(run(mine, "--batch", tmp_path), "expected either SUBMISSION or --batch DIR")
    refused(run(tmp_path / "nothing.py"), "nothing.py: no such file or folder")
    refused(run(mine, "--spec", spec), r"checks\.toml: check 1 \(rellu\): ready: 'rellu' is not one of affine, ")
    refused(run(mine, "--spec", tmp_path / "none.toml"), "none.toml: No such file")
    refused(run(mine, "--spec", spec, "--function", "relu"), "--function chooses among what is found by name")
    refused(run(mine, "--function", "tanh"), "nothing called 'tanh' to check; there is: affine_forward, relu_forward")
    refused(run(mine, "--seed", "-1"), "'-1' is not a whole number from 0 on")
    refused(run(mine, "--timeout", "0"), "'0' is not a number above 0")
    refused(run(mine, "--format", "xml"), "invalid choice: 'xml'")
    refused(run(mine, "--jobs", "2"), "--jobs belongs to --batch")
    refused(run("--batch", tmp_path / "none"), "none: no such folder")
    (tmp_path / "empty").mkdir()
    refused(run("--batch", tmp_path / "empty"), "empty: no submissions in it")
    refused(run(tmp_path / "empty"), r"which file\? .* Python files there: none")
    (tmp_path / "bad.py").write_text("x = (\n")
    refused(run(tmp_path / "bad.py"), r"bad\.py:1: '\(' was never closed")
    (tmp_path / "bad.py").write_text("x = 1\n")
    refused(run(tmp_path / "bad.py"), r"nothing to check in .*bad\.py: no x_forward with its x_backward")


@pytest.mark.slow
def test_what_courses_set_needs_no_spec(run):
    code, out, _ = run(SOLUTIONS)
    assert code == 0, out
    assert out.endswith("12 of 12 right\n")


def test_the_command_ends_and_leaves_no_process(mine):
    """Its launchers end with it."""
    script = f"import sys; from minigrad.cli import main; sys.exit(main(['gradcheck', {str(mine)!r}]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if line.split()[0] == "1" and "minigrad.grading.launcher" in line]


def test_windows_overlap_where_nothing_else_is_said(run, tmp_path):
    """`=` where `+=` is needed is right for windows that tile the image."""
    path = tmp_path / "pool.py"
    path.write_text(
        """
import numpy as np

def max_pool_forward_naive(x, pool_param):
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    out = np.zeros((*x.shape[:2], 1 + (x.shape[2] - h) // s, 1 + (x.shape[3] - w) // s))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i*s:i*s+h, j*s:j*s+w].max(axis=(2, 3))
    return out, (x, pool_param)

def max_pool_backward_naive(dout, cache):
    x, pool_param = cache
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        window = x[n, c, i*s:i*s+h, j*s:j*s+w]
        r, q = np.unravel_index(window.argmax(), window.shape)
        dx[n, c, i*s+r, j*s+q] = dout[n, c, i, j]
    return dx
"""
    )
    for text in (path.read_text(), path.read_text().replace("max_pool", "mypool").replace("_naive", "")):
        path.write_text(text)
        code, out, _ = run(path)
        assert code == 1 and "+=" in out, out
        path.write_text(text.replace("+q] =", "+q] +="))
        assert run(path)[0] == 0
