"""What is found in a file without a spec, and on which arrays it is checked."""

import sys
import textwrap

import pytest

from minigrad.grading import Draw, discover
from minigrad.grading.discover import DiscoveryError


def found(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(text))
    return discover(path)


def shapes(check):
    return {name: value.shape if isinstance(value, Draw) else value for name, value in check.arguments.items()}


PAIR = "def {0}_forward({1}):\n    '''{2}\n    '''\ndef {0}_backward(dout, cache):\n    pass\n"


@pytest.mark.parametrize(
    ("name", "parameters", "doc", "expected"),
    [
        ("affine", "x, w, b", "", {"x": (4, 2, 3), "w": (6, 5), "b": (5,)}),
        ("dense", "x, w, b", "- x: data, of shape (N, d_1, ..., d_k)\n- w: of shape (D, M)\n- b: (M,)",
         {"x": (4, 2, 3), "w": (6, 5), "b": (5,)}),
        ("dense", "x, w, b", "", {"x": (4, 6), "w": (6, 5), "b": (5,)}),
        ("scale", "x, s=2.0", "", {"x": (4, 6)}),
        ("exact", "a, q", "a (3, 9): one\nq : array (9,)", {"a": (3, 9), "q": (9,)}),
        ("myconv", "x, w, b, conv_param", "",
         {"x": (2, 3, 5, 7), "w": (4, 3, 3, 3), "b": (4,), "conv_param": {"stride": 2, "pad": 1}}),
        ("conv1", "x, w, stride, pad", "x: (N, C, H, W)\nw: (F, C, HH, WW)",
         {"x": (4, 3, 5, 7), "w": (4, 3, 3, 3), "stride": 2, "pad": 1}),
        ("embed", "x, W", "- x: Integer array (N, T), 0 <= idx < V\n- W: (V, D)", {"x": (4, 3), "W": (8, 6)}),
        ("attend", "q, k, v", "q: (N, D), k: (M, D), v: (M, D)", {"q": (4, 6), "k": (5, 6), "v": (5, 6)}),
        ("matmul", "a, b", "", {"a": (5, 5), "b": (5, 5)}),
        ("matmul", "a, b", "a: (N, D)\nb: (D, M)", {"a": (4, 6), "b": (6, 5)}),
        ("gates", "x, w", "x: (N, D)\nw: (D, 4H)", {"x": (4, 6), "w": (6, 20)}),
        ("bn", "x, gamma, beta, bn_param", "",
         {"x": (4, 6), "gamma": (6,), "beta": (6,), "bn_param": {"mode": "train", "eps": 1e-5}}),
        ("thing", "x, config", "config: a dict with 'stride' and 'p'", {"x": (4, 6), "config": {"stride": 2, "p": 0.5}}),
        ("power", "x, n: int", "", {"x": (4, 6), "n": 2}),
    ],
)  # fmt: skip
def test_arguments_come_from_docstrings_and_names(tmp_path, name, parameters, doc, expected):
    discovery = found(tmp_path, PAIR.format(name, parameters, doc))
    (check,) = discovery.checks
    assert shapes(check) == expected
    assert (check.function, check.backward, check.kind) == (f"{name}_forward", f"{name}_backward", "pair")
    assert not discovery.remarks


def test_every_form_is_found(tmp_path):
    discovery = found(
        tmp_path,
        """
        import numpy as np

        def forward_relu(x): ...
        def backward_relu(dout, cache): ...
        def batchnorm_forward(x, gamma, beta, bn_param): ...
        def batchnorm_backward(dout, cache): ...
        def batchnorm_backward_alt(dout, cache): ...
        def conv_forward_naive(x, w, b, conv_param): ...
        def conv_backward_naive(dout, cache): ...
        def svm_loss(x, y):
            return 0.0, x
        def my_loss(W, X, y, reg):
            '''W: (D, C)
            X: (N, D)
            y: labels (N,), 0 <= c < C'''
            return 0.0, W
        def loss_of(x):
            return x
        class Exp:
            @staticmethod
            def forward(ctx, x): ...
            @staticmethod
            def backward(ctx, g): ...
        class Dense:
            def __init__(self, in_features, out_features, bias=True): ...
            def forward(self, x): ...
            def backward(self, g): ...
        class Net(nn.Module):
            def forward(self, x): ...
        class Plain:
            def forward(self, x): ...
        """,
    )
    kinds = {check.name: check.kind for check in discovery.checks}
    assert kinds == {
        "forward_relu": "pair",
        "batchnorm_forward": "pair",
        "batchnorm_backward_alt": "pair",
        "conv_forward_naive": "pair",
        "svm_loss": "loss",
        "my_loss": "loss",
        "Exp": "function",
        "Dense": "layer",
        "Net": "module",
    }
    by_name = {check.name: check for check in discovery.checks}
    assert by_name["Dense"].make == {"in_features": 6, "out_features": 5}
    assert shapes(by_name["my_loss"]) == {"W": (6, 3), "X": (4, 6), "y": (4,), "reg": 0.1}
    assert by_name["my_loss"].checked == ("W",)
    assert by_name["my_loss"].arguments["y"].high == 3
    assert {c.name for c in discovery.spec("f", "batchnorm").checks} == {"batchnorm_forward", "batchnorm_backward_alt"}


def test_what_can_not_be_checked_is_said(tmp_path):
    discovery = found(tmp_path, "def a_forward(x): ...\ndef f_forward(q, r): ...\ndef f_backward(g, c): ...\n")
    assert discovery.remarks[0] == "a_forward has no a_backward"
    assert "f_forward: the shape of q can't be guessed; say which in its docstring" in discovery.remarks[1]
    with pytest.raises(DiscoveryError, match=r"nothing to check in m\.py: no x_forward .*a_forward has no a_backward"):
        discovery.spec("m.py", None)
    discovery = found(tmp_path, PAIR.format("relu", "x", ""))
    with pytest.raises(DiscoveryError, match=r"nothing called 'tanh' to check; there is: relu_forward"):
        discovery.spec("m.py", "tanh")


def test_a_loss_over_time_has_labels_and_mask_of_two_axes(tmp_path):
    text = (
        "def temporal_loss(x, y, mask):\n    '''x: (N, T, V)\n    y: indices (N, T), 0 <= y < V\n    mask: boolean, (N, T)'''\n"
    )
    (check,) = found(tmp_path, text + "    return 0.0, x\n").checks
    assert shapes(check) == {"x": (4, 3, 8), "y": (4, 3), "mask": (4, 3)}
    assert check.arguments["mask"].high == 2
    assert check.checked == ("x",)


def test_what_a_distance_compares_has_one_shape(tmp_path):
    text = "def {}(pred, target):\n    return 0.0, pred\n"
    (check,) = found(tmp_path, text.format("mse_loss")).checks
    assert shapes(check) == {"pred": (4, 6), "target": (4, 6)}
    assert check.arguments["target"].values == "normal"
    (check,) = found(tmp_path, text.format("hinge_loss")).checks
    assert shapes(check) == {"pred": (4, 6), "target": (4,)}
    assert check.arguments["target"].values == "integers"


def test_a_model_with_a_loss_is_not_passed_over_in_silence(tmp_path):
    text = PAIR.format("relu", "x", "") + "class Net:\n    def loss(self, X, y=None): ...\n"
    discovery = found(tmp_path, text)
    assert [remark.partition(":")[0] for remark in discovery.remarks] == ["Net has a loss, and was not checked"]
    with pytest.raises(DiscoveryError, match=r"can't check 'Net': Net has a loss.*kind = 'model'"):
        discovery.spec("m.py", "Net")


def test_nothing_of_the_file_runs_here(tmp_path):
    found(tmp_path, "import sys\nsys.discovered = True\n" + PAIR.format("relu", "x", ""))
    assert not hasattr(sys, "discovered")


@pytest.mark.parametrize("text", ["def (", "\0", "x = " + "(" * 300, "x = " + "-" * 50_000 + "1"])
def test_no_python_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(DiscoveryError) as refused:
        found(tmp_path, text)
    assert "mine.py" in str(refused.value)
    assert "\n" not in str(refused.value)
