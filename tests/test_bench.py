"""The benchmark itself: what it refuses, what it writes, how it counts."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from test_data_zoo import folder_of

from minigrad.bench import FRAMEWORKS, Case, Minigrad, Result, all_cases, measure
from minigrad.bench.machine import Limits, description
from minigrad.bench.overhead import overhead_cases
from minigrad.bench.report import Findings, read, tables, write
from minigrad.bench.timing import interleaved, ratio_interval
from minigrad.cli import main
from minigrad.errors import MinigradError
from minigrad.viz.columns import print_whole


class Other(Minigrad):
    name = "other"


class Compiled(Minigrad):
    name = "compiled"
    eager = False


def test_results_that_differ_are_not_timed():
    def runs(frameworks):
        return [(lambda: None, lambda i=i: mg_tensor(1 + 0.1 * i)) for i, _ in enumerate(frameworks)]

    def mg_tensor(value):
        from minigrad import tensor

        return tensor(np.full(3, value))

    case = Case("a case", runs, 1, 1)
    with pytest.raises(MinigradError, match=r"a case: results differ by 9.1e-02"):
        measure(case, [Minigrad(), Other()], Limits(1, 1))


def test_competitors_take_turns_and_ratios_have_intervals():
    calls = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.0, least=4)
    assert len(times["a"]) == len(times["b"]) == 4
    assert set(calls) == {"a", "b"}
    middle, low, high = ratio_interval([2.0, 2.2, 1.8, 2.0, 9.0], [1.0, 1.1, 0.9, 1.0, 1.0])
    assert middle == 2 and 1.8 <= low <= middle <= high


def test_every_case_has_its_own_name_and_a_floor():
    cases = list(all_cases())
    assert len({case.name for case in cases}) == len(cases)
    assert all(Limits(1e9, 1e9).floor(case.flops, case.bytes) > 0 for case in cases)
    assert {f"lenet step, batch {n}" for n in (1, 32, 256)} <= {case.name for case in cases}


def test_a_run_leaves_json_and_markdown(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", "--only", "^cross_entropy 1x10: forward$", "--patience", "0.01", "--out", str(out)]) == 0
    told = json.loads(out.read_text())
    (result,) = told["results"]
    assert result["name"] == "cross_entropy 1x10: forward" and result["rounds"] >= 5
    assert 0 < result["minimum"]["minigrad"] <= result["median"]["minigrad"]
    assert told["limits"]["flops"] > 1e9 and told["machine"]["threads"] >= 1
    assert "| cross_entropy 1x10: forward |" in out.with_suffix(".md").read_text()


def test_a_run_goes_on_where_it_was_left(tmp_path, capsys):
    out = tmp_path / "bench.json"
    quick = ["--patience", "0.01", "--out", str(out)]
    assert main(["bench", "--only", "^cross_entropy 1x10: by input$", *quick]) == 0
    first = json.loads(out.read_text())["results"]
    assert main(["bench", "--only", "^cross_entropy 1x10", "--resume", *quick]) == 0
    told = json.loads(out.read_text())["results"]
    assert [r["name"].split(": ")[1] for r in told] == ["forward", "by input"]
    assert told[1:] == first
    assert write(out, read(out))[0].read_text() == json.dumps(json.loads(out.read_text()), indent=1) + "\n"
    out.write_text(out.read_text().replace('"lanes"', '"wings"'))
    assert main(["bench", "--only", "^cross_entropy 1x10", "--resume", *quick]) == 2
    assert "was measured with lanes None, here is" in capsys.readouterr().err


def test_interrupted_it_keeps_what_there_is(tmp_path, monkeypatch, capsys):
    def stopped(case, *_):
        if case.name.endswith("by input"):
            raise KeyboardInterrupt
        return measure(case, *_)

    monkeypatch.setattr("minigrad.cli.bench.measure", stopped)
    out = tmp_path / "bench.json"
    assert main(["bench", "--only", "^cross_entropy 1x10", "--patience", "0.01", "--out", str(out)]) == 130
    assert [r["name"] for r in json.loads(out.read_text())["results"]] == ["cross_entropy 1x10: forward"]
    assert capsys.readouterr().err == (
        "minigrad bench: interrupted; what was measured until then is written; the same command with --resume goes on\n"
    )


def test_plots_are_made_of_what_was_found(tmp_path):
    def result(name, times):
        return Result.of(Case(name, lambda _: [], 1e6, 1e5), {n: [t] * 5 for n, t in times.items()}, Limits(1e10, 1e9), 0.0)

    results = [
        result("lenet step, batch 1", {"minigrad": 1.0, "torch": 2.0, "jax": 4.0}),
        result("conv2d lenet conv1, batch 1: by weight", {"minigrad": 1.0, "torch": 2.0}),
        result("relu 4x4: forward", {"minigrad": 1.0}),
    ]
    files = write(tmp_path / "b.json", Findings(description(), Limits(1e10, 1e9), results=results))
    assert [file.name for file in files] == ["b.json", "b.md", "b-roofline.png", "b-ratios.png"]
    assert all(file.stat().st_size > 0 for file in files)
    assert "| lenet step, batch 1 | 1 s | 1 s | 2 s | 2 s | 2.00 (2.00 to 2.00) | 2.00 | 4 s |" in files[1].read_text()
    assert results[0].of_limit == pytest.approx(1e-4)


def test_in_a_narrow_terminal_whole_columns_go():
    result = Result.of(
        Case("conv2d lenet conv1, batch 1: by weight", lambda _: [], 1e6, 1e5),
        {"minigrad": [1e-3] * 5, "torch": [2e-3] * 5},
        Limits(1e10, 1e9),
        0.0,
    )
    found = Findings(description(), Limits(1e10, 1e9), results=[result])
    heads = {width: [column.header for table in tables(found, width) for column in table.columns] for width in (None, 100, 70)}
    assert heads[None] == ["case", "minigrad", "least", "torch", "least", "ratio of medians", "of least", "of limit"]
    assert heads[100] == ["case", "minigrad", "torch", "ratio of medians", "of least", "of limit"]
    assert heads[70] == ["case", "minigrad", "torch"]
    out = io.StringIO()
    for table in tables(found, 60):
        print_whole(Console(file=out, width=40), table)
    assert "conv2d lenet conv1, batch 1: by weight      1 ms   2 ms" in out.getvalue()
    assert "left out for want of room: least, of least, of limit, ratio of medians; " in " ".join(out.getvalue().split())


def test_a_small_operation_in_parts():
    add = next(case for case in overhead_cases() if case.operation == "add")
    found = add.measure([Minigrad(), Compiled()], patience=0.01)
    assert set(found.wholes) == {"minigrad"}  # the other has no eager mode
    own, parts = found.wholes["minigrad"], found.parts
    assert sum(parts.values()) == pytest.approx(own["recorded"])
    assert own["unrecorded"] < own["recorded"] and own["backward"] > 0 and parts["numpy"] > 0


@pytest.mark.slow
def test_jax_is_asked_for_the_same():
    pytest.importorskip("jax")
    frameworks = [Minigrad(), FRAMEWORKS["jax"]()]
    small = (
        "lenet step, batch 1$|conv2d lenet conv2, batch 1:|linear 400x120, batch 1:|relu 1x|max_pool2d 2/2 1x"
        "|local_response_norm 8x|batch_norm 32x|softmax 32x|cross_entropy 1x"
    )
    for case in all_cases():
        if re.search(small, case.name):
            assert measure(case, frameworks, Limits(1, 1), patience=0).error <= case.tolerance


def test_bad_requests_are_told_in_a_line(capsys):
    for arguments, said in (
        (["--only", "nothing has this name"], "is in no case's name"),
        (["--only", "("], "is not a regular expression"),
        (["--resume"], "there is no --out"),
        (["--against", "tensorflow"], "there are torch, jax"),
        (["--out", "there.md"], "there.md: expected a name that ends in .json"),
        (["--out", "there"], "there: expected a name that ends in .json"),
    ):
        assert main(["bench", *arguments]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Markdown", "not JSON, or damaged (Expecting value: line 1 column 1 (char 0))"),
        ('{"machine": {', "not JSON, or damaged"),
        ("[1]", "not what `minigrad bench --out` writes: list indices"),
        ('{"machine": {}}', "not what `minigrad bench --out` writes: there is no 'limits'"),
        ('{"machine": 3}', "not what `minigrad bench --out` writes"),
    ],
)
def test_a_damaged_file_is_told_in_a_line(tmp_path, capsys, text, said):
    out = tmp_path / "bench.json"
    out.write_text(text)
    assert main(["bench", "--only", "^cross_entropy 1x10", "--out", str(out), "--resume"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"{out}: {said}" in told
    assert out.read_text() == text


def test_warmup_knows_its_models(capsys):
    assert main(["warmup", "resnet"]) == 2
    assert "there are: alexnet, lenet, lenet5" in capsys.readouterr().err
    assert main(["warmup", "lenet", "lenet5"]) == 0
    assert "lenet: " in (told := capsys.readouterr().out) and "lenet5: " in told


@pytest.mark.slow
def test_after_warmup_train_compiles_nothing(tmp_path):
    """In a process of its own, whose cache is empty at first."""
    data = folder_of(tmp_path, train=80, test=20)
    code = f"""
from minigrad.cli import main
from minigrad.jit import on_compile
compiled = []
assert main(["warmup", "lenet5"]) == 0
with on_compile(compiled.append):
    assert main(["train", "lenet5", "--data", {str(data)!r}, "--epochs", "1", "--out", {str(tmp_path / "run")!r}]) == 0
assert not compiled, compiled
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
