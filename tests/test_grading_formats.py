"""The forms of a report: small ones by heart, the tools' own against their schemas."""

import importlib
import io
import json
import unittest
import xml.etree.ElementTree as ET

import pytest

from minigrad.grading import Outcome, Result
from minigrad.grading.formats import FORMATS


def result(**settings):
    outcomes = [
        Outcome("affine", "passed", 3, 3, "right", about="x (4, 6)", seconds=0.25, elements=(24, 24)),
        Outcome(
            "relu", "failed", 0.5, 2, "the gradient of x is wrong at 3 of 4 elements", ["x: off by a factor of 2"],
            "x (4): 3 wrong\n  0.5 <> 0.25", "debug <b>\x00", seconds=0.5,
        ),
        Outcome("secret & sum", "timeout", 0, 4, "no answer within 2 s", visibility="hidden", seconds=2),
    ]  # fmt: skip
    return Result("ada", "Homework", outcomes, **settings)


def test_points():
    assert (result().points, result().max_points, result().ok) == (3.5, 9, False)
    assert result(all_or_nothing=True).points == 0
    right = Result("ada", "Homework", [result().outcomes[0]], all_or_nothing=True)
    assert right.points == 3


def test_a_result_goes_to_json_and_back():
    table = json.loads(FORMATS["json"](result(seed=4, key="k")))
    assert (table["points"], table["max_points"], table["ok"]) == (3.5, 9, False)
    assert Result.from_dict(table) == result(seed=4, key="k")


def test_text():
    assert FORMATS["text"](result()) == (
        "Homework: ada, seed 0\n"
        "\n"
        "✓ affine [3/3]: right\n"
        "    on x (4, 6)\n"
        "✗ relu [0.5/2]: the gradient of x is wrong at 3 of 4 elements\n"
        "    x: off by a factor of 2\n"
        "\n"
        "    printed:\n"
        "    debug <b>\x00\n"
        "! secret & sum [0/4]: no answer within 2 s (hidden from the student)\n"
        "\n"
        "1 of 3 right; 3.5 of 9 points\n"
    )


@pytest.mark.parametrize("name", ["text", "html", "gradescope", "otter", "nbgrader"])
def test_how_much_is_shown(name):
    texts = {shown: FORMATS[name](result(shown=shown)) for shown in ("verdict", "diagnosis", "numbers")}
    for shown, diagnosis, numbers in (("verdict", False, False), ("diagnosis", True, False), ("numbers", None, True)):
        assert "wrong at 3 of 4" in texts[shown]
        assert diagnosis is None or ("factor of 2" in texts[shown]) == diagnosis
        assert ("0.25" in texts[shown].replace("&lt;", "<")) == numbers or "execution_time" in texts[shown]
    assert "0.5 <> 0.25" not in texts["diagnosis"]


def test_gradescope():
    """The keys and values of Gradescope's "Autograder Specifications" for results.json."""
    table = json.loads(FORMATS["gradescope"](result()))
    assert set(table) == {"score", "execution_time", "output", "stdout_visibility", "tests"}
    assert (table["score"], table["execution_time"], table["stdout_visibility"]) == (3.5, 2.75, "hidden")
    assert table["tests"][1] == {
        "name": "relu",
        "number": "2",
        "score": 0.5,
        "max_score": 2,
        "status": "failed",
        "output": "the gradient of x is wrong at 3 of 4 elements\nx: off by a factor of 2\n\nprinted:\ndebug <b>\x00",
        "output_format": "text",
        "visibility": "visible",
    }
    assert [test["visibility"] for test in table["tests"]] == ["visible", "visible", "hidden"]
    assert {test["status"] for test in table["tests"]} <= {"passed", "failed"}
    assert sum(test["score"] for test in table["tests"]) == table["score"]
    nothing = json.loads(FORMATS["gradescope"](result(all_or_nothing=True)))
    assert nothing["score"] == 0 == sum(test["score"] for test in nothing["tests"])
    assert "every check passes" in nothing["output"]


def test_gradescope_s_own_runner_writes_the_same_keys():
    """What gradescope_utils makes of a test with points, a number, a visibility and a failure."""
    tools = pytest.importorskip("gradescope_utils.autograder_utils", reason="gradescope-utils is not installed")
    decorators, runner = (importlib.import_module(f"{tools.__name__}.{name}") for name in ("decorators", "json_test_runner"))

    class Marks(unittest.TestCase):
        @decorators.partial_credit(2)
        @decorators.number("2")
        @decorators.visibility("visible")
        def test_relu(self, set_score=None):
            """relu"""
            set_score(0.5)

    stream = io.StringIO()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Marks)
    runner.JSONTestRunner(stream=stream, visibility="visible", stdout_visibility="hidden").run(suite)
    theirs, ours = json.loads(stream.getvalue()), json.loads(FORMATS["gradescope"](result()))
    assert set(theirs) - set(ours) <= {"leaderboard", "visibility"}
    (test,) = theirs["tests"]
    mine = ours["tests"][1]
    assert set(test) <= set(mine)
    for key in ("name", "number", "score", "max_score", "status", "visibility"):
        assert test[key] == mine[key], key
    assert theirs["stdout_visibility"] == ours["stdout_visibility"]


def test_otter():
    """As `otter run` writes it: the public tests' summary first, then name, score, max_score, visibility, output."""
    table = json.loads(FORMATS["otter"](result()))
    public, *tests = table["tests"]
    assert (public["name"], public["status"], public["visibility"]) == ("Public Tests", "failed", "visible")
    assert "secret" not in public["output"]
    assert all(set(test) == {"name", "score", "max_score", "visibility", "output"} for test in tests)
    assert [test["score"] for test in tests] == [3, 0.5, 0]


def test_otter_s_own_code_gives_the_same_keys():
    test_files = pytest.importorskip("otter.test_files", reason="otter-grader is not installed")
    config = pytest.importorskip("otter.run.run_autograder.autograder_config").AutograderConfig()

    class File:
        def __init__(self, outcome):
            self.name, self.score, self.possible, self.all_public = outcome.name, outcome.points, outcome.max_points, False
            self.passed_all_public, self.test_cases, self.test_case_results = outcome.ok, [], []

        def summary(self, public_only=False):
            return "text"

    theirs = test_files.GradingResults([File(o) for o in result().outcomes]).to_gradescope_dict(config)
    ours = json.loads(FORMATS["otter"](result()))
    for a, b in zip(theirs["tests"], ours["tests"], strict=True):
        assert set(a) == set(b)
        assert (a["name"], a.get("score"), a.get("max_score")) == (b["name"], b.get("score"), b.get("max_score"))


def test_nbgrader():
    """Cells with nbgrader's metadata of schema version 3, scores as results of the cells."""
    notebook = json.loads(FORMATS["nbgrader"](result()))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    title, *cells = notebook["cells"]
    assert title["source"] == "# Homework\n\nada"
    for cell, outcome in zip(cells, result().outcomes, strict=True):
        stream, score = cell["outputs"]
        assert stream["name"] == "stdout"  # a stream called stderr would count as an error, and as no points
        assert float(score["data"]["text/plain"]) == outcome.points
        meta = cell["metadata"]["nbgrader"]
        assert meta.pop("grade_id")
        assert meta == {
            "grade": True,
            "solution": False,
            "locked": True,
            "task": False,
            "schema_version": 3,
            "cell_type": "code",
            "points": outcome.max_points,
        }
    assert "no answer within" not in json.dumps(notebook), "a hidden check's words are the teacher's"


def test_nbgrader_s_own_code_reads_the_points():
    pytest.importorskip("nbgrader", reason="nbgrader is not installed")
    reads = pytest.importorskip("nbgrader.nbgraderformat").reads
    determine = pytest.importorskip("nbgrader.utils").determine_grade
    notebook = reads(FORMATS["nbgrader"](result()), as_version=4)
    pytest.importorskip("nbformat").validate(notebook)
    grades = [determine(cell) for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert grades == [(o.points, o.max_points) for o in result().outcomes]


def test_junit():
    root = ET.fromstring(FORMATS["junit"](clean()))
    (suite,) = root
    assert {k: suite.get(k) for k in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "ada", "tests": "3", "failures": "1", "errors": "1", "skipped": "0", "time": "2.750",
    }  # fmt: skip
    known = {"name", "tests", "failures", "errors", "skipped", "time"}  # of those that Jenkins' junit-10.xsd allows
    assert set(suite.attrib) == known
    assert set(root.attrib) == known - {"skipped"}
    assert {key for case in suite for key in case.attrib} == {"name", "classname", "time"}
    assert {key for case in suite for child in case for key in child.attrib} == {"message", "type"}
    assert [case.get("name") for case in suite] == ["affine", "relu", "secret & sum"]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure", "system-out"], ["error"]]
    assert suite[1][0].get("message") == "the gradient of x is wrong at 3 of 4 elements"
    assert "0.5 <> 0.25" in suite[1][0].text


def clean():
    """As it comes from marking: what was printed is free of control characters by then."""
    made = result()
    made.outcomes[1].printed = "debug <b>"
    return made


def test_html_hides_what_is_hidden_and_escapes_the_rest():
    page = FORMATS["html"](result())
    assert "secret" not in page
    assert "One further check is hidden" in page
    assert "debug &lt;b&gt;" in page
    assert "<b>" not in page
    assert "3.5 of 9 points" in page
