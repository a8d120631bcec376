"""A right solution of every ready check, written the way students write: loops, caches, a dict of settings."""

import numpy as np


def affine_forward(x, w, b):
    return x.reshape(x.shape[0], -1).dot(w) + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(x.shape[0], -1).T.dot(dout), dout.sum(axis=0)


def relu_forward(x):
    return x * (x > 0), x


def relu_backward(dout, cache):
    return np.where(cache > 0, dout, 0)


def conv_forward_naive(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    n, _, h, wide = x.shape
    f, _, hh, ww = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, f, 1 + (h + 2 * pad - hh) // stride, 1 + (wide + 2 * pad - ww) // stride))
    for k in range(f):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                window = padded[:, :, i * stride : i * stride + hh, j * stride : j * stride + ww]
                out[:, k, i, j] = (window * w[k]).sum(axis=(1, 2, 3)) + b[k]
    return out, (padded, w, conv_param)


def conv_backward_naive(dout, cache):
    padded, w, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    f, _, hh, ww = w.shape
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for k in range(f):
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                rows, columns = slice(i * stride, i * stride + hh), slice(j * stride, j * stride + ww)
                g = dout[:, k, i, j][:, None, None, None]
                dw[k] += (g * padded[:, :, rows, columns]).sum(axis=0)
                dpadded[:, :, rows, columns] += g * w[k]
    return dpadded[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


conv_forward_fast, conv_backward_fast = conv_forward_naive, conv_backward_naive


def max_pool_forward_naive(x, pool_param):
    h, w, s = (pool_param[key] for key in ("pool_height", "pool_width", "stride"))
    out = np.zeros((*x.shape[:2], (x.shape[2] - h) // s + 1, (x.shape[3] - w) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i * s : i * s + h, j * s : j * s + w].max(axis=(2, 3))
    return out, (x, out, h, w, s)


def max_pool_backward_naive(dout, cache):
    x, out, h, w, s = cache
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * s, i * s + h), slice(j * s, j * s + w)
            dx[:, :, rows, columns] += (x[:, :, rows, columns] == out[:, :, i : i + 1, j : j + 1]) * dout[
                :, :, i : i + 1, j : j + 1
            ]
    return dx


max_pool_forward_fast, max_pool_backward_fast = max_pool_forward_naive, max_pool_backward_naive


def batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(axis=0), x.var(axis=0)
    scale = 1 / np.sqrt(var + bn_param.get("eps", 1e-5))
    normal = (x - mean) * scale
    bn_param["running_mean"] = 0.1 * mean
    return gamma * normal + beta, (normal, gamma, scale)


def batchnorm_backward(dout, cache):
    normal, gamma, scale = cache
    g = dout * gamma
    dx = scale * (g - g.mean(axis=0) - normal * (g * normal).mean(axis=0))
    return dx, (dout * normal).sum(axis=0), dout.sum(axis=0)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    n, c, h, w = x.shape
    out, cache = batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, c), gamma, beta, bn_param)
    return out.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache


def spatial_batchnorm_backward(dout, cache):
    n, c, h, w = dout.shape
    dx, dgamma, dbeta = batchnorm_backward(dout.transpose(0, 2, 3, 1).reshape(-1, c), cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    scale = 1 / np.sqrt(x.var(axis=1, keepdims=True) + ln_param.get("eps", 1e-5))
    normal = (x - x.mean(axis=1, keepdims=True)) * scale
    return gamma * normal + beta, (normal, gamma, scale)


def layernorm_backward(dout, cache):
    normal, gamma, scale = cache
    g = dout * gamma
    dx = scale * (g - g.mean(axis=1, keepdims=True) - normal * (g * normal).mean(axis=1, keepdims=True))
    return dx, (dout * normal).sum(axis=0), dout.sum(axis=0)


def dropout_forward(x, dropout_param):
    np.random.seed(dropout_param["seed"])  # noqa: NPY002 - as students do
    mask = (np.random.rand(*x.shape) < dropout_param["p"]) / dropout_param["p"]  # noqa: NPY002
    return x * mask, mask


def dropout_backward(dout, cache):
    return dout * cache


def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(x)


def svm_loss(x, y):
    rows = np.arange(len(x))
    margins = np.maximum(0, x - x[rows, y][:, None] + 1)
    margins[rows, y] = 0
    dx = (margins > 0).astype(float)
    dx[rows, y] -= dx.sum(axis=1)
    return margins.sum() / len(x), dx / len(x)


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    return h, (x, prev_h, Wx, Wh, h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, h = cache
    da = dnext_h * (1 - h**2)
    return da.dot(Wx.T), da.dot(Wh.T), x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    size = prev_h.shape[1]
    i, f, o = (1 / (1 + np.exp(-a[:, k * size : (k + 1) * size])) for k in range(3))
    g = np.tanh(a[:, 3 * size :])
    c = f * prev_c + i * g
    return o * np.tanh(c), c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, c = cache
    dc = dnext_c + dnext_h * o * (1 - np.tanh(c) ** 2)
    do = dnext_h * np.tanh(c)
    gates = [dc * g * i * (1 - i), dc * prev_c * f * (1 - f), do * o * (1 - o), dc * i * (1 - g**2)]
    da = np.concatenate(gates, axis=1)
    return da.dot(Wx.T), da.dot(Wh.T), dc * f, x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)
