"""A dense layer, and `Function` classes: activations, products, attention."""

import numpy as np

from gradcheck_corpus.apart_cases import right, with_backward, wrong
from gradcheck_corpus.cases import distinct, normal


class Dense:
    def __init__(self):
        self.W, self.b = normal(5, 4, seed=9), normal(4, seed=9)

    def forward(self, x):
        self.x = x
        return np.einsum("ni,io->no", x, self.W) + self.b

    def backward(self, grad):
        self.dW = np.einsum("ni,no->io", self.x, grad)
        self.db = np.einsum("no->o", grad)
        return np.einsum("no,io->ni", grad, self.W)


def dense_mean(self, grad):
    self.dW = np.einsum("ni,no->io", self.x, grad) / self.x.shape[0]
    self.db = np.einsum("no->o", grad) / self.x.shape[0]
    return np.einsum("no,io->ni", grad, self.W)


def dense_last_row(self, grad):
    self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
    for x, g in zip(self.x, grad, strict=True):
        self.dW[:] = np.outer(x, g)
        self.db[:] = g
    return grad @ self.W.T


def dense_no_bias(self, grad):
    self.dW, self.db = self.x.T @ grad, 0 * self.b
    return grad @ self.W.T


def dense_negative(self, grad):
    self.dW, self.db = self.x.T @ -grad, grad.sum(0)
    return grad @ self.W.T


X = normal(7, 5, seed=3)
right("dense", Dense, X)
wrong("dense: mean over the batch", with_backward(Dense, dense_mean), X, expect={"W": "averaged", "b": "averaged"})
wrong("dense: the last row only", with_backward(Dense, dense_last_row), X, expect={"W": "overwritten", "b": "overwritten"})
wrong("dense: no bias", with_backward(Dense, dense_no_bias), X, expect={"b": "bias"})
wrong("dense: a sign", with_backward(Dense, dense_negative), X, expect={"W": "sign"})


class Bilinear:
    @staticmethod
    def forward(ctx, a, M, b):
        ctx.save_for_backward(a, M, b)
        return np.einsum("ni,ij,nj->n", a, M, b)

    @staticmethod
    def backward(ctx, g):
        a, M, b = ctx.saved_tensors
        return (g[:, None] * (b @ M.T), np.einsum("n,ni,nj->ij", g, a, b), g[:, None] * (a @ M))


def bilinear_untransposed(ctx, g):
    a, M, b = ctx.saved_tensors
    return g[:, None] * (b @ M), np.einsum("n,ni,nj->ij", g, a, b), g[:, None] * (a @ M)


def bilinear_flipped_outer(ctx, g):
    a, M, b = ctx.saved_tensors
    return g[:, None] * (b @ M.T), np.einsum("n,ni,nj->ji", g, a, b), g[:, None] * (a @ M)


def bilinear_swapped(ctx, g):
    a, M, b = ctx.saved_tensors
    return g[:, None] * (a @ M), np.einsum("n,ni,nj->ij", g, a, b), g[:, None] * (b @ M.T)


ABM = (normal(6, 3), normal(3, 3, seed=4), normal(6, 3, seed=5))
right("bilinear", Bilinear, *ABM)
wrong("bilinear: M, not its transpose", with_backward(Bilinear, bilinear_untransposed), *ABM, expect={"a": "transposed"})
wrong("bilinear: dM transposed", with_backward(Bilinear, bilinear_flipped_outer), *ABM, expect={"M": "transposed"})
wrong("bilinear: swapped", with_backward(Bilinear, bilinear_swapped), *ABM, expect={"a": "swapped", "b": "swapped"})


class Softplus:
    @staticmethod
    def forward(ctx, x):
        ctx.x, ctx.y = x, np.log1p(np.exp(x))
        return ctx.y

    @staticmethod
    def backward(ctx, g):
        return g / (1 + np.exp(-ctx.x))


right("softplus", Softplus, normal(4, 6))
wrong(
    "softplus: at the output",
    with_backward(Softplus, lambda c, g: g / (1 + np.exp(-c.y))),
    normal(4, 6),
    expect={"x": "activation"},
)
wrong("softplus: passed on", with_backward(Softplus, lambda c, g: g), normal(4, 6), expect={"x": "identity"})


class Swish:
    @staticmethod
    def forward(ctx, x):
        ctx.x, ctx.s = x, 1 / (1 + np.exp(-x))
        return x * ctx.s

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.s + ctx.x * ctx.s * (1 - ctx.s))


right("swish", Swish, normal(4, 6))
wrong(
    "swish: at the output",
    with_backward(Swish, lambda c, g: Swish.backward(_moved(c), g)),
    normal(4, 6),
    expect={"x": "activation"},
)


def _moved(c):
    y = c.x * c.s
    c.x, c.s = y, 1 / (1 + np.exp(-y))
    return c


class PReLU:
    @staticmethod
    def forward(ctx, x, a):
        ctx.save_for_backward(x, a)
        return np.where(x > 0, x, a * x)

    @staticmethod
    def backward(ctx, g):
        x, a = ctx.saved_tensors
        return g * np.where(x > 0, 1, a), (g * x * (x <= 0)).sum(0)


PRELU = (distinct(5, 4), np.array([0.1, 0.2, 0.3, 0.4]))
right("prelu", PReLU, *PRELU)
wrong(
    "prelu: relu's",
    with_backward(PReLU, lambda c, g: (g * (c.saved_tensors[0] > 0), PReLU.backward(c, g)[1])),
    *PRELU,
    expect={"x": "branch"},
)
wrong(
    "prelu: not summed",
    with_backward(PReLU, lambda c, g: (PReLU.backward(c, g)[0], g * c.saved_tensors[0] * (c.saved_tensors[0] <= 0))),
    *PRELU,
    expect={"a": "unsummed"},
)
wrong(
    "prelu: the whole sum",
    with_backward(PReLU, lambda c, g: (PReLU.backward(c, g)[0], np.full(4, PReLU.backward(c, g)[1].sum()))),
    *PRELU,
    expect={"a": "summed"},
)


class Normalise:
    """Each row to length 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.n = np.sqrt((x * x).sum(1, keepdims=True))
        ctx.y = x / ctx.n
        return ctx.y

    @staticmethod
    def backward(ctx, g):
        return (g - ctx.y * (g * ctx.y).sum(1, keepdims=True)) / ctx.n


right("rows of length 1", Normalise, normal(4, 5))
wrong(
    "rows of length 1: the norm held constant",
    with_backward(Normalise, lambda c, g: g / c.n),
    normal(4, 5),
    expect={"x": ("statistics", "diagonal")},
)
wrong(
    "rows of length 1: the wrong axis",
    with_backward(Normalise, lambda c, g: (g - c.y * (g * c.y).sum(0)) / c.n),
    normal(4, 5),
    expect={"x": ("softmax", "statistics")},
)


class Attention:
    """One head over one sequence."""

    @staticmethod
    def forward(ctx, q, k, v):
        ctx.scale = 1 / np.sqrt(q.shape[1])
        e = np.exp(q @ k.T * ctx.scale)
        ctx.p = e / e.sum(1, keepdims=True)
        ctx.save_for_backward(q, k, v)
        return ctx.p @ v

    @staticmethod
    def backward(ctx, g):
        q, k, v = ctx.saved_tensors
        dp = g @ v.T
        ds = ctx.p * (dp - (dp * ctx.p).sum(1, keepdims=True)) * ctx.scale
        return ds @ k, ds.T @ q, ctx.p.T @ g


def attention_no_scale(ctx, g):
    dq, dk, dv = Attention.backward(ctx, g)
    return dq / ctx.scale, dk / ctx.scale, dv


def attention_untransposed(ctx, g):
    dq, dk, _ = Attention.backward(ctx, g)
    return dq, dk, ctx.p @ g


QKV = (normal(5, 3), normal(5, 3, seed=7), normal(5, 3, seed=8))
right("attention", Attention, *QKV)
wrong("attention: no scale", with_backward(Attention, attention_no_scale), *QKV, expect={"q": "factor", "k": "factor"})
wrong("attention: p, not its transpose", with_backward(Attention, attention_untransposed), *QKV, expect={"v": "transposed"})
wrong(
    "attention: swapped",
    with_backward(Attention, lambda c, g: Attention.backward(c, g)[::-1]),
    *QKV,
    expect={"q": "swapped", "v": "swapped"},
)
