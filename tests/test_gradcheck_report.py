"""What a report says, shows and hands on: text, plain data, pictures, HTML."""

import json

import numpy as np
import pytest
from gradcheck_corpus.basic import AFFINE
from gradcheck_corpus.windows import CONV, MAX_POOL

import minigrad as mg
from minigrad.checks import Options, Verdict, check, forward_backward_problem
from minigrad.checks.heatmap import blocks, save_png


def mutant(operation, text):
    (found,) = [m for m in operation.mutants if text in m.name]
    return found


@pytest.fixture(scope="module")
def conv():
    return check(mutant(CONV, "range(pad").problem(), Options(seed=3))


def square(factor=2.0):
    return forward_backward_problem(
        lambda x: (x * x, x), lambda g, x: factor * x * g, (np.arange(1.0, 7).reshape(2, 3),), label="square"
    )


def test_the_text_says_what_where_and_how_to_repeat_it(conv):
    text = conv.text()
    assert text.startswith("gradient check of conv: FAILED") and str(conv) == text
    for word in (
        "index",
        "analytic",
        "numeric",
        "± error",
        "f(x+h)",
        "f(x-h)",
        "diagnosis: the gradient of x is right for pad = 0",
    ):
        assert word in text
    at = conv["x"].worst()[0]
    assert f"[{', '.join(map(str, at))}]" in text and f"{conv['x'].up[at]:.10g}" in text
    assert conv["b"].ok and "b (2): 2 ok" in text


def test_values_beside_each_element_are_the_quotients_own(conv):
    found = conv["x"]
    at = found.worst()[0]
    coarse = (found.up[at] - found.down[at]) / (2 * found.step[at])
    assert coarse == pytest.approx(found.numeric[at], rel=1e-6)


def test_the_line_that_repeats_it():
    forward, backward = (lambda x, k=1: (k * x, k)), (lambda g, k: g)
    report = mg.check_grads(forward, backward, (np.ones(3),), settings={"k": 2}, seed=5, mode="sample", raise_exception=False)
    call = "check_grads(<lambda>, <lambda>, {x: <3>}, settings={'k': 2}"
    expected = f"{call}, mode='sample', seed=5, samples=20, rtol=1e-06, atol=1e-08)"
    assert report.reproduce == expected and f"again: {expected}" in report.text()


def test_the_same_seed_gives_the_same_report():
    first, second = (
        check(
            mutant(AFFINE, "dw = x.reshape(len(x), -1).T @ dout / len(x)").problem(), Options(mode="sample", samples=7, seed=s)
        )
        for s in (4, 4)
    )
    assert first.text() == second.text() and first.to_dict() == second.to_dict()
    other = check(mutant(AFFINE, "/ len(x)").problem(), Options(mode="sample", samples=7, seed=5))
    assert (first["w"].verdict != other["w"].verdict).any()


def test_where_no_hypothesis_explains_it_says_so():
    def backward(g, x):
        return 2 * x * g + 0.1 * np.sin(37 * np.arange(x.size).reshape(x.shape)) * g

    report = check(forward_backward_problem(lambda x: (x * x, x), backward, (np.arange(1.0, 7).reshape(2, 3),)), Options())
    assert report.diagnoses == [] and "none of the known mistakes explains these numbers" in report.text()


def test_a_hypothesis_is_not_stated_for_one_number():
    """Any number is some factor of any other: one element that is off by an odd factor proves nothing."""
    report = check(forward_backward_problem(lambda x: (x * x, x), lambda g, x: 2.37 * x * g, (np.array([1.5]),)), Options())
    assert not report.ok and "factor" not in report.diagnoses


def test_plain_data(conv):
    data = json.loads(json.dumps(conv.to_dict(), allow_nan=False))
    assert (data["status"], data["ok"], data["seed"]) == ("failed", False, 3)
    x = data["inputs"][0]
    assert x["name"] == "x" and x["shape"] == list(conv["x"].x.shape) and sum(x["verdicts"].values()) == x["elements"]
    assert x["diagnoses"][0]["kind"] == "padding" and len(x["worst"]) == 5
    assert x["worst"][0]["numeric"] == conv["x"].numeric[tuple(x["worst"][0]["index"])]


def test_without_numbers_the_right_gradient_is_not_told(conv):
    text, data = conv.text(numbers=False), json.dumps(conv.to_dict(numbers=False))
    assert "worst" not in data and "f(x+h)" not in text and "diagnosis" in text
    for at in conv["x"].worst():
        assert f"{conv['x'].numeric[at]:.5g}" not in text + data


def test_not_a_number_in_plain_data():
    report = check(
        forward_backward_problem(lambda x: (x * x, x), lambda g, x: np.full(x.shape, np.nan), (np.ones(3),)), Options()
    )
    json.dumps(report.to_dict(), allow_nan=False)
    assert report["x"].count(Verdict.NONFINITE) == 3


def test_short_form_for_assertions():
    shown = repr(check(square(3.0), Options()))
    assert shown.startswith("<gradient check of square: failed; x 6 of 6 wrong: the gradient of x is") and "\n" not in shown
    assert repr(check(square(), Options())) == "<gradient check of square: passed>"


def test_an_unknown_input_is_named():
    with pytest.raises(KeyError, match="no input 'y'; there are x"):
        check(square(), Options())["y"]


# ------------------------------------------------------------------------------------------------ pictures


def test_blocks_show_where_it_is_wrong(conv):
    lines = blocks(conv["x"])
    assert "worst of 6 planes" in lines[0]
    plane = [line[2:] for line in lines[1:]]
    assert len(plane) == 4 and all(len(row) == 5 for row in plane)
    index = tuple(int(k) for k in lines[0].split("[")[1].split("]")[0].split(","))
    wrong = conv["x"].verdict[index] == Verdict.WRONG
    assert wrong.any() and all((plane[i][j] in "░▒▓█") == wrong[i, j] for i, j in np.ndindex(wrong.shape))
    assert lines[1:] != [] and all(line in conv.text() for line in lines)


def test_blocks_show_the_worst_plane():
    def backward(g, x):
        dx = 2 * x * g
        dx[2, 0] += 1
        return dx

    report = check(
        forward_backward_problem(lambda x: (x * x, x), backward, (np.random.default_rng(0).normal(size=(4, 3, 5)),)), Options()
    )
    lines = blocks(report["x"])
    assert "x[2], the worst of 4 planes" in lines[0] and lines[2].strip() == "·····" and "·" not in lines[1]


def test_blocks_of_large_arrays_fit_a_terminal():
    x = np.random.default_rng(0).normal(size=(26, 80))

    def backward(g, x):
        dx = 2 * x * g
        dx[-1, -1] += 1
        return dx

    report = check(forward_backward_problem(lambda x: (np.square(x).sum(0), x), backward, (x,)), Options())
    lines = blocks(report["x"])
    assert len(lines) <= 27 and max(map(len, lines)) <= 130 and "worst of 2x2 elements" in lines[-1]
    assert lines[-2][-1] in "░▒▓█" and sum(c in "░▒▓█" for line in lines[1:] for c in line) == 1


def test_shades_and_marks():
    report = check(
        forward_backward_problem(
            lambda x: (np.maximum(x, 0) * [1, 1, 1, 100], x),
            lambda g, x: g * [1, 1.5, 0, 60] * (x > 0),
            (np.array([0.0, 1, 1, 1]),),
        ),
        Options(),
    )
    row = blocks(report["x"])[1].strip()
    assert len(row) == 4 and row[0] == "?" and row[3] in "▒▓" and row[1] in "░▒"


def test_pngs_are_written_for_what_is_wrong(conv, tmp_path):
    from matplotlib.image import imread

    assert [p.name for p in conv.save_pngs(tmp_path)] == ["x.png", "w.png"]
    paths = check(mutant(CONV, "dx[:, :, 0]").problem(), Options()).save_pngs(tmp_path)
    assert [p.name for p in paths] == ["x.png"]
    assert conv.save_pngs(tmp_path / "new" / "folder")[1].is_file()
    picture = imread(paths[0])
    assert picture.shape[2] == 4 and picture[..., :3].std() > 0.05
    green, red = (np.abs(picture[..., :3] - c).max(-1) < 0.02 for c in ((0.863, 0.941, 0.875), (1, 0, 0)))
    assert green.sum() > 1000 and red.sum() == 0  # what is right is green
    with pytest.raises(OSError, match="missing"):
        save_png(conv["x"], tmp_path / "missing" / "x.png")


def test_names_of_files_are_safe(tmp_path):
    problem = square(3.0)
    problem.names[0] = "../a/b c"
    assert [p.name for p in check(problem, Options()).save_pngs(tmp_path)] == [".._a_b_c.png"]


def test_html_escapes_what_comes_from_outside(conv):
    problem = square(3.0)
    problem.label, problem.names[0] = "<script>", "<b>"
    shown = check(problem, Options())._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>x" not in shown
    assert conv._repr_html_().count("<td title=") == 20 + 9
    assert "passed" in check(square(), Options())._repr_html_()


# ------------------------------------------------------------------------------------------------ modes


def test_fast_mode_looks_closer_only_where_it_must():
    report = check(CONV.problem(), Options(mode="fast"))
    assert report.status == "passed" and "ok along 3 random directions" in report.text()
    assert all((i.verdict == Verdict.SKIPPED).all() for i in report.inputs)
    wrong = check(mutant(CONV, "dw += -> dw =").problem(), Options(mode="fast"))
    assert wrong["w"].diagnoses[0].kind == "overwritten" and (wrong["x"].verdict == Verdict.SKIPPED).all()


def test_sample_mode_looks_at_as_many_as_asked():
    report = check(MAX_POOL.problem(), Options(mode="sample", samples=7))
    assert report.status == "passed" and (report["x"].verdict != Verdict.SKIPPED).sum() == 7
    assert "7 of 100 elements looked at" in report.text()
    wrong = check(mutant(MAX_POOL, "argmin").problem(), Options(mode="sample", samples=30))
    assert wrong["x"].diagnoses[0].kind == "mask", "a diagnosis works out the Jacobian for itself"
