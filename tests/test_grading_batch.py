"""A teacher's afternoon: a class of submissions marked by one command, interrupted, picked up again, each with its score."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from grading_afternoon import POINTS, RIGHT, SPEC, write_class

from minigrad.cli import main
from minigrad.grading import batch as batches
from minigrad.grading.batch import Batch, submissions_in, write_table
from minigrad.grading.results import Outcome, Result


@pytest.fixture
def class_of(tmp_path):
    """A folder of submissions, the teacher's spec elsewhere, and a place for the marks; gives the points they deserve."""

    def make(count):
        deserved = write_class(tmp_path / "in", count)
        (tmp_path / "teacher").mkdir()
        (tmp_path / "teacher" / "checks.toml").write_text(SPEC)
        return deserved

    return make


def command(tmp_path, *more):
    words = ["gradcheck", "--batch", tmp_path / "in", "--spec", tmp_path / "teacher" / "checks.toml", "--out", tmp_path / "out"]
    return [str(word) for word in (*words, *more)]


def rows(tmp_path):
    with (tmp_path / "out" / "marks.csv").open(newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_an_afternoon(class_of, tmp_path, capsys):
    """How many submissions is MINIGRAD_AFTERNOON's to say: 200 are a real afternoon, 10 have one of every kind."""
    deserved = class_of(int(os.environ.get("MINIGRAD_AFTERNOON", "10")))
    assert main(command(tmp_path)) == 1
    marked = rows(tmp_path)
    assert {name: float(row["points"]) for name, row in marked.items()} == deserved
    for name, row in marked.items():
        lost = [function for function in POINTS if float(row[function]) == 0]
        assert len(lost) == (not name.endswith("right")), "a fault costs its own check only"
        page = (tmp_path / "out" / "pages" / f"{name}.html").read_text()
        assert "One further check is hidden" in page
        assert "max_pool" not in page
    assert (
        f"{len(deserved)} submissions, {sum('right' in name for name in deserved)} without a fault" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_where_it_was(class_of, tmp_path, monkeypatch):
    deserved = class_of(10)
    call = f"sys.exit(main({command(tmp_path, '--jobs', '1')!r}))"
    (tmp_path / "run.py").write_text(f"import sys\nfrom minigrad.cli import main\nif __name__ == '__main__':\n    {call}\n")
    process = subprocess.Popen([sys.executable, tmp_path / "run.py"], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("results/student*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "minigrad gradcheck: interrupted; the same command goes on with what is not yet marked" in said.splitlines(), said
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    assert 3 <= len(there) < 10
    assert all(json.loads(path.read_text()) for path in there), "whole files only"
    assert not (tmp_path / "out" / "marks.csv").exists()
    assert main(command(tmp_path)) == 1
    assert all(path.stat().st_mtime_ns == before for path, before in there.items()), "what was marked is not marked again"
    assert {name: float(row["points"]) for name, row in rows(tmp_path).items()} == deserved
    with monkeypatch.context() as patch:
        patch.setattr(batches, "ProcessPoolExecutor", None)  # nothing is left to do
        assert main(command(tmp_path)) == 1


def small(tmp_path, **files):
    """Submissions that are single files."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "teacher").mkdir(exist_ok=True)
    (tmp_path / "teacher" / "checks.toml").write_text("timeout = 5\n[[check]]\nready = 'relu'\n")
    for name, text in files.items():
        (tmp_path / "in" / f"{name}.py").write_text(text)


GOOD = "import numpy as np\n" + RIGHT["relu"]


def test_what_has_changed_is_marked_again(tmp_path):
    small(tmp_path, ada=GOOD, bob=GOOD.replace("> 0", "< 0"))
    assert main(command(tmp_path)) == 1
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    small(tmp_path, bob=GOOD)
    assert main(command(tmp_path)) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    assert before["ada.py.json"] == after["ada.py.json"]
    assert before["bob.py.json"] != after["bob.py.json"]
    assert main(command(tmp_path, "--seed", "5")) == 0
    assert all(json.loads(path.read_text())["seed"] == 5 for path in (tmp_path / "out" / "results").iterdir())
    (tmp_path / "out" / "results" / "ada.py.json").write_text('{"outcomes": 3}')
    assert main(command(tmp_path, "--seed", "5")) == 0


def test_bad_files_can_not_stop_the_run(tmp_path):
    small(tmp_path, good=GOOD, broken="def (", empty="", binary="\0\1\2")
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "link.py").symlink_to(tmp_path / "teacher" / "checks.toml")
    (tmp_path / "in" / "notes.txt").write_text("no submission")
    (tmp_path / "in" / "gone.py").symlink_to(tmp_path / "nowhere")
    assert main(command(tmp_path)) == 1
    marked = rows(tmp_path)
    assert {name: row["points"] for name, row in marked.items()} == {
        "binary.py": "0", "broken.py": "0", "empty.py": "0", "folder": "0", "gone.py": "0", "good.py": "1", "link.py": "0",
    }  # fmt: skip
    assert "teacher" not in (tmp_path / "out" / "pages" / "link.py.html").read_text().replace(str(tmp_path), "")


def test_without_a_spec_each_file_is_searched(tmp_path, capsys):
    small(tmp_path, ada=GOOD, bob="x = 1", eve="def (")
    assert main(["gradcheck", "--batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert {name: row["passed"] for name, row in rows(tmp_path).items()} == {"ada.py": "1", "bob.py": "0", "eve.py": "0"}
    assert "nothing to check in bob.py" in (tmp_path / "out" / "pages" / "bob.py.html").read_text()


@pytest.mark.slow
def test_a_submission_that_brings_down_the_marking_process_is_given_up(tmp_path):
    """A teacher's own function that ends the process stands for whatever might, such as the kernel when memory is short."""
    small(tmp_path, ada=GOOD, bob=GOOD.replace("np.maximum(x, 0)", "np.maximum(x, 0) * 13"), carl=GOOD)
    text = """
import os
from minigrad.grading import READY, Check, Spec

def verify(arguments, outputs):
    if outputs[0].max() > 13 * arguments["x"].max() - 1:
        os._exit(1)

SPEC = Spec((Check("relu", **(READY["relu"] | {"verify": verify})),))
"""
    (tmp_path / "teacher" / "checks.py").write_text(text)
    words = ["gradcheck", "--batch", tmp_path / "in", "--spec", tmp_path / "teacher" / "checks.py", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 1
    assert {name: row["points"] for name, row in rows(tmp_path).items()} == {"ada.py": "1", "bob.py": "0", "carl.py": "1"}
    assert "mark it by hand" in (tmp_path / "out" / "pages" / "bob.py.html").read_text()


@pytest.mark.parametrize(("form", "suffix"), [("gradescope", "json"), ("nbgrader", "ipynb")])
def test_other_forms_stand_beside_the_pages(tmp_path, form, suffix):
    small(tmp_path, ada=GOOD)
    assert main(command(tmp_path, "--format", form)) == 0
    assert {path.name for path in (tmp_path / "out" / "pages").iterdir()} == {"ada.py.html", f"ada.py.{suffix}"}


def test_a_form_is_written_for_what_is_marked_already(tmp_path, monkeypatch):
    """Marked once and asked for in another form: nobody is marked again, and everybody has that form."""
    small(tmp_path, ada=GOOD, bob=GOOD.replace("> 0", "< 0"))
    pages = tmp_path / "out" / "pages"
    assert main(command(tmp_path)) == 1
    monkeypatch.setattr(batches, "ProcessPoolExecutor", None)  # nothing is left to mark
    for form, key in (("gradescope", "score"), ("otter", "output"), ("json", "points")):
        assert main(command(tmp_path, "--format", form)) == 1
        tables = [json.loads((pages / f"{name}.py.json").read_text()) for name in ("ada", "bob")]
        assert all(key in table for table in tables), form
    page = pages / "ada.py.html"
    text, kept = page.read_text(), (pages / "bob.py.html").stat().st_mtime_ns
    page.unlink()
    assert main(command(tmp_path)) == 1
    assert page.read_text() == text
    assert (pages / "bob.py.html").stat().st_mtime_ns == kept, "what says the same is not written again"


def test_a_form_of_an_old_result_does_not_stay(tmp_path):
    small(tmp_path, ada=GOOD, bob=GOOD.replace("> 0", "< 0"))
    pages = tmp_path / "out" / "pages"
    assert main(command(tmp_path, "--format", "gradescope")) == 1
    small(tmp_path, bob=GOOD)
    assert main(command(tmp_path)) == 0
    assert {path.name for path in pages.iterdir()} == {"ada.py.html", "ada.py.json", "bob.py.html"}


def test_the_table_is_harmless_in_a_spreadsheet(tmp_path):
    result = Result("=cmd()", "t", [Outcome("points", "passed", 1, 1, "right")])
    write_table([result], tmp_path / "marks.csv")
    assert (tmp_path / "marks.csv").read_text().splitlines()[0].endswith(",seconds,check points,check points status")
    assert (tmp_path / "marks.csv").read_text().splitlines()[1].startswith("'=cmd(),1,1,1,1,")


def test_what_counts_as_a_submission(tmp_path):
    for name in ("a.py", "_b.py", ".c.py", "d.txt"):
        (tmp_path / name).touch()
    for name in ("e", "__pycache__", "out"):
        (tmp_path / name).mkdir()
    assert [path.name for path in submissions_in(tmp_path, tmp_path / "out")] == ["a.py", "e"]


def test_results_that_can_not_be_written_end_the_run_in_one_line(tmp_path, capsys):
    small(tmp_path, ada=GOOD)
    (tmp_path / "out").write_text("a file")
    assert main(command(tmp_path)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_spec_that_turns_out_bad_while_marking_ends_the_run(tmp_path, capsys):
    small(tmp_path, ada=GOOD)
    path = tmp_path / "teacher" / "right.py"
    path.write_text("def relu(x):\n    raise ValueError('oops')\n")
    (tmp_path / "teacher" / "checks.toml").write_text("[[check]]\nready = 'relu'\nreference = 'right.py:relu'\n")
    assert main(command(tmp_path)) == 2
    assert "the reference of relu can't be evaluated: ValueError: oops" in capsys.readouterr().err


def test_settings_of_a_batch_reach_the_checks(tmp_path):
    small(tmp_path, ada=GOOD)
    batch = Batch(tmp_path / "in", tmp_path / "out", tmp_path / "teacher" / "checks.toml", timeout=7.5)
    assert batch.spec_for(tmp_path / "in" / "ada.py").timeout == 7.5
