"""Layers against PyTorch, forward and backward, where it is installed."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")

#: The layer's name, its arguments, the input's shape.
CASES = [
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 3, 5)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    ("Conv1d", (2, 3, 4), {"padding": "same", "dilation": 2}, (2, 2, 9)),
    ("Conv2d", (3, 4, 3), {}, (2, 3, 6, 7)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}, (2, 4, 7, 8)),
    ("Conv2d", (2, 2, 2), {"padding": "same", "bias": False}, (2, 2, 5, 4)),
    ("MaxPool2d", (3, 2), {"padding": 1, "ceil_mode": True}, (2, 3, 8, 7)),
    ("MaxPool2d", (2,), {"dilation": 2}, (1, 2, 6, 6)),
    ("AvgPool2d", (3, 2), {"padding": 1, "ceil_mode": True, "count_include_pad": False}, (2, 3, 8, 7)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 8, 7)),
    ("BatchNorm1d", (3,), {}, (6, 3)),
    ("BatchNorm1d", (3,), {"momentum": None}, (4, 3, 5)),
    ("BatchNorm2d", (3,), {"momentum": 0.3, "eps": 1e-2}, (4, 3, 5, 2)),
    ("BatchNorm2d", (3,), {"affine": False, "track_running_stats": False}, (4, 3, 5, 2)),
    ("LocalResponseNorm", (5,), {"alpha": 0.1, "k": 2.0}, (2, 7, 3, 3)),
    ("LocalResponseNorm", (4,), {}, (2, 6, 3, 3)),
    ("Flatten", (1, 2), {}, (2, 3, 4, 5)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6, 4)),
    ("ReLU", (), {}, (3, 4)),
    ("LeakyReLU", (0.1,), {}, (3, 4)),
    ("PReLU", (3,), {}, (2, 3, 4)),
    ("ELU", (0.7,), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Softplus", (2.0,), {}, (3, 4)),
    ("Softmax", (1,), {}, (3, 4)),
    ("LogSoftmax", (0,), {}, (3, 4)),
]


def close(ours, theirs, name=""):
    np.testing.assert_allclose(ours.array, theirs.detach().numpy(), rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # PyTorch's, about its own speed
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("name", "args", "settings", "shape"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_layer(name, args, settings, shape, mode):
    rng = np.random.default_rng(0)
    ours, theirs = getattr(nn, name)(*args, **settings).double(), getattr(torch.nn, name)(*args, **settings).double()
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    state = {k: rng.uniform(0.5, 2, v.shape) if v.dim() else v.numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    getattr(ours, mode)()
    getattr(theirs, mode)()
    for _ in range(3):  # running statistics move on
        array = rng.normal(size=shape)
        x, y = mg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        out, expected = ours(x), theirs(y)
        close(out, expected)
        cotangent = rng.normal(size=out.shape)
        out.backward(mg.tensor(cotangent))
        expected.backward(torch.tensor(cotangent))
        close(x.grad, y.grad, "input")
    for (part, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, part)
    for (part, p), q in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        close(p, q, part)


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ({}, True),
        ({"reduction": "sum", "ignore_index": 2}, True),
        ({"label_smoothing": 0.1, "weight": [0.5, 1.0, 2.0, 1.5]}, True),
        ({"label_smoothing": 0.1, "weight": [0.5, 1.0, 2.0, 1.5], "reduction": "none"}, False),
        ({}, False),
    ],
)
def test_cross_entropy_loss(settings, classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4, 2))
    target = rng.integers(0, 4, (6, 2)) if classes else rng.dirichlet(np.ones(4), (6, 2)).transpose(0, 2, 1)
    weight = settings.get("weight")
    ours = nn.CrossEntropyLoss(**settings | ({"weight": mg.tensor(np.array(weight))} if weight else {}))
    theirs = torch.nn.CrossEntropyLoss(**settings | ({"weight": torch.tensor(weight, dtype=torch.float64)} if weight else {}))
    x, y = mg.tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
    out, expected = ours(x, mg.tensor(target)), theirs(y, torch.tensor(target))
    close(out, expected)
    out.sum().backward()
    expected.sum().backward()
    close(x.grad, y.grad)


def test_signatures_begin_like_pytorchs():
    """Positional arguments mean the same, and what both take has the same default."""
    import inspect

    for name in nn.__all__:
        theirs = getattr(torch.nn, name, None)
        if theirs is None or not isinstance(theirs, type) or name in ("Module", "Parameter", "Sequential", "Identity"):
            continue
        expected = inspect.signature(theirs.__init__).parameters
        for parameter in inspect.signature(getattr(nn, name).__init__).parameters.values():
            assert parameter.name in expected, (name, parameter.name)
            known = expected[parameter.name].default
            same = parameter.default == known or parameter.default in ((), parameter.empty) or known in (None, parameter.empty)
            assert same, (name, parameter.name, parameter.default, known)
