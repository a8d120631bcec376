"""Right gradients in hard places: kinks, ties, masks, tiny and large values, inputs that nothing depends on."""

import numpy as np

from gradcheck_corpus import activations, basic, losses, normalised, recurrent, windows
from gradcheck_corpus.cases import Operation, distinct, normal

WRITTEN = [op for module in (basic, activations, windows, normalised, losses, recurrent) for op in module.OPERATIONS]


def elementwise(name, f, df, *inputs, **settings):
    """An operation whose backward is its incoming gradient times `df`."""
    return Operation(name, lambda x, **kw: (f(x, **kw), x), lambda dout, x: dout * df(x, **settings), inputs, settings)


def sign_at(at_zero):
    return lambda x: np.where(x == 0, at_zero, np.sign(x))


ZEROS = np.array([[-1.0, 0.0, 2.0], [0.0, 0.0, -0.5]])
KINKS = [
    elementwise("relu at 0, taking 0", lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, ZEROS),
    elementwise("relu at 0, taking 1", lambda x: np.maximum(x, 0), lambda x: (x >= 0) * 1.0, ZEROS),
    elementwise("relu at 0, taking a half", lambda x: np.maximum(x, 0), lambda x: 0.5 * (np.sign(x) + 1), ZEROS),
    elementwise("abs at 0, taking 0", np.abs, np.sign, ZEROS),
    elementwise("abs at 0, taking 1", np.abs, sign_at(1.0), ZEROS),
    elementwise("leaky relu near 0", lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1), ZEROS + 3e-6),
    elementwise("relu within a step of 0", lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, ZEROS - 1e-7),
    elementwise(
        "clip at its ends", lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0, np.array([-1.0, 1.0, 0.3, 2.0])
    ),
    elementwise("hinge at the margin", lambda x: np.maximum(0, 1 - x), lambda x: (x < 1) * -1.0, np.array([1.0, 0.0, 2.0])),
    elementwise("floor, flat almost everywhere", np.floor, np.zeros_like, normal(3, 4)),
]
SIZES = [
    elementwise("square of tiny values", np.square, lambda x: 2 * x, normal(3, 4, scale=1e-8)),
    elementwise("square of large values", np.square, lambda x: 2 * x, normal(3, 4, scale=1e6)),
    elementwise("exp of large values", np.exp, np.exp, normal(3, 4, scale=20)),
    elementwise("log near zero", np.log, lambda x: 1 / x, 1e-6 + np.abs(normal(3, 4, scale=1e-3))),
    elementwise("reciprocal over many sizes", lambda x: 1 / x, lambda x: -1 / x**2, 10.0 ** np.arange(-6, 6)),
    elementwise("square root near zero", np.sqrt, lambda x: 0.5 / np.sqrt(x), np.array([1e-10, 1e-3, 4.0])),
    elementwise(
        "sigmoid, saturated",
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
        np.array([-30.0, 0, 30]),
    ),
    elementwise("tanh, saturated", np.tanh, lambda x: 1 / np.cosh(x) ** 2, np.array([-20.0, -1, 15])),
    elementwise("sine, fast", lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x), normal(3, 4)),
    elementwise("a scalar", np.exp, np.exp, np.array(0.7)),
    elementwise("no elements", np.exp, np.exp, np.zeros((0, 3))),
    elementwise("one element", np.exp, np.exp, np.array([[0.7]])),
    elementwise("a large offset", lambda x: x + 1e8, np.ones_like, normal(3, 4)),
]


def unused_forward(x, w):
    return x**2, (x, w)


def maximum_forward(a, b):
    return np.maximum(a, b), (a, b)


def maximum_shared(dout, cache):
    a, b = cache
    share = np.where(a == b, 0.5, 1.0)
    return dout * share * (a >= b), dout * share * (b >= a)


def row_max_forward(x):
    return x.max(axis=1), x


def row_max_shared(dout, x):
    top = x == x.max(axis=1, keepdims=True)
    return dout[:, None] * top / top.sum(axis=1, keepdims=True)


def row_max_first(dout, x):
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), x.argmax(axis=1)] = dout
    return dx


TIED_ROWS = np.array([[1.0, 3, 3, 0], [2, 2, 2, 2], [0, 1, 2, 3]])


def network_forward(x, W1, b1, W2, b2):
    h = np.maximum(x @ W1 + b1, 0)
    return h @ W2 + b2, (x, h, W1, W2)


def network_backward(dout, cache):
    x, h, W1, W2 = cache
    dh = dout @ W2.T * (h > 0)
    return dh @ W1.T, x.T @ dh, dh.sum(axis=0), h.T @ dout, dout.sum(axis=0)


def named_backward(dout, cache):
    parts = network_backward(dout, cache)
    return dict(zip(("dx", "dW1", "db1", "dW2", "db2"), parts, strict=True))


NETWORK = (normal(4, 3), normal(3, 5), normal(5), normal(5, 2), normal(2))


def sorted_forward(x):
    order = np.argsort(x)
    return x[order], order


def sorted_backward(dout, order):
    dx = np.empty_like(dout)
    dx[order] = dout
    return dx


def noise_forward(x, sigma=0.1):
    noise = sigma * np.random.randn(*x.shape)
    return x * (1 + noise), noise


WHOLE = [
    Operation("an input that nothing uses, None", unused_forward, lambda g, c: (2 * g * c[0], None), (normal(3), normal(4))),
    Operation(
        "an input that nothing uses, zeros", unused_forward, lambda g, c: (2 * g * c[0], 0 * c[1]), (normal(3), normal(4))
    ),
    Operation("maximum, ties shared", maximum_forward, maximum_shared, (np.array([1.0, 2, 3]), np.array([1.0, 5, 3]))),
    Operation("row maximum, ties shared", row_max_forward, row_max_shared, (TIED_ROWS,)),
    Operation("row maximum, first of ties", row_max_forward, row_max_first, (TIED_ROWS,)),
    Operation("relu network", network_forward, network_backward, NETWORK),
    Operation("relu network, gradients by name", network_forward, named_backward, NETWORK),
    Operation("relu network, all zero weights", network_forward, network_backward, tuple(0 * a for a in NETWORK)),
    Operation("dropout, mostly zero", activations.dropout_forward, activations.dropout_backward, (normal(4, 5),), {"p": 0.9}),
    Operation(
        "dropout, nothing dropped", activations.dropout_forward, activations.dropout_backward, (normal(4, 5),), {"p": 0.0}
    ),
    Operation("multiplicative noise", noise_forward, lambda dout, noise: dout * (1 + noise), (normal(4, 5),)),
    Operation("sort", sorted_forward, sorted_backward, (distinct(9),)),
    Operation(
        "batch norm of a batch far from zero",
        normalised.batchnorm_forward,
        normalised.batchnorm_backward,
        (normal(6, 3) + 1e4, normal(3), normal(3), {"eps": 1e-5}),
    ),
    Operation("softmax of large scores", normalised.softmax_forward, normalised.softmax_backward, (normal(3, 4, scale=300),)),
    Operation("softmax of one class", normalised.softmax_forward, normalised.softmax_backward, (normal(3, 1),)),
    Operation(
        "conv without overlap",
        windows.conv_forward,
        windows.conv_backward,
        (normal(1, 2, 4, 4), normal(2, 2, 2, 2), normal(2), {"stride": 2, "pad": 0}),
    ),
    Operation(
        "max pool of equal values",
        windows.max_pool_forward,
        windows.max_pool_backward,
        (np.ones((1, 1, 4, 4)), {"size": 2, "stride": 2}),
    ),
    Operation("svm loss at the margin", losses.svm_loss, None, (np.array([[1.0, 0, 3], [2, 2, 2]]), np.array([0, 1]))),
]

OPERATIONS = [*WRITTEN, *KINKS, *SIZES, *WHOLE]
