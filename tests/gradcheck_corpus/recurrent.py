"""Steps of recurrent networks: several inputs, several outputs, one nonlinearity for all of them."""

import numpy as np

from gradcheck_corpus.cases import Operation, normal


def rnn_forward(x, h, Wx, Wh, b):
    out = np.tanh(x @ Wx + h @ Wh + b)
    return out, (x, h, Wx, Wh, out)


def rnn_backward(dout, cache):
    x, h, Wx, Wh, out = cache
    da = dout * (1 - out**2)
    dx, dh = da @ Wx.T, da @ Wh.T
    dWx, dWh = x.T @ da, h.T @ da
    db = da.sum(axis=0)
    return dx, dh, dWx, dWh, db


RNN = Operation("rnn step", rnn_forward, rnn_backward, (normal(3, 4), normal(3, 5), normal(4, 5), normal(5, 5), normal(5)))
RNN.wrong("(1 - out**2) -> (1 - out)", x="activation", Wx="activation", b="activation")
RNN.wrong("dout * (1 - out**2) -> dout", x="identity", h="identity", Wh="identity", b="identity")
RNN.wrong("(1 - out**2) -> (1 - np.tanh(out) ** 2)", x="activation", b="activation")
RNN.wrong("da @ Wh.T -> da @ Wh", h="transposed")
RNN.wrong("db = da.sum(axis=0) -> db = np.zeros(da.shape[1])", b="bias")
RNN.wrong("db = da.sum(axis=0) -> db = dout.sum(axis=0)", b="identity")
RNN.wrong("dx, dh = da @ Wx.T, da @ Wh.T -> dx, dh = da @ Wx.T, None", h="zero")
RNN.wrong("dWx, dWh = x.T @ da, h.T @ da -> dWx, dWh = x.T @ da, h.T @ dout", Wh="identity")


def lstm_forward(x, h, c, Wx, Wh, b):
    a = x @ Wx + h @ Wh + b
    i, f, o, g = np.split(a, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
    g = np.tanh(g)
    new_c = f * c + i * g
    t = np.tanh(new_c)
    return o * t, new_c, (x, h, c, Wx, Wh, i, f, o, g, t)


def lstm_backward(dh, dc, cache):
    x, h, c, Wx, Wh, i, f, o, g, t = cache
    dc = dc + dh * o * (1 - t**2)
    do, df, di, dg = dh * t, dc * c, dc * g, dc * i
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, h.T @ da, da.sum(axis=0)


LSTM = Operation(
    "lstm step",
    lstm_forward,
    lstm_backward,
    (normal(2, 3), normal(2, 4), normal(2, 4, seed=1), normal(3, 16), normal(4, 16), normal(16)),
)
LSTM.wrong("dc = dc + dh * o * (1 - t**2) -> dc = dh * o * (1 - t**2)", c="ignored-output")
LSTM.wrong("dc = dc + dh * o * (1 - t**2) -> pass", c="ignored-output")
LSTM.wrong("da.sum(axis=0) -> da.mean(axis=0)", b=("averaged", "factor"))
LSTM.wrong("x.T @ da, h.T @ da -> x.T @ da, None", Wh="zero")
LSTM.wrong("dc * f, x.T -> dc * i, x.T", c=())
LSTM.wrong("return da @ Wx.T -> return -da @ Wx.T", x="sign")

OPERATIONS = [RNN, LSTM]
