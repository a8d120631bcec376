"""Losses that give their own gradients, with regularisation, as courses set them."""

import numpy as np

from gradcheck_corpus.cases import Operation, normal

LABELS = np.array([0, 2, 1, 2, 0])


def softmax_loss(W, X, y, reg=0.3):
    scores = X @ W
    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores)
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean() + reg * (W * W).sum()
    ds = p.copy()
    ds[np.arange(len(y)), y] -= 1
    ds /= len(y)
    dW = X.T @ ds + 2 * reg * W
    return loss, dW


SOFTMAX_LOSS = Operation("softmax loss", softmax_loss, None, (normal(4, 3), normal(5, 4), LABELS))
SOFTMAX_LOSS.wrong(" + 2 * reg * W\n -> \n", W="regularisation")
SOFTMAX_LOSS.wrong("2 * reg * W -> reg * W", W="regularisation")
SOFTMAX_LOSS.wrong("2 * reg * W -> 4 * reg * W", W="regularisation")
SOFTMAX_LOSS.wrong("ds /= len(y) -> pass", W="mean")
SOFTMAX_LOSS.wrong("ds[np.arange(len(y)), y] -= 1 -> pass", W="label")
SOFTMAX_LOSS.wrong("ds = p.copy() -> ds = np.exp(scores); ds /= ds.sum(axis=0)", W="softmax")
SOFTMAX_LOSS.wrong("dW = X.T @ ds -> dW = -X.T @ ds", W="sign")


def cross_entropy(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    dx = p.copy()
    dx[np.arange(len(y)), y] -= 1
    return loss, dx / len(y)


CROSS_ENTROPY = Operation("cross-entropy", cross_entropy, None, (normal(5, 3), LABELS))
CROSS_ENTROPY.wrong("return loss, dx / len(y) -> return loss, dx", x="mean")
CROSS_ENTROPY.wrong("dx[np.arange(len(y)), y] -= 1 -> pass", x="label")
CROSS_ENTROPY.wrong("dx[np.arange(len(y)), y] -= 1 -> dx[:, y] -= 1", x=())
CROSS_ENTROPY.wrong("return loss, dx / len(y) -> return loss, -dx / len(y)", x="sign")


def svm_loss(x, y):
    rows = np.arange(len(y))
    margins = np.maximum(0, x - x[rows, y][:, None] + 1)
    margins[rows, y] = 0
    loss = margins.sum() / len(y)
    dx = (margins > 0).astype(float)
    dx[rows, y] -= dx.sum(axis=1)
    return loss, dx / len(y)


SVM = Operation("svm loss", svm_loss, None, (normal(5, 3), LABELS))
SVM.wrong("dx[rows, y] -= dx.sum(axis=1) -> pass", x="label")
SVM.wrong("dx[rows, y] -= dx.sum(axis=1) -> dx[rows, y] -= 1", x="label")
SVM.wrong("return loss, dx / len(y) -> return loss, dx", x="mean")


def ridge(w, X, y, lam=0.5):
    r = X @ w - y
    loss = 0.5 * (r**2).mean() + 0.5 * lam * (w**2).sum()
    return loss, X.T @ r / len(y) + lam * w


RIDGE = Operation("ridge regression", ridge, None, (normal(4), normal(6, 4), normal(6)))
RIDGE.wrong(" + lam * w -> ", w="regularisation")
RIDGE.wrong("lam * w -> 2 * lam * w", w="regularisation")
RIDGE.wrong("X.T @ r / len(y) -> X.T @ r", w="mean")
RIDGE.wrong("X.T @ r / len(y) -> 2 * X.T @ r / len(y)", w="factor")

OPERATIONS = [SOFTMAX_LOSS, CROSS_ENTROPY, SVM, RIDGE]
