"""Hypotheses one by one where the corpora do not reach them, and that none is stated where none explains the numbers."""

import numpy as np
import pytest
from gradcheck_corpus import activations, basic, normalised, recurrent, windows
from hypothesis import given
from hypothesis import strategies as st

from minigrad.checks import Options, check, forward_backward_problem, loss_problem
from minigrad.checks.diagnosis import EXACT, LOCAL
from minigrad.checks.verdict import Verdict

X = np.random.default_rng(0).normal(size=(4, 6)) + 3
OPERATIONS = [op for m in (basic, activations, normalised, recurrent, windows) for op in m.OPERATIONS if op.backward]


def diagnosed(forward, backward, *inputs, **settings):
    return check(forward_backward_problem(forward, backward, inputs, settings), Options())


def kinds(report, name="x"):
    return [d.kind for d in report[name].diagnoses]


def share_forward(x):
    total = x.sum(axis=1, keepdims=True)
    return x / total, (x, total)


def test_the_diagonal_only():
    report = diagnosed(share_forward, lambda g, c: g * (1 / c[1] - c[0] / c[1] ** 2), X)
    assert kinds(report) == ["diagonal"]


def windows_forward(x):
    return np.lib.stride_tricks.sliding_window_view(x, 3)[::2].sum(1) ** 2, x


def windows_right(g, x):
    inner = 2 * g * np.lib.stride_tricks.sliding_window_view(x, 3)[::2].sum(1)
    dx = np.zeros_like(x)
    for t in range(len(g)):
        dx[2 * t : 2 * t + 3] += inner[t]
    return dx


def test_shares_that_are_not_added_up_however_they_are_combined():
    """The larger of two shares is no formula anyone knows, but it is right exactly where there is just one."""

    def backward(g, x):
        inner = 2 * g * np.lib.stride_tricks.sliding_window_view(x, 3)[::2].sum(1)
        dx = np.full(x.shape, -np.inf)
        for t in range(len(g)):
            dx[2 * t : 2 * t + 3] = np.maximum(dx[2 * t : 2 * t + 3], inner[t])
        return dx

    x = np.arange(9.0) - 3.7
    assert diagnosed(windows_forward, windows_right, x).ok
    report = diagnosed(windows_forward, backward, x)
    assert kinds(report) == ["overwritten"] and "not added up" in report.text()


def test_one_place_along_an_axis():
    def backward(g, x):
        dx = 2 * g * x
        dx[2] = dx[2] ** 2 + 1
        return dx

    report = diagnosed(lambda x: (x * x, x), backward, X)
    assert kinds(report) == ["slice"] and "wrong only at place 2 of axis 0" in report.text()


def test_a_factor_is_named_after_what_it_is():
    cases = {
        2.0: ("factor", "twice the right one: a factor of 2"),
        -2.0: ("factor", "minus twice"),
        4.0: ("mean", "the size of x along axis 0"),
        1 / 6: ("averaged", "the size of x along axis 1"),
        24.0: ("mean", "the number of elements of x"),
        0.7: ("factor", "k once too often"),
        1 / 0.7: ("factor", "a factor k missing"),
        -1.0: ("sign", "the negative"),
        1.2345: ("factor", "1.2345 times"),
    }
    for c, (kind, words) in cases.items():
        report = diagnosed(lambda x, k: (k * x**2, (k, x)), lambda g, cache, c=c: c * 2 * g * cache[0] * cache[1], X, k=0.7)
        assert kinds(report) == [kind] and words in report.text(), (c, str(report))


@pytest.mark.parametrize(("share", "words"), [(0, "is missing"), (2, "is there twice"), (0.5, "half as large")])
def test_regularisation_against_the_losses_own_term(share, words):
    def loss(w, X, reg=0.3):
        return (X @ w).sum() ** 2 + reg * (w * w).sum(), 2 * (X @ w).sum() * X.sum(0) + share * 2 * reg * w

    report = check(loss_problem(loss, (np.arange(1.0, 7), X)), Options())
    assert kinds(report, "w") == ["regularisation"] and words in report.text()


def test_a_term_that_the_loss_does_not_have():
    report = check(loss_problem(lambda w: ((w**3).sum(), 3 * w**2 + 0.2 * w), (np.arange(1.0, 7),)), Options())
    assert kinds(report, "w") == ["regularisation"] and "too much" in report.text()


def test_ties_are_told_from_a_wrong_mask():
    def forward(x):
        return x.max(axis=1), x

    def every(g, x):
        return g[:, None] * (x == x.max(axis=1, keepdims=True))

    tied = np.array([[1.0, 3, 3, 0], [2, 2, 2, 2], [0, 1, 2, 3]])
    assert kinds(diagnosed(forward, every, tied)) == ["ties"]
    assert diagnosed(forward, every, X).ok


@given(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 10**6), st.sampled_from([1e-3, 1.0]))
def test_noise_is_not_explained(number, seed, size):
    """A gradient that is off at random has no diagnosis: nothing is made up."""
    op = OPERATIONS[number]

    def backward(*arguments):
        rng = np.random.default_rng(seed)
        parts = op.backward(*arguments)
        one = not isinstance(parts, tuple)
        noisy = tuple(p + size * np.abs(p).max() * rng.normal(size=p.shape) for p in ((parts,) if one else parts))
        return noisy[0] if one else noisy

    report = check(op.problem(backward), Options(mode="sample", samples=30))
    assert not report.ok
    for found in report.inputs:
        if found.x.size > 3 and found.analytic.any():
            assert found.diagnoses == [], str(report)


def test_a_residual_says_how_well_it_fits():
    """A mistake and a little noise beside it: stated while the noise is a small part of the mismatch, with that part."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=X.shape)

    def off_by(size):
        return diagnosed(lambda x: (x * x, x), lambda g, x: 4 * g * x * (1 + size * noise), X)

    fine, coarse = off_by(1e-5), off_by(1e-1)
    assert kinds(fine) == ["factor"] and 1e-6 < fine["x"].diagnoses[0].residual < 1e-3
    assert kinds(coarse) == []


def test_every_hypothesis_is_asked_once():
    names = [h.__name__ for h in (*EXACT, *LOCAL)]
    assert len(set(names)) == len(names) >= 30 and all(h.__doc__ for h in (*EXACT, *LOCAL))


def softmax_loss(x, y):
    shares = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    rows = np.arange(len(y))
    wrong = shares.copy()
    wrong[:, y] -= 1  # should be [rows, y]
    return -np.log(shares[rows, y]).mean(), wrong / len(y)


def test_outer_classes_of_a_batch_are_no_border():
    """The classes that occur as labels are the first and the last two; only the middle of three rows counts as inside."""
    x = np.random.default_rng(1).normal(size=(7, 5))
    report = check(loss_problem(softmax_loss, (x, np.array([3, 4, 3, 4, 0, 0, 0])), {}), Options())
    assert report["x"].count(Verdict.WRONG) == 14
    assert "border" not in kinds(report)


@pytest.mark.parametrize(
    ("name", "share", "said"), [("p", 0.4, "scale 1 / p is"), ("p", 0.6, "scale 1 / (1 - p) is"), ("keep", 0.4, "1 / keep is")]
)
def test_the_scale_of_dropout_is_written_as_one_would(name, share, said):
    """The share that stays is 0.4, whatever the setting says it is."""

    def forward(x, **settings):
        mask = np.arange(x.size).reshape(x.shape) % 5 < 2
        return x * mask / 0.4, mask

    report = check(forward_backward_problem(forward, lambda g, mask: g * mask, (X,), {name: share}), Options())
    assert kinds(report) == ["dropout-scale"]
    assert said in str(report["x"].diagnoses[0])
