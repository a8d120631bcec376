"""Convolution and pooling in loops: what is added up, where the padding is, which place a maximum came from."""

import numpy as np

from gradcheck_corpus.cases import Operation, distinct, normal


def conv_forward(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    (N, C, H, W), (F, _, R, S) = x.shape, w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    P, Q = (H + 2 * pad - R) // stride + 1, (W + 2 * pad - S) // stride + 1
    out = np.zeros((N, F, P, Q), dtype=x.dtype)
    for i in range(P):
        for j in range(Q):
            window = xp[:, :, i * stride : i * stride + R, j * stride : j * stride + S]
            out[:, :, i, j] = np.einsum("ncrs,fcrs->nf", window, w) + b
    return out, (x, w, b, conv_param)


def conv_backward(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    (N, C, H, W), (F, _, R, S) = x.shape, w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            top, left = i * stride, j * stride
            g = dout[:, :, i, j]
            dxp[:, :, top : top + R, left : left + S] += np.einsum("nf,fcrs->ncrs", g, w)
            dw += np.einsum("nf,ncrs->fcrs", g, xp[:, :, top : top + R, left : left + S])
    dx = dxp[:, :, pad : pad + H, pad : pad + W]
    db = dout.sum(axis=(0, 2, 3))
    return dx, dw, db


CONV = Operation(
    "conv",
    conv_forward,
    conv_backward,
    (normal(3, 2, 4, 5), normal(2, 2, 3, 3), normal(2), {"stride": 1, "pad": 1}),
)
CONV.wrong("left : left + S] += -> left : left + S] =", x="overwritten")
CONV.wrong("dw += -> dw =", w="overwritten")
CONV.wrong("pad : pad + H, pad : pad + W] -> :H, :W]", x="padding")
CONV.wrong("db = dout.sum(axis=(0, 2, 3)) -> db = dout.sum(axis=(2, 3))", b="unsummed")
CONV.wrong("db = dout.sum(axis=(0, 2, 3)) -> db = dout.sum(axis=0)", b="unsummed")
CONV.wrong("db = dout.sum(axis=(0, 2, 3)) -> db = dout[0].sum(axis=(1, 2))", b="unsummed")
CONV.wrong('"nf,fcrs->ncrs", g, w) -> "nf,fcrs->ncrs", g, w[:, :, ::-1, ::-1])', x="flipped")
CONV.wrong("return dx, dw, db -> return dx, dw[:, :, ::-1, ::-1], db", w="flipped")
CONV.wrong("return dx, dw, db -> return dx, dw.transpose(0, 1, 3, 2), db", w="transposed")
CONV.wrong("return dx, dw, db -> return dx, dw / N, db", w=("averaged", "factor"))
CONV.wrong("db = dout.sum(axis=(0, 2, 3)) -> db = np.zeros(F)", b="bias")
CONV.wrong("return dx, dw, db -> dx[:, :, 0] = dx[:, :, -1] = 0; return dx, dw, db", x="border")
CONV.wrong("range(dout.shape[2]) -> range(pad, dout.shape[2] - pad)", x="border", w=())

STRIDED = Operation(
    "conv with a stride",
    conv_forward,
    conv_backward,
    (normal(2, 2, 7, 7), normal(3, 2, 3, 3), normal(3), {"stride": 2, "pad": 1}),
)
STRIDED.wrong("top, left = i * stride, j * stride -> top, left = i, j", x="stride", w="stride")
STRIDED.wrong("left : left + S] += -> left : left + S] =", x="overwritten")


def max_pool_forward(x, pool_param):
    size, stride = pool_param["size"], pool_param["stride"]
    N, C, H, W = x.shape
    P, Q = (H - size) // stride + 1, (W - size) // stride + 1
    out = np.zeros((N, C, P, Q))
    for i in range(P):
        for j in range(Q):
            out[:, :, i, j] = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size].max(axis=(2, 3))
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    size, stride = pool_param["size"], pool_param["stride"]
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        top, left = i * stride, j * stride
        window = x[n, c, top : top + size, left : left + size]
        mask = np.zeros_like(window)
        mask[np.unravel_index(window.argmax(), window.shape)] = 1
        dx[n, c, top : top + size, left : left + size] += mask * dout[n, c, i, j]
    return dx


MAX_POOL = Operation(
    "max pool with overlap", max_pool_forward, max_pool_backward, (distinct(2, 2, 5, 5), {"size": 3, "stride": 2})
)
MAX_POOL.wrong("left : left + size] += -> left : left + size] =", x="overwritten")
MAX_POOL.wrong("window.argmax() -> window.argmin()", x="mask")
MAX_POOL.wrong("window.argmax() -> 0", x="mask")
MAX_POOL.wrong("top, left = i * stride, j * stride -> top, left = i, j", x="stride")
MAX_POOL.wrong(
    "mask = np.zeros_like(window) -> mask = np.full_like(window, 1 / window.size)", "= 1\n -> = 1 / window.size\n", x="mask"
)
MAX_POOL.wrong("mask = np.zeros_like(window) -> mask = np.ones_like(window)", x="mask")

TIED = Operation(
    "max pool with ties",
    max_pool_forward,
    max_pool_backward,
    (np.array([[[[1.0, 1, 2, 0], [0, 1, 2, 2], [5, 4, 3, 3], [4, 1, 0, 1]]]]), {"size": 2, "stride": 2}),
)
TIED.wrong("mask[np.unravel_index(window.argmax(), window.shape)] = 1 -> mask = window == window.max()", x="ties")


def mean_pool_forward(x, pool_param):
    size, stride = pool_param["size"], pool_param["stride"]
    N, C, H, W = x.shape
    P, Q = (H - size) // stride + 1, (W - size) // stride + 1
    out = np.zeros((N, C, P, Q))
    for i in range(P):
        for j in range(Q):
            out[:, :, i, j] = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size].mean(axis=(2, 3))
    return out, (x, pool_param)


def mean_pool_backward(dout, cache):
    x, pool_param = cache
    size, stride = pool_param["size"], pool_param["stride"]
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
            dx[:, :, rows, columns] += dout[:, :, i, j, None, None] / size**2
    return dx


MEAN_POOL = Operation(
    "mean pool with overlap", mean_pool_forward, mean_pool_backward, (normal(2, 2, 7, 7), {"size": 3, "stride": 2})
)
MEAN_POOL.wrong(" / size**2 -> ", x="mean")
MEAN_POOL.wrong("columns] += -> columns] =", x="overwritten")
MEAN_POOL.wrong(" / size**2 ->  / size", x=("mean", "factor"))

OPERATIONS = [CONV, STRIDED, MAX_POOL, TIED, MEAN_POOL]
