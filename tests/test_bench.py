"""The benchmark itself: what it refuses, what it writes, how it counts."""

import json

import numpy as np
import pytest

from minigrad.bench import Case, Minigrad, all_cases, measure
from minigrad.bench.machine import Limits
from minigrad.bench.timing import interleaved, ratio_interval
from minigrad.cli import main
from minigrad.errors import MinigradError


class Other(Minigrad):
    name = "other"


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


def test_bad_requests_are_told_in_a_line(capsys):
    for arguments, said in (
        (["--only", "nothing has this name"], "is in no case's name"),
        (["--only", "("], "is not a regular expression"),
        (["--against", "tensorflow"], "there are torch, jax"),
    ):
        assert main(["bench", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_warmup_knows_its_models(capsys):
    assert main(["warmup", "resnet"]) == 2
    assert "there are: lenet, alexnet" in capsys.readouterr().err
    assert main(["warmup", "lenet"]) == 0
    assert "lenet: " in capsys.readouterr().out
