"""The checker against backward passes known to be right or wrong, and its diagnosis against the mistake that was made."""

import numpy as np
import pytest
from gradcheck_corpus import activations, basic, losses, normalised, recurrent, windows
from gradcheck_corpus.apart import RIGHT as RIGHT_APART
from gradcheck_corpus.apart import WRONG as WRONG_APART
from gradcheck_corpus.right import OPERATIONS as RIGHT

from minigrad.checks import Options, check

MODULES = (basic, activations, windows, normalised, losses, recurrent)
MUTANTS = [mutant for module in MODULES for op in module.OPERATIONS for mutant in op.mutants]
NAMED = [mutant for mutant in MUTANTS if any(mutant.expected.values())]


def named_right(mutant, report):
    """Whether for every wrong input the first diagnosis is the mistake."""
    for name, kinds in mutant.expected.items():
        found = [d.kind for d in report[name].diagnoses]
        if kinds and (not found or found[0] not in kinds):
            return False
    return True


@pytest.fixture(scope="module")
def reports():
    return {mutant.name: check(mutant.problem(), Options()) for mutant in MUTANTS}


def test_the_corpus_is_large_enough():
    assert len(MUTANTS) >= 60 and len({m.operation.name for m in MUTANTS}) >= 12 and len(RIGHT) >= 40
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) and len({op.name for op in RIGHT}) == len(RIGHT)


def test_every_wrong_backward_is_caught(reports):
    assert [name for name, report in reports.items() if report.ok] == []
    for mutant in MUTANTS:
        report = reports[mutant.name]
        accused = {i.name for i in report.inputs if not i.ok} | {f.input for f in report.findings if f.fatal}
        assert set(mutant.expected) <= accused, mutant.name


def test_nine_of_ten_are_named_right(reports):
    hits = [mutant.name for mutant in NAMED if named_right(mutant, reports[mutant.name])]
    assert len(hits) >= 0.9 * len(MUTANTS), sorted({m.name for m in MUTANTS} - set(hits))


@pytest.mark.parametrize("case", RIGHT_APART, ids=lambda case: case.name)
def test_right_code_of_the_second_corpus_does_not_fail(case):
    assert check(case.problem(), Options()).status == "passed"


def test_the_second_corpus_is_caught_and_nine_of_ten_named():
    reports = {case.name: check(case.problem(), Options()) for case in WRONG_APART}
    assert len(reports) == len(WRONG_APART) >= 50
    assert [name for name, report in reports.items() if report.ok] == []
    hits = [case.name for case in WRONG_APART if named_right(case, reports[case.name])]
    assert len(hits) >= 0.9 * len(WRONG_APART), sorted(set(reports) - set(hits))


def test_inputs_that_are_right_are_not_accused(reports):
    """In a mutant where one input's gradient is wrong, the others of a sum of independent terms stay ok."""
    for mutant in basic.AFFINE.mutants:
        report = reports[mutant.name]
        assert {i.name for i in report.inputs if not i.ok} | {f.input for f in report.findings} == set(mutant.expected)


@pytest.mark.parametrize("op", RIGHT, ids=lambda op: op.name)
def test_a_right_backward_does_not_fail(op):
    report = check(op.problem(), Options())
    assert report.ok, str(report)
    assert report.diagnoses == []


@pytest.mark.parametrize("mode", ["fast", "sample"])
def test_other_modes_agree(mode):
    for op in RIGHT[::5]:
        assert check(op.problem(), Options(mode=mode, samples=5)).ok, op.name
    for mutant in MUTANTS[::12]:
        assert not check(mutant.problem(), Options(mode=mode, samples=30)).ok, mutant.name


def test_a_residual_is_small_where_a_hypothesis_is_stated(reports):
    for report in reports.values():
        for diagnosis in (d for i in report.inputs for d in i.diagnoses):
            assert 0 <= diagnosis.residual < 0.06 and np.isfinite(diagnosis.residual)
