"""Convolution and pooling of lines, in loops; statistics of images; dropout."""

import numpy as np

from gradcheck_corpus.apart_cases import right, with_backward, wrong
from gradcheck_corpus.cases import distinct, normal


class Conv1d:
    def __init__(self, stride=1, pad=0):
        self.stride, self.pad = stride, pad
        self.params = {"K": normal(2, 3, 3, seed=2), "c": normal(2, seed=2)}
        self.grads = {}

    def forward(self, x):
        K, c = self.params["K"], self.params["c"]
        self.x = np.pad(x, ((0, 0), (0, 0), (self.pad, self.pad)))
        length = (self.x.shape[2] - K.shape[2]) // self.stride + 1
        out = np.zeros((len(x), len(K), length))
        for n in range(len(x)):
            for o in range(len(K)):
                for t in range(length):
                    out[n, o, t] = (self.x[n, :, t * self.stride : t * self.stride + K.shape[2]] * K[o]).sum() + c[o]
        return out

    def spread(self, g, start=lambda t, stride: t * stride, add=True):
        K = self.params["K"]
        dx, dK = np.zeros_like(self.x), np.zeros_like(K)
        for n, o, t in np.ndindex(g.shape):
            at = slice(start(t, self.stride), start(t, self.stride) + K.shape[2])
            dx[n, :, at] = g[n, o, t] * K[o] + (dx[n, :, at] if add else 0)
            dK[o] += g[n, o, t] * self.x[n, :, at]
        self.grads = {"K": dK, "c": g.sum((0, 2))}
        return dx

    def backward(self, g):
        dx = self.spread(g)
        return dx[:, :, self.pad : dx.shape[2] - self.pad]


def conv1d_written(self, g):
    dx = self.spread(g, add=False)
    return dx[:, :, self.pad : dx.shape[2] - self.pad]


def conv1d_left(self, g):
    dx = self.spread(g)
    return dx[:, :, : dx.shape[2] - 2 * self.pad]


def conv1d_no_stride(self, g):
    dx = self.spread(g, start=lambda t, stride: t)
    return dx[:, :, self.pad : dx.shape[2] - self.pad]


def conv1d_flipped(self, g):
    dx = Conv1d.backward(self, g)
    self.grads["K"] = self.grads["K"][:, :, ::-1]
    return dx


def conv1d_zero_edge(self, g):
    dx = Conv1d.backward(self, g)
    dx[:, :, 0] = 0
    dx[:, :, -1] = 0
    return dx


LINE = normal(2, 3, 9)
right("conv1d", Conv1d(), LINE)
right("conv1d with stride and padding", Conv1d(2, 1), LINE)
wrong("conv1d: written", with_backward(Conv1d, conv1d_written)(1, 1), LINE, expect={"x": "overwritten"})
wrong("conv1d: padding at one side", with_backward(Conv1d, conv1d_left)(1, 1), LINE, expect={"x": "padding"})
wrong("conv1d: no stride", with_backward(Conv1d, conv1d_no_stride)(2, 0), LINE, expect={"x": "stride", "K": "stride"})
wrong("conv1d: dK turned round", with_backward(Conv1d, conv1d_flipped)(1, 0), LINE, expect={"K": "flipped"})
wrong("conv1d: edges", with_backward(Conv1d, conv1d_zero_edge)(1, 1), LINE, expect={"x": "border"})


class Pool:
    """Maxima over windows of a line, by a saved index."""

    def __init__(self, size=3, stride=1):
        self.size, self.stride = size, stride

    def forward(self, x):
        length = (x.shape[1] - self.size) // self.stride + 1
        windows = np.stack([x[:, t * self.stride : t * self.stride + self.size] for t in range(length)], 1)
        self.at = windows.argmax(2) + self.stride * np.arange(length)
        self.x = x
        return windows.max(2)

    def backward(self, g):
        dx = np.zeros(self.x.shape)
        np.add.at(dx, (np.arange(len(g))[:, None], self.at), g)
        return dx


def pool_fancy(self, g):
    dx = np.zeros(self.x.shape)
    dx[np.arange(len(g))[:, None], self.at] += g
    return dx


def pool_next(self, g):
    self.at = np.minimum(self.at + 1, self.x.shape[1] - 1)
    return Pool.backward(self, g)


def pool_all_ties(self, g):
    dx = np.zeros(self.x.shape)
    for n, t in np.ndindex(g.shape):
        window = slice(t * self.stride, t * self.stride + self.size)
        dx[n, window] += g[n, t] * (self.x[n, window] == self.x[n, window].max())
    return dx


right("pool", Pool(), distinct(3, 8))
wrong("pool: += through an index", with_backward(Pool, pool_fancy)(), distinct(3, 8), expect={"x": "overwritten"})
wrong("pool: one to the right", with_backward(Pool, pool_next)(2, 2), distinct(3, 8), expect={"x": "mask"})
wrong("pool: every tie", with_backward(Pool, pool_all_ties)(2, 2), np.array([[1.0, 1, 0, 2, 3, 3]]), expect={"x": "ties"})


class ChannelNorm:
    """Batch normalisation of images, with the formula in one line."""

    def __init__(self):
        self.params = {"gamma": normal(3) + 2, "beta": normal(3)}
        self.grads = {}

    def forward(self, x):
        mean, self.std = x.mean((0, 2, 3), keepdims=True), np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
        self.z = (x - mean) / self.std
        return self.params["gamma"][:, None, None] * self.z + self.params["beta"][:, None, None]

    def backward(self, g):
        m = g.size // g.shape[1]
        self.grads["gamma"], self.grads["beta"] = (g * self.z).sum((0, 2, 3)), g.sum((0, 2, 3))
        dgamma, dbeta = (self.grads[k][:, None, None] for k in ("gamma", "beta"))
        return self.params["gamma"][:, None, None] / self.std * (g - dbeta / m - self.z * dgamma / m)


def channel_norm(drop_mean=False, drop_var=False, count=None, scale=True):
    def backward(self, g):
        m = count or g.size // g.shape[1]
        self.grads["gamma"], self.grads["beta"] = (g * self.z).sum((0, 2, 3)), g.sum((0, 2, 3))
        dgamma, dbeta = (self.grads[k][:, None, None] for k in ("gamma", "beta"))
        inner = g - (0 if drop_mean else dbeta / m) - (0 if drop_var else self.z * dgamma / m)
        return (self.params["gamma"][:, None, None] if scale else 1) / self.std * inner

    return with_backward(ChannelNorm, backward)


def channel_norm_batch_only(self, g):
    dx = ChannelNorm.backward(self, g)
    self.grads["beta"] = g.sum(0)
    return dx


IMAGES = normal(2, 3, 2, 2)
right("channel norm", ChannelNorm, IMAGES)
wrong("channel norm: constants", channel_norm(True, True), IMAGES, expect={"x": "statistics"})
wrong("channel norm: constant mean", channel_norm(True), IMAGES, expect={"x": "statistics"})
wrong("channel norm: constant variance", channel_norm(drop_var=True), IMAGES, expect={"x": "statistics"})
wrong("channel norm: sums", channel_norm(count=1), IMAGES, expect={"x": "mean"})
wrong("channel norm: no gamma", channel_norm(scale=False), IMAGES, expect={"x": "operand"})
wrong(
    "channel norm: beta over the batch only",
    with_backward(ChannelNorm, channel_norm_batch_only),
    IMAGES,
    expect={"beta": "unsummed"},
)


class Drop:
    def __init__(self, rate=0.4):
        self.rate = rate

    def forward(self, x):
        self.kept = np.random.random(x.shape) >= self.rate
        return np.where(self.kept, x, 0) / (1 - self.rate)

    def backward(self, g):
        return np.where(self.kept, g, 0) / (1 - self.rate)


def drop_redrawn(self, g):
    return np.where(np.random.random(g.shape) >= self.rate, g, 0) / (1 - self.rate)


right("drop", Drop, normal(5, 6))
wrong("drop: unscaled", with_backward(Drop, lambda s, g: g * s.kept), normal(5, 6), expect={"x": "dropout-scale"})
wrong("drop: drawn again", with_backward(Drop, drop_redrawn), normal(5, 6), expect={"x": "mask"})
wrong("drop: the others", with_backward(Drop, lambda s, g: g * ~s.kept / (1 - s.rate)), normal(5, 6), expect={"x": "mask"})
