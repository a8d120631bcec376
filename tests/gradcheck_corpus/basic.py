"""Affine layers, products, sums, means, gathers: where axes, shapes and 1/N go wrong."""

import numpy as np

from gradcheck_corpus.cases import Operation, normal


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), -1).T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


AFFINE = Operation("affine", affine_forward, affine_backward, (normal(4, 2, 3), normal(6, 5), normal(5)))
AFFINE.wrong("db = dout.sum(axis=0) -> db = dout.mean(axis=0)", b="averaged")
AFFINE.wrong("db = dout.sum(axis=0) -> db = dout", b="unsummed")
AFFINE.wrong("db = dout.sum(axis=0) -> db = dout[0]", b="unsummed")
AFFINE.wrong("db = dout.sum(axis=0) -> db = np.zeros_like(b)", b="bias")
AFFINE.wrong("db = dout.sum(axis=0) -> db = None", b="bias")
AFFINE.wrong("db = dout.sum(axis=0) -> db = dout.sum()", b="summed")
AFFINE.wrong("dw = x.reshape(len(x), -1).T @ dout -> dw = x.reshape(len(x), -1).T @ dout / len(x)", w="averaged")
AFFINE.wrong("dw = x.reshape(len(x), -1).T @ dout -> dw = (x.reshape(len(x), -1).T @ dout).T", w="transposed")
AFFINE.wrong("dx = (dout @ w.T) -> dx = -(dout @ w.T)", x="sign")
AFFINE.wrong("dx = (dout @ w.T) -> dx = 2 * (dout @ w.T)", x="factor")
AFFINE.wrong("dx = (dout @ w.T) -> dx = np.zeros_like(dout @ w.T)", x="zero")

SQUARE = Operation("square affine", affine_forward, affine_backward, (normal(4, 4), normal(4, 4, seed=1), normal(4)))
SQUARE.wrong("dout @ w.T -> dout @ w", x="transposed")
SQUARE.wrong(".T @ dout -> .T @ dout.T", w="transposed")
SQUARE.wrong("return dx, dw, db -> return dw, dx, db", x="swapped", w="swapped")
SQUARE.wrong("return dx, dw, db -> return dx, dw.T, db", w="transposed")


def affine_loops_backward(dout, cache):
    x, w, b = cache
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for n in range(len(x)):
        for k in range(w.shape[1]):
            dx[n] += dout[n, k] * w[:, k]
            dw[:, k] += dout[n, k] * x[n]
            db[k] += dout[n, k]
    return dx, dw, db


LOOPS = Operation("affine in loops", affine_forward, affine_loops_backward, (normal(4, 3), normal(3, 5), normal(5)))
LOOPS.wrong("dx[n] += -> dx[n] =", x="overwritten")
LOOPS.wrong("dw[:, k] += -> dw[:, k] =", w="overwritten")
LOOPS.wrong("db[k] += -> db[k] =", b="overwritten")


def scale_forward(x, gamma):
    return x * gamma, (x, gamma)


def scale_backward(dout, cache):
    x, gamma = cache
    return dout * gamma, (dout * x).sum(axis=1, keepdims=True)


SCALE = Operation("scale by row", scale_forward, scale_backward, (normal(4, 6), normal(4, 1) + 3))
SCALE.wrong("(dout * x).sum(axis=1, keepdims=True) -> dout * x", gamma="unsummed")
SCALE.wrong("(dout * x).sum(axis=1, keepdims=True) -> (dout * x).mean(axis=1, keepdims=True)", gamma="averaged")
SCALE.wrong("(dout * x).sum(axis=1, keepdims=True) -> np.full((4, 1), (dout * x).sum())", gamma="summed")
SCALE.wrong("return dout * gamma -> return dout", x="operand")
SCALE.wrong("return dout * gamma -> return dout * x", x="operand")


def mean_forward(x):
    return x.mean(axis=0), x.shape


def mean_backward(dout, shape):
    return np.ones(shape) * dout / shape[0]


MEAN = Operation("mean", mean_forward, mean_backward, (normal(7, 3),))
MEAN.wrong(" / shape[0] -> ", x="mean")
MEAN.wrong(" / shape[0] ->  / shape[1]", x=("factor", "mean"))


def cube_forward(x):
    return x**3, x


def cube_backward(dout, x):
    return dout * 3 * x**2


CUBE = Operation("cube", cube_forward, cube_backward, (normal(4, 5) + 3,))
CUBE.wrong("x**2 -> x", x="operand")
CUBE.wrong("3 * x**2 -> x**2", x="factor")


def embedding_forward(table, ids):
    return table[ids], (table.shape, ids)


def embedding_backward(dout, cache):
    shape, ids = cache
    dtable = np.zeros(shape)
    np.add.at(dtable, ids, dout)
    return dtable


EMBEDDING = Operation("embedding", embedding_forward, embedding_backward, (normal(6, 3), np.array([[0, 2, 2], [5, 0, 2]])))
EMBEDDING.wrong("np.add.at(dtable, ids, dout) -> dtable[ids] = dout", table="overwritten")
EMBEDDING.wrong("np.add.at(dtable, ids, dout) -> dtable[ids] += dout", table="overwritten")


def residual_forward(x):
    y = np.tanh(x)
    return x + y, y


def residual_backward(dout, y):
    dx = dout * (1 - y**2)
    dx += dout
    return dx


RESIDUAL = Operation("residual", residual_forward, residual_backward, (normal(3, 5),))
RESIDUAL.wrong("dx += dout -> pass", x="overwritten")
RESIDUAL.wrong("dx += dout -> dx = dout", x=("overwritten", "identity"))


def outer_forward(a, b):
    return a[:, None] * b, (a, b)


def outer_backward(dout, cache):
    a, b = cache
    return dout @ b, dout.T @ a


OUTER = Operation("outer product", outer_forward, outer_backward, (normal(4), normal(4, seed=2)))
OUTER.wrong("dout @ b -> dout.T @ b", a="transposed")
OUTER.wrong("return dout @ b, dout.T @ a -> return dout.T @ a, dout @ b", a="swapped", b="swapped")

OPERATIONS = [AFFINE, SQUARE, LOOPS, SCALE, MEAN, CUBE, EMBEDDING, RESIDUAL, OUTER]
