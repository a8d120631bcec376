"""Losses in loops, a whole sequence, gates."""

import numpy as np

from gradcheck_corpus.apart_cases import right, with_backward, wrong
from gradcheck_corpus.cases import normal


def logistic(w, X, t, weight_decay=0.1, bug=""):
    """Labels are -1 and 1; loops over the data."""
    loss, grad = 0.0, np.zeros_like(w)
    for x, label in zip(X, t, strict=True):
        m = label * (x @ w)
        loss += np.log1p(np.exp(-m))
        part = -label * x / (1 + np.exp(m))
        grad = part if bug == "last" else grad + part
    grad = grad if bug == "sum" else grad / len(X)
    decay = {"none": 0, "half": 0.5, "twice": 2}.get(bug, 1)
    grad = grad + decay * weight_decay * w
    return loss / len(X) + 0.5 * weight_decay * (w @ w), -grad if bug == "sign" else grad


DATA = (normal(5, seed=1), normal(8, 5, seed=1), np.array([1, -1, 1, 1, -1, -1, 1, -1]))
right("logistic", logistic, *DATA, is_loss=True)
for bug, kind in (
    ("none", "regularisation"),
    ("half", "regularisation"),
    ("twice", "regularisation"),
    ("sum", "mean"),
    ("sign", "sign"),
):
    wrong(f"logistic: {bug}", logistic, *DATA, is_loss=True, bug=bug, expect={"w": kind})


def squared(params, X, Y, bug=""):
    """Two layers and a tanh, gradients in a dict."""
    h = np.tanh(X @ params["W1"] + params["b1"])
    r = h @ params["W2"] + params["b2"] - Y
    dr = 2 * r / len(X) if bug != "two" else r / len(X)
    dh = dr @ params["W2"].T
    da = dh if bug == "identity" else dh * (1 - h) if bug == "1 - h" else dh * (1 - h**2)
    db2 = {"bias": np.zeros(2), "mean": dr.mean(0), "row": dr[0]}.get(bug, dr.sum(0))
    grads = {"W1": X.T @ da, "b1": da.sum(0), "W2": h.T @ dr, "b2": db2}
    if bug == "missing":
        del grads["b1"]
    return (r**2).sum() / len(X), grads


NET = ({"W1": normal(4, 3), "b1": normal(3), "W2": normal(3, 2), "b2": normal(2)}, normal(6, 4), normal(6, 2))
right("squared", squared, *NET, is_loss=True)
wrong("squared: two", squared, *NET, is_loss=True, bug="two", expect={"W1": "factor", "b2": "factor"})
wrong("squared: no bias", squared, *NET, is_loss=True, bug="bias", expect={"b2": "bias"})
wrong("squared: bias averaged", squared, *NET, is_loss=True, bug="mean", expect={"b2": "averaged"})
wrong("squared: bias missing", squared, *NET, is_loss=True, bug="missing", expect={"b1": "bias"})


def nll(logits, target, bug=""):
    """Cross-entropy over a sequence of classes."""
    z = logits - logits.max(-1, keepdims=True)
    q = np.exp(z) / np.exp(z).sum(0 if bug == "axis" else -1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    onehot = np.eye(logits.shape[1])[target]
    grad = q - onehot if bug != "label" else q
    return -np.log((p * onehot).sum(-1)).mean(), grad if bug == "sum" else grad / len(target)


SCORES = (normal(7, 4), np.array([0, 3, 1, 1, 2, 0, 3]))
right("nll", nll, *SCORES, is_loss=True)
wrong("nll: axis", nll, *SCORES, is_loss=True, bug="axis", expect={"logits": "softmax"})
wrong("nll: label", nll, *SCORES, is_loss=True, bug="label", expect={"logits": "label"})
wrong("nll: sum", nll, *SCORES, is_loss=True, bug="sum", expect={"logits": "mean"})


class Recurrent:
    """A whole sequence, the hidden state of every step as output."""

    def __init__(self):
        self.params = {"W": normal(3, 4, scale=0.5), "U": normal(4, 4, scale=0.5), "b": normal(4)}
        self.grads = {}

    def forward(self, x):
        self.x, h, self.h = x, np.zeros((len(x), 4)), []
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ self.params["W"] + h @ self.params["U"] + self.params["b"])
            self.h.append(h)
        return np.stack(self.h, 1)

    def backward(self, g, add=True, carry=True, slope=lambda h: 1 - h**2):
        self.grads = {k: np.zeros_like(v) for k, v in self.params.items()}
        dx, dh = np.zeros_like(self.x), np.zeros_like(self.h[0])
        for t in reversed(range(g.shape[1])):
            da = (g[:, t] + (dh if carry else 0)) * slope(self.h[t])
            before = self.h[t - 1] if t else np.zeros_like(da)
            for key, part in (("W", self.x[:, t].T @ da), ("U", before.T @ da), ("b", da.sum(0))):
                self.grads[key] = part + (self.grads[key] if add else 0)
            dx[:, t], dh = da @ self.params["W"].T, da @ self.params["U"].T
        return dx


SEQUENCE = normal(2, 5, 3)
right("recurrent", Recurrent, SEQUENCE)
wrong(
    "recurrent: written",
    with_backward(Recurrent, lambda s, g: Recurrent.backward(s, g, add=False)),
    SEQUENCE,
    expect={"W": "overwritten", "b": "overwritten"},
)
wrong(
    "recurrent: nothing from later",
    with_backward(Recurrent, lambda s, g: Recurrent.backward(s, g, carry=False)),
    SEQUENCE,
    expect={"x": "carry"},
)


class Concat:
    @staticmethod
    def forward(ctx, a, b):
        ctx.split = a.shape[1]
        return np.concatenate([a, b], 1)

    @staticmethod
    def backward(ctx, g):
        return g[:, : ctx.split], g[:, ctx.split :]


AB = (normal(3, 4), normal(3, 4, seed=1))
right("concat", Concat, *AB)
wrong(
    "concat: swapped",
    with_backward(Concat, lambda c, g: (g[:, c.split :], g[:, : c.split])),
    *AB,
    expect={"a": "swapped", "b": "swapped"},
)


class Gate:
    """x times its own sigmoid gate plus x: three uses of one input."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        ctx.s = 1 / (1 + np.exp(-x * w))
        return x * ctx.s + x

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        inner = g * x * ctx.s * (1 - ctx.s)
        return g * ctx.s + inner * w + g, (inner * x).sum(0)


GATE = (normal(5, 3), normal(3))
right("gate", Gate, *GATE)
wrong(
    "gate: a path",
    with_backward(Gate, lambda c, g: (Gate.backward(c, g)[0] - g, Gate.backward(c, g)[1])),
    *GATE,
    expect={"x": "overwritten"},
)
wrong(
    "gate: not summed",
    with_backward(Gate, lambda c, g: (Gate.backward(c, g)[0], Gate.backward(c, g)[1] / 5)),
    *GATE,
    expect={"w": "averaged"},
)
wrong("gate: None", with_backward(Gate, lambda c, g: (Gate.backward(c, g)[0], None)), *GATE, expect={"w": "zero"})
