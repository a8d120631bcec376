"""A whole solution of an assignment, right and then damaged: the network says that it is, the layers say how."""

from pathlib import Path

import numpy as np
import pytest
from gradcheck_corpus import assignment

from minigrad.checks import Options, check, problem_of
from minigrad.checks.plain import loss_problem

SOURCE = Path(assignment.__file__).read_text()
RNG = np.random.default_rng(4)
IMAGES, LABELS = RNG.normal(size=(2, 2, 4, 4)), np.array([0, 3])
POINTS = {
    "affine": (RNG.normal(size=(4, 3, 2)), RNG.normal(size=(6, 5)), RNG.normal(size=5)),
    "relu": (RNG.normal(size=(4, 5)),),
    "conv": (RNG.normal(size=(2, 3, 5, 5)), RNG.normal(size=(2, 3, 3, 3)), RNG.normal(size=2), {"stride": 2, "pad": 1}),
    "max_pool": (RNG.normal(size=(2, 2, 5, 5)), {"pool_height": 3, "pool_width": 3, "stride": 1}),
    "batchnorm": (RNG.normal(size=(6, 4)), RNG.normal(size=4), RNG.normal(size=4), {"mode": "train"}),
    "spatial_batchnorm": (RNG.normal(size=(2, 3, 2, 2)), RNG.normal(size=3), RNG.normal(size=3), {"mode": "train"}),
    "softmax_loss": (RNG.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])),
}
#: What is edited, in which layer it shows, by which input, and the kinds of diagnosis that name it.
DAMAGES = [
    ("db = np.sum(dout, axis=0)", "db = np.mean(dout, axis=0)", "affine", "b", "averaged"),
    ("-1).T.dot(dout)", "-1).T.dot(dout) / len(x)", "affine", "w", "averaged"),
    ("dx = dout * (x > 0)", "dx = dout * (dout > 0)", "relu", "x", "mask"),
    ("dx = dout * (x > 0)", "dx = dout", "relu", "x", "identity"),
    ("ws : ws + WW] += w[f]", "ws : ws + WW] = w[f]", "conv", "x", "overwritten"),
    ("dw[f] += x_pad", "dw[f] = x_pad", "conv", "w", "overwritten"),
    ("db[f] += dout[n, f].sum()", "db[f] = dout[n, f].sum()", "conv", "b", "overwritten"),
    ("dx = dx_pad[:, :, pad:-pad, pad:-pad]", "dx = dx_pad[:, :, : -2 * pad, : -2 * pad]", "conv", "x", "padding"),
    ("j * stride + s] += dout", "j * stride + s] = dout", "max_pool", "x", "overwritten"),
    ("np.argmax(window)", "np.argmin(window)", "max_pool", "x", "mask"),
    (" + dvar * 2 * xmu / N + dmu / N", "", "batchnorm", "x", "statistics"),
    (" + dvar * 2 * xmu / N", "", "spatial_batchnorm", "x", "statistics"),
    ("dgamma = np.sum(dout * xhat, axis=0)", "dgamma = np.sum(dout * xhat, axis=0) / N", "batchnorm", "gamma", "averaged"),
    ("    dx /= N\n", "", "softmax_loss", "x", "mean"),
    ("dx[np.arange(N), y] -= 1", "pass", "softmax_loss", "x", "label"),
    ("grads[name] += self.reg * p[name]", "pass", "net", "W2", "regularisation"),
    ("grads[name] += self.reg * p[name]", "grads[name] += 2 * self.reg * p[name]", "net", "W3", "regularisation"),
]  # fmt: skip


#: What a check of the network alone can't see: the first layer's gradient by the image, windows that don't overlap there.
UNSEEN = {("conv", "x", "overwritten"), ("conv", "x", "padding"), ("max_pool", "x", "overwritten")}


def handed_in(*edit):
    """The submission's names, with an edit in its text."""
    source = SOURCE
    if edit:
        assert source.count(edit[0]) == 1
        source = source.replace(*edit)
    names = {"__name__": "submission"}
    exec(compile(source, "submission.py", "exec"), names)
    return names


def layer(names, which):
    if which == "net":
        return problem_of(names["ConvNet"](), None, (IMAGES, LABELS))
    if which == "softmax_loss":
        return loss_problem(names["softmax_loss"], POINTS[which])
    ending = "_naive" if which in ("conv", "max_pool") else ""
    return problem_of(names[f"{which}_forward{ending}"], names[f"{which}_backward{ending}"], POINTS[which])


def test_the_solution_passes_layer_by_layer_and_as_a_whole():
    names = handed_in()
    for which in POINTS:
        assert check(layer(names, which), Options()).status == "passed", which
    report = check(layer(names, "net"), Options(mode="sample", samples=8))
    assert report.status == "passed", str(report)
    assert [i.name for i in report.inputs] == ["W1", "b1", "gamma", "beta", "W2", "b2", "W3", "b3"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: f"{d[2]}: {d[1].strip() or 'nothing'}")
def test_each_damage_is_named_in_its_layer(damage):
    old, new, which, name, kind = damage
    names = handed_in(old, new)
    whole = check(layer(names, "net"), Options(mode="sample", samples=8, diagnose=which == "net"))
    assert whole.ok == ((which, name, kind) in UNSEEN)
    report = whole if which == "net" else check(layer(names, which), Options())
    assert not report.ok and report[name].diagnoses[0].kind == kind, str(report)
