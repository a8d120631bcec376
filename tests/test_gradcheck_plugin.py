"""The pytest plugin, in runs of pytest of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(tmp_path, source, *options):
    """pytest on a file, with the plugin loaded by name, as the entry point does for an installed minigrad."""
    (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options, "test_it.py"]
    plugin = [] if "minigrad_pytest" in plugins() else ["-p", "minigrad_pytest"]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *plugin], cwd=tmp_path, capture_output=True, text=True, env=known)


def plugins():
    from importlib.metadata import entry_points

    return {entry.value for entry in entry_points(group="pytest11")}


def test_a_wrong_gradient_fails_with_its_diagnosis_at_the_tests_own_line(tmp_path):
    result = run(
        tmp_path,
        """
        import numpy as np, minigrad as mg

        def forward(x, w): return x @ w, (x, w)
        def backward(dout, cache): return dout @ cache[1].T, cache[0].T @ dout / len(cache[0])

        X, W = np.arange(12.0).reshape(4, 3), np.arange(6.0).reshape(3, 2) + 1

        def test_raises(gradcheck):
            gradcheck(forward, backward, (X, W))

        def test_asserts():
            assert mg.check_grads(forward, backward, (X, W), raise_exception=False)

        def test_right(gradcheck):
            assert gradcheck(forward, lambda g, c: (g @ c[1].T, c[0].T @ g), (X, W)).ok
            assert gradcheck(mg.tanh, mg.tensor([0.5, 2.0], dtype=mg.float64, requires_grad=True))
            assert gradcheck(mg.nn.Linear(2, 3), mg.tensor([[0.5, 2.0]]))
            assert gradcheck.second(mg.tanh, mg.tensor([0.5, 2.0], dtype=mg.float64, requires_grad=True))
            assert gradcheck.loss(lambda w: ((w * w).sum(), 2 * w), (W,))
        """,
    )
    assert "2 failed, 1 passed" in result.stdout, result.stdout
    assert result.stdout.count("averaged where it should be summed, 1/4") == 0
    assert result.stdout.count("1/4 of the right one, the size of x along axis 0: averaged where it should be summed") >= 2
    assert "minigrad/checks" not in result.stdout, "the traceback ends in the test"
    assert "again: check_grads(forward, backward" in result.stdout


def test_it_costs_nothing_where_it_is_not_used(tmp_path):
    result = run(
        tmp_path,
        """
        import sys

        def test_engine_is_not_loaded():
            assert "minigrad_pytest" in sys.modules
            assert "minigrad" not in sys.modules and "numpy" not in sys.modules
        """,
    )
    assert "1 passed" in result.stdout, result.stdout


def test_it_is_an_entry_point():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"minigrad": "minigrad_pytest"}
    assert project["tool"]["setuptools"]["py-modules"] == ["minigrad_pytest"]
