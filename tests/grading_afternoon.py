"""A class of generated submissions, each with the points that it deserves: right, wrong, hanging, crashing, cheating."""

import itertools

SPEC = """
title = "Assignment 2"
file = "layers.py"
timeout = 2

[[check]]
ready = "affine"
points = 3

[[check]]
ready = "relu"
points = 2

[[check]]
ready = "softmax"
points = 2

[[check]]
ready = "max_pool"
points = 4
hidden = true
"""

RIGHT = {
    "affine": """
def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w)

def affine_backward(dout, cache):
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(0)
""",
    "relu": """
def relu_forward(x):
    return np.maximum(x, 0), x

def relu_backward(dout, cache):
    return dout * (cache > 0)
""",
    "softmax": """
def softmax_loss(x, y):
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(x)
""",
    "max_pool": """
def max_pool_forward_naive(x, pool_param):
    h, w, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    n, c, high, wide = x.shape
    out = np.zeros((n, c, (high - h) // s + 1, (wide - w) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i * s : i * s + h, j * s : j * s + w].max((2, 3))
    return out, (x, h, w, s)

def max_pool_backward_naive(dout, cache):
    x, h, w, s = cache
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, i * s : i * s + h, j * s : j * s + w]
            mask = window == window.max((2, 3), keepdims=True)
            dx[:, :, i * s : i * s + h, j * s : j * s + w] += mask * dout[:, :, i, j][:, :, None, None]
    return dx
""",
}
POINTS = {"affine": 3, "relu": 2, "softmax": 2, "max_pool": 4}

#: What is done to one function: a line of it and what stands there instead.
WRONG = [
    ("affine", "dout.sum(0)", "dout.mean(0)"),
    ("affine", "dout @ w.T", "dout @ w.T * 2"),
    ("affine", "@ w + b", "@ w"),
    ("relu", "(cache > 0)", "(cache < 0)"),
    ("relu", "np.maximum(x, 0), x", "x, x"),
    ("softmax", "p / len(x)", "p"),
    ("softmax", "p[rows, y] -= 1", "pass"),
    ("max_pool", "+= mask * dout", "+= dout"),
    ("max_pool", "mask * dout[:, :, i, j]", "mask * dout[:, :, j % 2, i % 2]"),
]
_BODIES = {
    "affine": "x, w = cache\n",
    "relu": "return dout * (cache > 0)\n",
    "softmax": "p /= p.sum(1, keepdims=True)\n",
    "max_pool": "x, h, w, s = cache\n",
}
HANGING = ["while True: pass", "import time; time.sleep(600)"]
CRASHING = [
    "import os; os.abort()",
    "import os; os._exit(0)",
    "raise SystemExit(0)",
    "import ctypes; ctypes.string_at(0)",
    "hog = []\n    while True: hog.append(bytearray(1 << 24))",
    "import os\n    while True: os.fork()",
    "return 1 / 0",
]
CHEATING = [
    "print('passed: 100 of 100 points'); return None",
    "import sys\n    for m in list(sys.modules.values()):\n        m.check = m.judge = lambda *a: True\n    return None",
    "np.allclose = np.isclose = np.array_equal = lambda *a, **k: True; return None",
    "import json; open('/tmp/results.json', 'w').write(json.dumps({'score': 100})); return None",
    "import os; os.write(3, b'passed' * 1000); os.write(4, b'passed' * 1000); return None",
]


def submissions(count):
    """Pairs of a file's text and the points it deserves, by name; the kinds take turns."""
    whole = dict(RIGHT)
    wrong = (_damaged(whole, name, old, new) for name, old, new in itertools.cycle(WRONG))
    others = {
        kind: (
            _led_astray(whole, name, line) for line, name in zip(itertools.cycle(lines), itertools.cycle(RIGHT), strict=False)
        )
        for kind, lines in (("hanging", HANGING), ("crashing", CRASHING), ("cheating", CHEATING))
    }
    kinds = ("right", "wrong", "wrong", "right", "wrong", "crashing", "wrong", "right", "cheating", "hanging")
    for number, kind in zip(range(count), itertools.cycle(kinds), strict=False):
        if kind == "right":
            text, points = _text(whole), sum(POINTS.values())
        else:
            text, points = next(wrong if kind == "wrong" else others[kind])
        yield f"student{number:03}-{kind}", text, points


def _text(functions):
    return "import numpy as np\n" + "\n".join(functions.values())


def _damaged(functions, name, old, new):
    assert old in functions[name]
    return _text(functions | {name: functions[name].replace(old, new)}), sum(POINTS.values()) - POINTS[name]


def _led_astray(functions, name, line):
    text = functions[name].replace(_BODIES[name], f"{line}\n    {_BODIES[name]}", 1)
    assert text != functions[name]
    return _text(functions | {name: text}), sum(POINTS.values()) - POINTS[name]


def write_class(folder, count):
    """The submissions, each a folder of its own, and the spec beside them; gives the points by name."""
    folder.mkdir()
    deserved = {}
    for name, text, points in submissions(count):
        (folder / name).mkdir()
        (folder / name / "layers.py").write_text(text)
        deserved[name] = points
    return deserved
