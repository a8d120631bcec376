"""Specs: what a teacher writes, what is refused and how, and that the ready checks know right from wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.grading import READY, Check, Draw, Spec, SpecError, load_spec, mark, references

SOLUTIONS = Path(__file__).with_name("grading_solutions.py")


def written(tmp_path, text, name="checks.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_spec_from_a_file(tmp_path):
    spec = load_spec(
        written(
            tmp_path,
            """
            title = "Homework 1"
            file = "layers.py"
            seed = 7
            timeout = 5
            memory = 512
            show = "numbers"
            all_or_nothing = true

            [[check]]
            name = "scale"
            forward = "scale_forward"
            backward = "scale_backward"
            points = 2.5
            partial = true
            visibility = "after_published"
            gradients = ["x", "s"]
            mode = "sample"
            samples = 9
            [check.arguments]
            x = [4, 3]
            s = { shape = [3], values = "positive" }
            labels = { shape = [4], values = "integers", low = 1, high = 5 }
            param = { stride = 2, table = { shape = [2], values = "ones" } }
            sizes = { value = [1, 2] }
            [check.settings]
            mode = "train"

            [[check]]
            ready = "conv"
            arguments.conv_param = { stride = 1, pad = 2 }
            hidden = true
            """,
        )
    )
    assert (spec.title, spec.file, spec.seed, spec.timeout, spec.memory) == ("Homework 1", "layers.py", 7, 5, 512)
    assert (spec.shown, spec.all_or_nothing, spec.points) == ("numbers", True, 3.5)
    scale, conv = spec.checks
    assert (scale.function, scale.backward, scale.kind, scale.partial) == ("scale_forward", "scale_backward", "pair", True)
    assert (scale.mode, scale.samples, scale.visibility, scale.checked) == ("sample", 9, "after_published", ("x", "s"))
    arguments, settings = scale.drawn(7)
    assert {k: v.shape for k, v in arguments.items() if isinstance(v, np.ndarray)} == {"x": (4, 3), "s": (3,), "labels": (4,)}
    assert arguments["sizes"] == [1, 2]
    assert arguments["param"]["stride"] == 2
    assert arguments["param"]["table"].tolist() == [1, 1]
    assert set(arguments["labels"]) <= {1, 2, 3, 4}
    assert 0.5 <= arguments["s"].min() <= arguments["s"].max() <= 2
    assert settings == {"mode": "train"}
    assert (conv.name, conv.function, conv.visibility) == ("conv", "conv_forward_naive", "hidden")
    assert conv.arguments["conv_param"] == {"stride": 1, "pad": 2}
    assert conv.reference is references.conv


def test_the_same_seed_draws_the_same_numbers_and_another_does_not():
    check = Check("affine", **READY["affine"])
    same, again, other = (check.drawn(seed)[0]["x"] for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


@pytest.mark.parametrize("values", ["normal", "uniform", "positive", "distinct", "zeros", "ones"])
def test_drawn_values_are_what_they_are_called(values):
    x = Draw((4, 5), values).array(np.random.default_rng(0))
    assert x.shape == (4, 5)
    assert x.dtype == np.float64
    if values == "distinct":
        ordered = np.sort(x.reshape(-1))
        assert np.diff(ordered).min() > 0.19
        assert np.abs(x).min() > 0.09
    if values in ("zeros", "ones"):
        assert set(x.reshape(-1)) == {float(values == "ones")}
    assert values != "uniform" or np.abs(x).max() <= 1


BAD = {
    "tytle = 'x'": "tytle: unknown; did you mean title?",
    "seed = -1\n[[check]]\nready = 'relu'": "seed: -1 is not a whole number from 0 on",
    "timeout = 'long'\n[[check]]\nready = 'relu'": "timeout: 'long' is not a number above 0",
    "show = 'all'\n[[check]]\nready = 'relu'": "show: 'all' is not one of verdict, diagnosis, numbers",
    "title = 'x'": "there is no [[check]] in it",
    "check = 3": "there is no [[check]] in it",
    "[[check]]\nready = 'rellu'": "check 1 (rellu): ready: 'rellu' is not one of affine, relu",
    "[[check]]\nready = 'relu'\npoint = 2": "check 1 (relu): point: unknown; did you mean points?",
    "[[check]]\nready = 'relu'\npoints = -2": "check 1 (relu): points: -2 is not a number from 0 on",
    "[[check]]\nready = 'relu'\npoints = true": "points: True is not a number",
    "[[check]]\nready = 'relu'\nvisibility = 'secret'": "visibility: 'secret' is not one of visible, hidden, after_due_date",
    "[[check]]\nforward = 'f'": "check 1 (f): backward: a pair needs one",
    "[[check]]\nforward = 'f()'\nbackward = 'g'": "forward: 'f()' is not a name in Python",
    "[[check]]\nname = 'x'": "check 1 (x): forward: missing",
    "[[check]]\nready = 'relu'\narguments.x = [4, -1]": "arguments.x: [4, -1] is not a shape",
    "[[check]]\nready = 'relu'\narguments.x = [10000, 10000]": "more than a million elements",
    "[[check]]\nready = 'relu'\narguments.x = { shape = [3], values = 'gauss' }": "x: values: 'gauss' is not one of",
    "[[check]]\nready = 'relu'\narguments.x = { shape = [3], valus = 'normal' }": "valus: unknown; did you mean values?",
    "[[check]]\nready = 'svm'\narguments.y = { shape = [3], values = 'integers', low = 4, high = 4 }": "low must be",
    "[[check]]\nready = 'relu'\ngradients = ['z']": "gradients: 'z' is not among the arguments: x",
    "[[check]]\nready = 'relu'\nreference = 'solution.py'": "reference: 'solution.py' is not FILE.py:NAME",
    "[[check]]\nready = 'relu'\nreference = 'solution.py:relu'": "reference: there is no file",
    "[[check]]\nready = 'relu'\n[[check]]\nready = 'relu'": "two checks are called 'relu'",
    "[[check]]\nfunction = 'f'\nkind = 'loss'\npart = 'forward'": "part: 'forward' compares with a reference",
    "[[check]\n": "not TOML: ",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_spec_is_refused_in_one_line_that_names_file_and_key(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as refused:
        load_spec(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert BAD[text] in message
    assert "\n" not in message


def test_a_spec_in_python_may_have_references_of_its_own(tmp_path):
    path = written(
        tmp_path,
        "from minigrad.grading import Check, Draw, Spec\n"
        "def right(x):\n    return x ** 3, None\n"
        "cube = Check('cube', 'cube_forward', backward='cube_backward', arguments={'x': Draw((3,))}, reference=right)\n"
        "SPEC = Spec((cube,))\n",
        "checks.py",
    )
    spec = load_spec(path)
    assert spec.path == path
    file = written(
        tmp_path, "def cube_forward(x):\n    return x**3, x\ndef cube_backward(g, x):\n    return g * 3 * x**2\n", "s.py"
    )
    assert mark(file, spec).ok
    for text, said in (
        ("SPEC = 3", "must be a minigrad.grading.Spec, got int"),
        ("1 / 0", "can't be imported: ZeroDivisionError"),
    ):
        with pytest.raises(SpecError, match=said):
            load_spec(written(tmp_path, text, "bad.py"))
    with pytest.raises(SpecError, match=r"a spec is a \.toml or a \.py file"):
        load_spec(tmp_path / "checks.yaml")


def test_a_reference_that_raises_is_the_teacher_s_trouble_and_costs_nobody_points(tmp_path):
    def wrong(x):
        raise ValueError("oops")

    check = Check("relu", **(READY["relu"] | {"reference": wrong}))
    with pytest.raises(SpecError, match="the reference of relu can't be evaluated: ValueError: oops"):
        mark(SOLUTIONS, Spec((check,)))


def test_the_specs_in_the_documentation_are_good(tmp_path):
    written(tmp_path, "def gelu_forward(x, scale): ...", "solution.py")
    blocks = re.findall(
        r"```toml\n(.*?)```", (Path(__file__).parent.parent / "docs" / "gradient-checking.md").read_text(), re.DOTALL
    )
    names = [[check.name for check in load_spec(written(tmp_path, block)).checks] for block in blocks]
    assert names == [["affine", "conv", "conv with stride"], ["gelu", "hinge", "BatchNorm", "TwoLayerNet"]]


# ------------------------------------------------------------------------------------------------ the ready checks


@pytest.fixture(scope="module")
def solved():
    """Every ready check on right solutions."""
    return {o.name: o for o in mark(SOLUTIONS, Spec(tuple(Check(name, **READY[name]) for name in READY), seed=3)).outcomes}


@pytest.mark.parametrize("name", READY)
def test_a_right_solution_passes_the_ready_check(solved, name):
    assert solved[name].ok, solved[name].text("numbers")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in READY if not name.endswith("_fast")])  # the same functions again
def test_a_solution_that_is_off_by_a_tenth_of_a_percent_does_not(tmp_path, name):
    """Each gradient, and the output, damaged alone."""
    check = Check(name, **READY[name])
    text, checks = SOLUTIONS.read_text(), []
    pair = check.kind == "pair"
    for place in range(-1, len(check.checked)):
        text += _damaged(check, place, pair)
        names = {"function": f"damaged{place + 1}", "backward": f"damaged{place + 1}_back" if pair else None}
        checks.append(Check(**(vars(check) | names | {"name": f"place {place}"})))
    file = tmp_path / "solution.py"
    file.write_text(text)
    outcomes = mark(file, Spec(tuple(checks))).outcomes
    for outcome in outcomes:
        assert (outcome.status, outcome.points) == ("failed", 0), outcome.text("numbers")


def _damaged(check, place, pair):
    """A copy of the functions with the gradient at `place` (or the output, at -1) too large by a thousandth."""
    number = place + 1
    lines = [f"\ndef damaged{number}(*a):", f"    out = list({check.function}(*a))"]
    if place == -1 or not pair:
        lines.append(f"    out[{place + 1 if not pair else 0}] = out[{place + 1 if not pair else 0}] * 1.001")
    lines.append("    return tuple(out)")
    if pair:
        lines += [f"def damaged{number}_back(*a):", f"    parts = {check.backward}(*a)"]
        lines.append("    parts = list(parts) if isinstance(parts, tuple) else [parts]")
        if place >= 0:
            lines.append(f"    parts[{place}] = parts[{place}] * 1.001")
        lines.append("    return tuple(parts)")
    return "\n".join([*lines, ""])


def test_references_agree_with_minigrad_s_own_operations():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 7, 9)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    tensors = [mg.tensor(a) for a in (x, w, b)]
    param = {"stride": 2, "pad": 1}
    assert np.allclose(references.conv(x, w, b, param)[0], F.conv2d(*tensors, stride=2, padding=1).numpy(), atol=1e-12)
    pool = {"pool_height": 3, "pool_width": 3, "stride": 2}
    assert np.array_equal(references.max_pool(x, pool)[0], F.max_pool2d(tensors[0], 3, stride=2).numpy())
    scores, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    loss = F.cross_entropy(mg.tensor(scores), mg.tensor(labels)).item()
    assert np.isclose(references.softmax(scores, labels)[0], loss, rtol=1e-12)


def test_the_ready_pooling_has_windows_that_overlap(tmp_path):
    """With tiles, = in place of += would be right."""
    text = SOLUTIONS.read_text()
    changed = text.replace("dx[:, :, rows, columns] += (x[", "dx[:, :, rows, columns] = (x[")
    assert changed != text
    checks = tuple(Check(name, **READY[name]) for name in ("max_pool", "max_pool_fast"))
    naive, fast = mark(written(tmp_path, changed, "layers.py"), Spec(checks)).outcomes
    assert naive.status == "failed" and "= where += is needed" in naive.text("diagnosis")
    assert fast.ok


def test_dropout_is_held_to_what_it_must_look_like(tmp_path):
    text = SOLUTIONS.read_text()
    for old, new, said in (
        ('< dropout_param["p"]) / dropout_param["p"]', '< dropout_param["p"])', "neither 0 nor x / p"),
        ('< dropout_param["p"])', "< 0.95)", "95% of the elements are kept|9.% of the elements are kept"),
        ("return x * mask, mask", "return 0 * x, 0 * mask", "0% of the elements are kept"),
    ):
        assert old in text
        file = tmp_path / "layers.py"
        file.write_text(text.replace(old, new))
        (found,) = mark(file, Spec((Check("dropout", **READY["dropout"]),))).outcomes
        assert found.points == 0
        assert re.search(said, found.summary), found.summary
