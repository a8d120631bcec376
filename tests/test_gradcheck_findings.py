"""What is found and named beside numbers that differ, and what the verdicts at single elements are."""

import random

import numpy as np
import pytest

import minigrad as mg
from minigrad.checks import Options, Verdict, check, forward_backward_problem

X = np.random.default_rng(0).normal(size=(3, 4))
W = np.random.default_rng(1).normal(size=(4, 2))


def checked(forward, backward, *inputs, **options):
    return check(forward_backward_problem(forward, backward, inputs or (X,)), Options(**options))


def kinds(report, fatal=True):
    return {f.kind for f in report.findings if f.fatal == fatal}


def square(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


def test_a_right_one_has_no_findings():
    report = checked(square, square_backward)
    assert report.status == "passed" and report.findings == [] and bool(report)


def test_forward_that_changes_its_input():
    def forward(x):
        x *= 2
        return x * x / 4, x / 2

    report = checked(forward, square_backward)
    assert kinds(report) == {"mutated"} and "forward changes its input x in place" in report.text()


def test_backward_that_changes_its_input():
    def backward(dout, x):
        x *= 2
        return x * dout

    report = checked(square, backward)
    assert "mutated" in kinds(report) and "backward changes its input x" in report.text()
    assert "cache-changed" in kinds(report, fatal=False)


def test_backward_that_changes_the_incoming_gradient():
    def backward(dout, x):
        dout *= 2 * x
        return dout

    report = checked(square, backward)
    assert report.ok and kinds(report, fatal=False) == {"mutated-gradient"}


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1, 1, 3)])
def test_a_wrong_shape_that_broadcasting_would_hide(shape):
    report = checked(square, lambda dout, x: square_backward(dout, x).reshape(shape), X[:, 0])
    assert kinds(report) == {"shape"} and "broadcasting would hide it" in report.text()


def test_a_wrong_shape_that_nothing_hides():
    report = checked(square, lambda dout, x: square_backward(dout, x)[:2])
    assert "shape" in kinds(report) and "hide" not in report.text()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_gradient_of_another_type(dtype):
    report = checked(square, lambda dout, x: square_backward(dout, x).astype(dtype))
    assert "dtype" in kinds(report) and np.dtype(dtype).name in report.text()


def test_an_output_of_less_precision():
    report = checked(lambda x: ((x * x).astype(np.float32), x), square_backward)
    assert "dtype" in kinds(report)


@pytest.mark.parametrize(("out", "said"), [(lambda x: (x * x).astype(int), "int64"), (lambda x: x.astype(complex), "complex")])
def test_an_output_without_a_real_derivative(out, said):
    report = checked(lambda x: (out(x), x), square_backward)
    assert kinds(report) == {"error"} and said in report.text() and report.status == "failed"


def test_inputs_that_share_memory():
    report = checked(lambda a, b: (a * b, (a, b)), lambda g, c: (g * c[1], g * c[0]), X, X)
    assert report.ok and kinds(report, fatal=False) == {"aliased"}


@pytest.mark.parametrize(
    "x", [np.broadcast_to(X[:, :1], (3, 4)), np.lib.stride_tricks.sliding_window_view(np.arange(5.0), 3)], ids=["0", "windows"]
)
def test_an_input_that_overlaps_itself(x):
    assert "overlap" in kinds(checked(square, square_backward, x))


def test_strides_that_do_not_overlap_are_no_finding():
    assert checked(square, square_backward, X.T[::-1, ::2]).findings == []


def test_backward_that_ignores_what_comes_in():
    assert "ignores" in kinds(checked(square, lambda dout, x: 2 * x))


def test_a_gradient_by_what_the_output_does_not_depend_on():
    report = checked(lambda a, b: (a * 2, b), lambda dout, b: (2 * dout, dout), X, X + 1)
    assert kinds(report) == {"independent"} and "does not depend on b" in report.text()
    assert not report["b"].ok and report["a"].ok


def test_a_cache_that_goes_stale():
    kept = {}

    def forward(x):
        kept["x"] = x
        return x * x, None

    report = checked(forward, lambda dout, _: 2 * kept["x"] * dout)
    assert "stale" in kinds(report)


def test_a_cache_that_backward_changes():
    def backward(dout, cache):
        result = 2 * cache["x"] * dout
        cache["x"] = cache["x"] * 2
        return result

    report = checked(lambda x: (x * x, {"x": x}), backward)
    assert report.ok and kinds(report, fatal=False) == {"cache-changed"}


def test_a_forward_with_a_generator_of_its_own():
    generator = np.random.default_rng(0)

    def forward(x):
        mask = generator.random(x.shape) < 0.5
        return x * mask, mask

    report = checked(forward, lambda dout, mask: dout * mask)
    assert "nondeterministic" in kinds(report)
    assert report["x"].count(Verdict.NONDETERMINISTIC) > 0 and report["x"].count(Verdict.WRONG) == 0


def test_a_backward_with_a_generator_of_its_own():
    generator = np.random.default_rng(0)
    report = checked(square, lambda dout, x: 2 * x * dout + 1e-3 * generator.normal(size=x.shape))
    assert "nondeterministic" in kinds(report)


def test_a_slight_nondeterminism_can_be_allowed():
    generator = np.random.default_rng(0)
    noisy = lambda dout, x: 2 * x * dout + 1e-12 * generator.normal(size=x.shape)  # noqa: E731
    assert not checked(square, noisy).ok
    assert checked(square, noisy, nondet_tol=1e-9).ok


@pytest.mark.parametrize("draw", [np.random.rand, lambda *s: np.array([random.random() for _ in range(12)]).reshape(s)])
def test_seeded_generators_are_reseeded_and_put_back(draw):
    def forward(x):
        mask = draw(*x.shape) < 0.5
        return x * mask, mask

    legacy = lambda: np.random.get_state()[1].tolist()  # noqa: E731, NPY002 - what students draw from
    before = random.getstate(), legacy(), mg.get_rng_state()
    assert checked(forward, lambda dout, mask: dout * mask).status == "passed"
    assert random.getstate() == before[0] and legacy() == before[1]
    assert str(mg.get_rng_state()) == str(before[2])


def test_values_that_are_not_finite():
    report = checked(lambda x: (np.log(x), x), lambda dout, x: dout / x, np.array([1.0, -1.0, 2.0]))
    assert "nonfinite" in kinds(report)
    report = checked(square, lambda dout, x: np.where(x > 0, np.nan, 2 * x * dout))
    assert report["x"].count(Verdict.NONFINITE) == int((X > 0).sum()) and not report.ok


def test_no_elements():
    assert kinds(checked(square, square_backward, np.zeros((0, 2))), fatal=False) == {"empty"}


# ------------------------------------------------------------------------------------------------ verdicts


def relu(slope):
    return (lambda x: (np.maximum(x, 0), x)), lambda dout, x: dout * np.where(x == 0, slope, x > 0)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.5, 1.0])
def test_at_a_kink_what_lies_between_the_sides_is_undecided(slope):
    report = checked(*relu(slope), np.array([-1.0, 0.0, 2.0]))
    assert [Verdict(v) for v in report["x"].verdict] == [Verdict.OK, Verdict.KINK, Verdict.OK]
    assert report.ok and report["x"].conclusive == 2


@pytest.mark.parametrize("slope", [-0.5, 1.5])
def test_at_a_kink_what_lies_outside_is_wrong(slope):
    report = checked(*relu(slope), np.array([-1.0, 0.0, 2.0]))
    assert report["x"].verdict[1] == Verdict.WRONG and report["x"].count(Verdict.WRONG) == 1


def test_a_kink_inside_the_step_does_not_fail_right_code():
    """A unit of a ReLU network within 1e-6 of zero: central differences at 1e-5 say 50 % there."""
    report = checked(*relu(0.0), np.array([1e-7, -1e-7, 1e-12, -1e-12, 3.0]))
    assert report.ok and report["x"].count(Verdict.WRONG) == 0


def test_all_kinks_are_inconclusive():
    assert checked(*relu(0.5), np.zeros(3)).status == "inconclusive"


@pytest.mark.parametrize("share", [1e-3, 1e-5])
def test_a_small_mistake_is_seen(share):
    report = checked(lambda x: (np.exp(x), x), lambda dout, x: dout * np.exp(x) * (1 + share))
    assert report["x"].count(Verdict.WRONG) == X.size


def test_one_wrong_element_among_many_is_seen():
    def backward(dout, x):
        dx = 2 * x * dout
        dx[-1, -1] *= 1.001
        return dx

    report = checked(square, backward)
    assert report["x"].count(Verdict.WRONG) == 1 and report["x"].worst() == [(2, 3)]


@pytest.mark.parametrize("mode", ["full", "sample"])
def test_a_mistake_that_one_cotangent_hides_is_seen(mode):
    """A gradient right for one incoming gradient only: not linear in it."""
    seen = []

    def backward(dout, x):
        seen.append(dout.copy())
        return 2 * x * dout * (1 if np.array_equal(dout, seen[0]) else 1.5)

    assert not checked(square, backward, mode=mode).ok


def test_a_mistake_that_every_dense_cotangent_hides_is_seen_row_by_row():
    report = checked(square, lambda dout, x: 2 * x * dout * (1.5 if (dout == 0).any() else 1))
    assert report["x"].count(Verdict.WRONG) > 0 and report["x"].row == 0 and "seen in output 0 alone" in report.text()


def test_steps_far_too_long_for_the_function_accuse_nobody():
    """sin(2e4 x): at the first steps the quotients are noise that looks smooth here and there."""
    x = np.random.default_rng(5).normal(size=300)
    assert checked(lambda x: (np.sin(2e4 * x), x), lambda dout, x: 2e4 * np.cos(2e4 * x) * dout, x).ok


def test_the_error_beside_each_number_is_honest():
    whole = checked(lambda x: (np.sin(5 * x), x), lambda dout, x: 5 * np.cos(5 * x) * dout)
    report, exact = whole["x"], 5 * np.cos(5 * X) * whole.cotangent[0]
    assert (np.abs(report.numeric - exact) <= 3 * report.error + 1e-12).all()
    assert (report.error < 1e-6 * np.abs(exact).max()).all()


def test_a_step_of_one_is_exact_for_what_is_linear():
    forward, backward = lambda x, w: (x @ w, (x, w)), lambda g, c: (g @ c[1].T, c[0].T @ g)
    report = checked(forward, backward, X, W, bilinear=True)
    assert report.ok and (report["x"].step == 1).all()
    assert np.abs(report["x"].difference()).max() < 1e-13


def test_the_complex_step_decides_where_rounding_leaves_nothing():
    """Beside a large constant quotients have one or two digits; Im f(x + ih) has all of them."""

    def forward(x):
        return 1e6 + 1e-3 * np.exp(x), x

    right = checked(forward, lambda dout, x: dout * np.exp(x) * 1e-3)
    assert right.ok and right["x"].count(Verdict.OK) == X.size
    assert (right["x"].error > 1e-4 * np.abs(right["x"].numeric)).any(), "the quotients alone don't resolve it"
    wrong = checked(forward, lambda dout, x: dout * np.exp(x) * 1.001e-3)
    assert wrong["x"].count(Verdict.WRONG) == X.size


def test_without_a_complex_step_it_stays_unresolved():
    report = checked(lambda x: (1e6 + 1e-3 * np.exp(x.real), x), lambda dout, x: dout * np.exp(x) * 1.001e-3)
    assert report.ok and report["x"].count(Verdict.UNRESOLVED) > 0


@pytest.mark.parametrize("options", [{"mode": "quick"}, {"eps": -1.0}, {"samples": 0}], ids=["mode", "eps", "samples"])
def test_requests_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)
