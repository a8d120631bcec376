"""Softmax and normalisation: what is summed along which axis, what depends on what."""

import numpy as np

from gradcheck_corpus.cases import Operation, normal


def softmax_forward(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p, p


def softmax_backward(dout, p):
    return p * (dout - (dout * p).sum(axis=1, keepdims=True))


SOFTMAX = Operation("softmax", softmax_forward, softmax_backward, (normal(4, 5),))
SOFTMAX.wrong("axis=1 -> axis=0", x="softmax")
SOFTMAX.wrong("p * (dout - (dout * p).sum(axis=1, keepdims=True)) -> dout * p * (1 - p)", x="diagonal")
SOFTMAX.wrong("p * (dout - (dout * p).sum(axis=1, keepdims=True)) -> np.zeros_like(p)", x="zero")
SOFTMAX.wrong("p * (dout - (dout * p).sum(axis=1, keepdims=True)) -> dout * p", x="diagonal")


def log_softmax_forward(x):
    shifted = x - x.max(axis=1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return y, y


def log_softmax_backward(dout, y):
    return dout - np.exp(y) * dout.sum(axis=1, keepdims=True)


LOG_SOFTMAX = Operation("log-softmax", log_softmax_forward, log_softmax_backward, (normal(4, 5),))
LOG_SOFTMAX.wrong("axis=1 -> axis=0", x="softmax")
LOG_SOFTMAX.wrong("np.exp(y) * dout.sum(axis=1, keepdims=True) -> np.exp(y) * dout", x="diagonal")


def batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + bn_param["eps"])
    normed = (x - mean) / std
    return gamma * normed + beta, (normed, gamma, std)


def batchnorm_backward(dout, cache):
    normed, gamma, std = cache
    N = len(dout)
    dbeta = dout.sum(axis=0)
    dgamma = (dout * normed).sum(axis=0)
    g = dout * gamma
    through_mean = g.sum(axis=0) / N
    through_var = normed * (g * normed).sum(axis=0) / N
    dx = (g - through_mean - through_var) / std
    return dx, dgamma, dbeta


BATCHNORM = Operation(
    "batch norm", batchnorm_forward, batchnorm_backward, (normal(6, 4), normal(4) + 2, normal(4, seed=1), {"eps": 1e-5})
)
BATCHNORM.wrong("(g - through_mean - through_var) -> g", x="statistics")
BATCHNORM.wrong("(g - through_mean - through_var) -> (g - through_mean)", x="statistics")
BATCHNORM.wrong("(g - through_mean - through_var) -> (g - through_var)", x="statistics")
BATCHNORM.wrong("N = len(dout) -> N = 1", x="mean")
BATCHNORM.wrong("g = dout * gamma -> g = dout", x="operand")
BATCHNORM.wrong("dgamma = (dout * normed).sum(axis=0) -> dgamma = dout.sum(axis=0)", gamma=("swapped", "operand"))
BATCHNORM.wrong("dgamma = (dout * normed).sum(axis=0) -> dgamma = (dout * normed).mean(axis=0)", gamma="averaged")
BATCHNORM.wrong("dbeta = dout.sum(axis=0) -> dbeta = dout.sum(axis=1)[:4]", beta=())
BATCHNORM.wrong(" / std -> ", x="operand")


def layernorm_forward(x, gamma, beta, eps=1e-5):
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    std = np.sqrt(var + eps)
    normed = (x - mean) / std
    return gamma * normed + beta, (normed, gamma, std)


def layernorm_backward(dout, cache):
    normed, gamma, std = cache
    g = dout * gamma
    dx = (g - g.mean(axis=1, keepdims=True) - normed * (g * normed).mean(axis=1, keepdims=True)) / std
    return dx, (dout * normed).sum(axis=0), dout.sum(axis=0)


LAYERNORM = Operation("layer norm", layernorm_forward, layernorm_backward, (normal(4, 6), normal(6) + 2, normal(6, seed=1)))
LAYERNORM.wrong(" - g.mean(axis=1, keepdims=True) -> ", x="statistics")
LAYERNORM.wrong("dout.sum(axis=0) -> dout.mean(axis=0)", beta="averaged")
LAYERNORM.wrong("g = dout * gamma -> g = dout", x="operand")
LAYERNORM.wrong("dx = (g - g.mean(axis=1, -> dx = (g - g.mean(axis=0,", x=("softmax", "statistics"))

OPERATIONS = [SOFTMAX, LOG_SOFTMAX, BATCHNORM, LAYERNORM]
