"""Activations and dropout: derivatives at the wrong place, masks that are not the forward pass's."""

import numpy as np

from gradcheck_corpus.cases import Operation, distinct, normal


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, x):
    return dout * (x > 0)


RELU = Operation("relu", relu_forward, relu_backward, (distinct(4, 5),))
RELU.wrong("(x > 0) -> (dout > 0)", x="mask")
RELU.wrong("(x > 0) -> (x < 0)", x="mask")
RELU.wrong("dout * (x > 0) -> dout", x="identity")
RELU.wrong("dout * (x > 0) -> dout * (x > 0) * (dout > 0)", x="mask")
RELU.wrong("dout * (x > 0) -> x * (x > 0)", x=())  # found by name: it ignores what comes in


def leaky_forward(x, slope=0.1):
    return np.where(x > 0, x, slope * x), (x, slope)


def leaky_backward(dout, cache):
    x, slope = cache
    return dout * np.where(x > 0, 1, slope)


LEAKY = Operation("leaky relu", leaky_forward, leaky_backward, (distinct(4, 5),))
LEAKY.wrong("np.where(x > 0, 1, slope) -> (x > 0)", x="branch")
LEAKY.wrong("np.where(x > 0, 1, slope) -> np.where(x > 0, 1, -slope)", x="branch")


def elu_forward(x):
    out = np.where(x > 0, x, np.exp(x) - 1)
    return out, (x, out)


def elu_backward(dout, cache):
    x, out = cache
    return dout * np.where(x > 0, 1, out + 1)


ELU = Operation("elu", elu_forward, elu_backward, (distinct(4, 5),))
ELU.wrong("out + 1 -> out", x="branch")
ELU.wrong("out + 1 -> np.exp(out)", x="activation")


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, (x, y)


def sigmoid_backward(dout, cache):
    x, y = cache
    return dout * y * (1 - y)


SIGMOID = Operation("sigmoid", sigmoid_forward, sigmoid_backward, (normal(3, 5),))
SIGMOID.wrong("y * (1 - y) -> x * (1 - x)", x="activation")
SIGMOID.wrong("y * (1 - y) -> y", x="activation")
SIGMOID.wrong("x, y = cache -> y = 1 / (1 + np.exp(-cache[1]))", x="activation")
SIGMOID.wrong("dout * y * (1 - y) -> dout", x="identity")
SIGMOID.wrong("(1 - y) -> (y - 1)", x="sign")


def tanh_forward(x):
    y = np.tanh(x)
    return y, (x, y)


def tanh_backward(dout, cache):
    x, y = cache
    return dout * (1 - y**2)


TANH = Operation("tanh", tanh_forward, tanh_backward, (normal(3, 5),))
TANH.wrong("(1 - y**2) -> (1 - y)", x="activation")
TANH.wrong("(1 - y**2) -> (1 - x**2)", x="activation")
TANH.wrong("(1 - y**2) -> (1 - np.tanh(y) ** 2)", x="activation")


def dropout_forward(x, p=0.3):
    mask = (np.random.rand(*x.shape) < 1 - p) / (1 - p)
    return x * mask, (mask, p)


def dropout_backward(dout, cache):
    mask, p = cache
    return dout * mask


DROPOUT = Operation("dropout", dropout_forward, dropout_backward, (normal(5, 6),))
DROPOUT.wrong("dout * mask -> dout * (mask > 0)", x="dropout-scale")
DROPOUT.wrong("dout * mask -> dout * mask / (1 - p)", x="dropout-scale")
DROPOUT.wrong("dout * mask -> dout", x="identity")
DROPOUT.wrong("dout * mask -> dout * (np.random.rand(*mask.shape) < 1 - p) / (1 - p)", x="mask")
DROPOUT.wrong("dout * mask -> dout * (mask == 0) / (1 - p)", x="mask")


def affine_relu_forward(x, w, b):
    a = x @ w + b
    return np.maximum(a, 0), (x, w, b, a)


def affine_relu_backward(dout, cache):
    x, w, b, a = cache
    da = dout * (a > 0)
    return da @ w.T, x.T @ da, da.sum(axis=0)


AFFINE_RELU = Operation("affine relu", affine_relu_forward, affine_relu_backward, (normal(4, 3), normal(3, 6), normal(6)))
AFFINE_RELU.wrong("(a > 0) -> (x @ w > 0)", x="bias", w="bias")
AFFINE_RELU.wrong("da.sum(axis=0) -> dout.sum(axis=0)", b=("identity", "mask"))


def affine_sigmoid_forward(x, w, b):
    y = 1 / (1 + np.exp(-(x @ w + b)))
    return y, (x, w, b, y)


def affine_sigmoid_backward(dout, cache):
    x, w, b, y = cache
    da = dout * y * (1 - y)
    return da @ w.T, x.T @ da, da.sum(axis=0)


AFFINE_SIGMOID = Operation(
    "affine sigmoid", affine_sigmoid_forward, affine_sigmoid_backward, (normal(4, 3), normal(3, 6), normal(6))
)
AFFINE_SIGMOID.wrong("x, w, b, y = cache -> x, w, b, _ = cache; y = 1 / (1 + np.exp(-(x @ w)))", x="bias", w="bias")
AFFINE_SIGMOID.wrong("dout * y * (1 - y) -> dout * y", x="activation", w="activation", b="activation")
AFFINE_SIGMOID.wrong("dout * y * (1 - y) -> dout", x="identity", w="identity", b="identity")

OPERATIONS = [RELU, LEAKY, ELU, SIGMOID, TANH, DROPOUT, AFFINE_RELU, AFFINE_SIGMOID]
