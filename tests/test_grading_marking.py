"""Points: for whole checks and for elements, for one half, with and without a reference, in doubt."""

import functools
import linecache
import re

import numpy as np
import pytest

from minigrad.grading import READY, Check, Draw, Spec, SpecError, SubmissionError, mark
from minigrad.grading.marking import key_of

PAIR = """
import numpy as np

def f_forward(x, w):
    return {forward}, (x, w)

def f_backward(g, cache):
    x, w = cache
    return {dx}, {dw}
"""
RIGHT = {"forward": "x @ w", "dx": "g @ w.T", "dw": "x.T @ g"}


def f(x, w):
    return x @ w, None


@pytest.fixture
def outcome(tmp_path):
    """Mark a matrix product, of which some parts stand otherwise, as a check with these settings."""

    def make(changed=None, file=None, shown="diagnosis", **settings):
        path = tmp_path / "layers.py"
        path.write_text(file or PAIR.format(**(RIGHT | (changed or {}))))
        settings = {"points": 10, "reference": f, "arguments": {"x": Draw((2, 3)), "w": Draw((3, 4))}} | settings
        check = Check("f", "f_forward", backward="f_backward", **settings)
        (found,) = mark(path, Spec((check,), shown=shown)).outcomes
        return found

    return make


def test_a_right_solution_has_all_points(outcome):
    found = outcome()
    assert (found.status, found.points, found.max_points, found.summary) == ("passed", 10, 10, "right")
    assert found.elements == (18, 18)
    assert found.about == "x (2, 3), w (3, 4)"


def test_points_for_elements(outcome):
    wrong = {"dw": "x.T @ g * 2"}
    assert outcome(wrong).points == 0
    found = outcome(wrong, partial=True)
    assert (found.status, found.elements) == ("failed", (6, 18))
    assert found.points == pytest.approx(10 * 6 / 18)
    assert found.summary == "the gradient of w is wrong at 12 of 12 elements"


@pytest.mark.parametrize("backward", ["0 * g", "None", "np.zeros(1)"])
def test_zeros_have_no_points_for_elements_that_happen_to_be_zero(outcome, backward):
    file = (
        f"import numpy as np\ndef f_forward(x):\n    return np.maximum(x, 0), x\ndef f_backward(g, x):\n    return {backward}\n"
    )
    settings = {"reference": lambda x: (np.maximum(x, 0), None), "arguments": {"x": Draw((4, 6), "distinct")}}
    found = outcome(file=file, partial=True, **settings)
    assert (found.status, found.points) == ("failed", 0)
    right = outcome(file=file.replace(f"return {backward}", "return g * (x > 0)"), partial=True, **settings)
    assert right.points == 10


def test_an_input_with_a_finding_of_its_own_has_none_right(outcome):
    found = outcome({"dx": "(g @ w.T).astype(np.float32)"}, partial=True)
    assert (found.status, found.elements) == ("failed", (12, 18))
    assert any("float32" in hint for hint in found.hints)


def test_changing_an_input_in_place_is_seen_from_outside_the_process(outcome):
    file = PAIR.format(**RIGHT).replace("return x @ w", "x *= 1.5\n    return x @ w")
    found = outcome(file=file, reference=None)
    assert found.status == "failed"
    assert any("forward changes its input x in place" in hint for hint in found.hints), found.hints


def test_one_half(outcome):
    wrong_forward, wrong_backward = {"forward": "x @ w + 1"}, {"dx": "-g @ w.T"}
    assert outcome(wrong_forward, part="forward").points == 0
    assert outcome(wrong_forward, part="backward").points == 10
    assert outcome({"forward": "(x @ w).T"}, part="backward").points == 10, "backward is asked about the right output's shape"
    assert outcome(wrong_backward, part="forward").points == 10
    assert outcome(wrong_backward, part="backward").points == 0
    assert outcome(wrong_forward).summary == "the output is wrong at 8 of 8 places"


def test_the_backward_half_is_held_against_the_reference_too(outcome):
    agreeing = {"forward": "2 * x @ w", "dx": "2 * g @ w.T", "dw": "2 * x.T @ g"}
    assert outcome(agreeing, part="backward").points == 0
    assert outcome(agreeing, reference=None).points == 10, "without a reference there is nothing to tell"


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        ("(x @ w).T", r"the output has shape \[4, 2\], it should have \[2, 4\]"),
        ("(x @ w)[None]", r"shape \[1, 2, 4\]"),
        ("x @ w * np.nan", "wrong at 8 of 8"),
        ("[x @ w, x]", "forward gives 2 outputs, there should be 1"),
    ],
)
def test_a_wrong_output_is_named(outcome, forward, said):
    found = outcome({"forward": forward}, part="forward", rtol=1e-9)
    assert re.search(said, found.summary), found.summary


def test_what_lies_at_kinks_alone_is_inconclusive_and_gives_nothing(outcome):
    file = "import numpy as np\ndef f_forward(x):\n    return np.abs(x), x\ndef f_backward(g, x):\n    return g * np.sign(x)\n"
    found = outcome(file=file, reference=None, arguments={"x": Draw((3,), "zeros")})
    assert (found.status, found.points) == ("inconclusive", 0)
    assert outcome(file=file, reference=None, arguments={"x": Draw((3,), "distinct")}).ok


def test_how_much_the_student_reads(outcome):
    texts = {shown: outcome({"dx": "2 * g @ w.T"}, shown=shown).text(shown) for shown in ("verdict", "diagnosis", "numbers")}
    assert texts["verdict"] == "the gradient of x is wrong at 6 of 6 elements"
    assert "twice the right one" in texts["diagnosis"]
    assert "analytic" not in texts["diagnosis"]
    assert "analytic" in texts["numbers"]


def test_the_student_s_own_lines_and_prints_are_kept(outcome):
    file = PAIR.format(**RIGHT).replace("x, w = cache", 'print("here")\n    x, w = cache\n    raise ValueError("why?")')
    found = outcome(file=file)
    assert (found.status, found.summary, found.printed) == ("error", "ValueError: why?", "here\n")
    assert found.hints == ['layers.py:10 in f_backward: raise ValueError("why?")']


def test_a_check_may_have_a_time_of_its_own(outcome):
    file = "import time\n" + PAIR.format(**RIGHT).replace("x, w = cache", "time.sleep(9)\n    x, w = cache")
    found = outcome(file=file, timeout=0.5)
    assert (found.status, found.summary) == ("timeout", "no answer within 0.5 s")


@pytest.mark.parametrize("mode", ["full", "fast", "sample"])
def test_every_mode_marks(outcome, mode):
    assert outcome(mode=mode, samples=4).ok
    assert outcome({"dw": "x.T @ g * 1.01"}, mode=mode, samples=4).status == "failed"


def test_several_outputs_dicts_and_settings_by_keyword(tmp_path):
    path = tmp_path / "layers.py"
    path.write_text(
        """
def f_forward(x, p, *, power):
    return x ** power, p["scale"] * x, (x, p, power)

def f_backward(gy, gz, cache):
    x, p, power = cache
    return {"dx": gy * power * x ** (power - 1) + gz * p["scale"], "scale": (gz * x).sum(0)}
"""
    )
    arguments = {"x": Draw((3, 2), "positive"), "p": {"scale": Draw((2,))}}
    check = Check("f", "f_forward", backward="f_backward", arguments=arguments, settings={"power": 3}, gradients=("x", "scale"))
    (found,) = mark(path, Spec((check,))).outcomes
    assert found.ok, found.text("numbers")
    assert found.elements == (8, 8)


def test_a_key_is_of_submission_spec_and_seed(tmp_path):
    path = tmp_path / "layers.py"
    path.write_text("x = 1")
    spec = Spec((Check("relu", **READY["relu"]),))
    key = key_of(path, spec, 0)
    assert key == key_of(path, Spec((Check("relu", **READY["relu"]),)), 0)
    others = [key_of(path, spec, 1), key_of(path, Spec((Check("relu", **READY["relu"], points=2),)), 0)]
    path.write_text("x = 2")
    others.append(key_of(path, spec, 0))
    assert len({key, *others}) == 4


def in_a_notebook(name, text):
    """The functions of a cell: compiled under the name of a file that only linecache has, as ipykernel does."""
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    names = {"np": np}
    exec(compile(text, name, "exec"), names)
    return names


def with_reference(tmp_path, reference):
    path = tmp_path / "tanh.py"
    path.write_text(
        "import numpy as np\n"
        "def tanh_forward(x):\n    return np.tanh(x), x\n"
        "def tanh_backward(g, x):\n    return g / np.cosh(x) ** 2\n"
    )
    arguments = {"x": Draw((2, 3))}
    check = Check("tanh", "tanh_forward", backward="tanh_backward", arguments=arguments, reference=reference)
    return mark(path, Spec((check,)))


def test_a_reference_may_stand_in_a_notebook(tmp_path):
    cell = "def right(x):\n    return np.tanh(x), None\n"
    name = str(tmp_path / "ipykernel_7" / "1.py")
    first = with_reference(tmp_path, in_a_notebook(name, cell)["right"])
    assert first.ok
    again = with_reference(tmp_path, in_a_notebook(name, cell)["right"])
    other = with_reference(tmp_path, in_a_notebook(name, cell.replace("None", "x"))["right"])
    assert first.key == again.key != other.key


def test_a_reference_may_be_built_in_or_any_object_that_can_be_called(tmp_path):
    def raised(x, extra):
        return np.tanh(x) + extra

    class Right:
        def __call__(self, x):
            return np.tanh(x)

    for reference in (np.tanh, functools.partial(raised, extra=0), Right()):
        assert with_reference(tmp_path, reference).ok
    wrong = with_reference(tmp_path, functools.partial(raised, extra=1))
    assert not wrong.ok
    assert wrong.key != with_reference(tmp_path, functools.partial(raised, extra=0)).key


def test_what_is_no_submission(tmp_path):
    spec = Spec((Check("relu", **READY["relu"]),), file="layers.py")
    with pytest.raises(SubmissionError, match="no such file or folder"):
        mark(tmp_path / "nobody", spec)
    result = mark(tmp_path, spec)
    assert (result.points, result.outcomes[0].status) == (0, "error")
    assert result.outcomes[0].summary.endswith("there is no layers.py in it")


def test_links_and_what_is_too_large_stay_outside(tmp_path):
    folder = tmp_path / "handed-in"
    folder.mkdir()
    (tmp_path / "secret.py").write_text("secret = 1")
    (folder / "secret.py").symlink_to(tmp_path / "secret.py")
    (folder / "layers.py").write_text("import secret\n" + PAIR.format(**RIGHT))
    check = Check("f", "f_forward", backward="f_backward", arguments={"x": Draw((2, 3)), "w": Draw((3, 4))})
    (found,) = mark(folder, Spec((check,), file="layers.py")).outcomes
    assert "No module named 'secret'" in found.summary


NET = """
import numpy as np

class Net:
    def __init__(self, inputs, classes, reg=0.0):
        self.params = {{"W": np.random.randn(inputs, classes), "b": np.zeros(classes)}}
        self.reg = reg

    def loss(self, X, y):
        W, rows = self.params["W"], np.arange(len(y))
        scores = np.exp(X @ W + self.params["b"])
        p = scores / scores.sum(1, keepdims=True)
        value = -np.log(p[rows, y]).mean() + self.reg * (W * W).sum()
        p[rows, y] -= 1
        return value, {{"W": X.T @ p / len(y) + {factor} * self.reg * W, "b": p.mean(0)}}
"""


@pytest.mark.parametrize(("factor", "status"), [(2, "passed"), (1, "failed")])
def test_a_model_with_params_and_a_loss(tmp_path, factor, status):
    (tmp_path / "net.py").write_text(NET.format(factor=factor))
    arguments = {"X": Draw((6, 4)), "y": Draw((6,), "integers", 0, 3)}
    check = Check(
        "net", "Net", kind="model", make={"inputs": 4, "classes": 3, "reg": 0.3}, arguments=arguments, gradients=("W", "b")
    )
    (found,) = mark(tmp_path / "net.py", Spec((check,))).outcomes
    assert found.status == status
    assert found.elements == (15 if factor == 2 else 3, 15)
    assert factor == 2 or "the regularisation term of W (reg) is half as large" in found.text("diagnosis")


def test_a_file_that_is_no_python_is_named_with_the_line(outcome):
    found = outcome(file="import numpy as np\n\n  def f_forward(x, w):\n")
    assert (found.status, found.summary) == ("error", "IndentationError: unexpected indent")
    assert found.hints == ["layers.py:3: def f_forward(x, w):"]


def test_a_check_s_name_is_said_once(outcome):
    found = outcome({"dx": "None", "dw": "None, None"})
    assert found.summary == "backward gives 3 gradients, but 2 arrays are checked: x, w"


def test_a_layer_can_have_no_reference():
    with pytest.raises(SpecError, match="a layer's, model's or module's parameters are its own"):
        Check("f", "F", kind="layer", reference=f)
