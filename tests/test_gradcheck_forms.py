"""The forms of code that can be checked: functions of tensors, modules, pairs, losses, Function classes, layers, models."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.checks import (
    GradcheckError,
    Options,
    check,
    forward_backward_problem,
    function_problem,
    layer_problem,
    loss_problem,
    model_problem,
    problem_of,
)

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)


def leaf(*shape, seed=0):
    return mg.Tensor(np.random.default_rng(seed).normal(size=shape), True)


# ------------------------------------------------------------------------------------------------ tensors


def test_functions_of_tensors():
    assert mg.gradcheck(lambda x, w: (x @ w).tanh(), (leaf(3, 4), leaf(4, 2)))
    assert mg.gradcheck(mg.tanh, leaf(3), fast_mode=True)
    assert mg.gradgradcheck(lambda x, w: (x @ w).tanh(), (leaf(3, 4), leaf(4, 2)))
    several = mg.gradcheck(lambda x: (x.exp(), x.sum()), leaf(2, 2))
    assert several.status == "passed" and len(several.outputs) == 2


def test_a_wrong_function_of_tensors_raises_with_the_report():
    with pytest.raises(GradcheckError, match="times the right one") as raised:
        mg.gradcheck(lambda x: x.exp() + x.exp().detach() * 0.5, leaf(3, 4))
    assert isinstance(raised.value, AssertionError) and raised.value.report.diagnoses == ["factor"]
    report = mg.gradcheck(lambda x: x.exp() * x.detach(), leaf(3, 4), raise_exception=False)
    assert not report and "gradcheck(a lambda, (<3x4>)" in report.reproduce


def test_a_wrong_second_derivative_raises():
    def cut(x):
        return (x.detach().exp() * x).sum()

    with pytest.raises(GradcheckError):
        mg.gradcheck(cut, leaf(3))
    assert mg.gradgradcheck(lambda x: x.exp().sum(), leaf(3))


def test_float32_warns_and_is_converted():
    x = mg.tensor([0.5, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="float32"):
        assert mg.gradcheck(mg.tanh, x)
    with pytest.warns(UserWarning, match="w is float32"):
        assert mg.check_grads(affine, affine_backward, (X, W.astype(np.float32), B)).ok


def test_nothing_to_check_is_one_clear_error():
    with pytest.raises(ValueError, match="requires_grad=True"):
        mg.gradcheck(mg.tanh, mg.tensor([1.0]))
    with pytest.raises(ValueError, match="no array of floating point"):
        mg.check_grads(affine, affine_backward, (np.arange(3), np.arange(3), np.arange(3)))
    with pytest.raises(ValueError, match="no array 'v'; there are x, w, b"):
        mg.check_grads(affine, affine_backward, (X, W, B), wrt=["v"])
    with pytest.raises(TypeError, match="has no backward"):
        mg.check_grads(affine, None, (X, W, B))


class Scaled(nn.Module):
    def __init__(self, right=True):
        super().__init__()
        self.gain = nn.Parameter(mg.tensor([1.5, 0.5, 2.0]))
        self.right = right

    def forward(self, x):
        return x * (self.gain if self.right else self.gain * 0.5 + self.gain.detach() * 0.5)


def test_modules_by_every_parameter_and_left_as_they_were():
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(32, 3)
    )
    before = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    report = mg.check_module(module, mg.randn(2, 1, 4, 4), mode="sample", samples=6)
    assert report.ok and {i.name for i in report.inputs} == {"input", *dict(module.named_parameters())}
    after = module.state_dict()
    assert all(np.array_equal(before[k], after[k].numpy()) and after[k].dtype == before[k].dtype for k in before)
    assert all(p.grad is None for p in module.parameters())


def test_a_wrong_module_names_the_parameter():
    assert mg.check_module(Scaled(), mg.randn(4, 3))
    report = mg.check_module(Scaled(right=False), mg.randn(4, 3), raise_exception=False)
    assert report["input"].ok and not report["gain"].ok and report["gain"].diagnoses[0].kind == "factor"


def test_lenet_by_samples():
    report = mg.check_module(mg.zoo.lenet(), mg.randn(1, 1, 28, 28), mode="sample", samples=2)
    assert report.ok and len(report.inputs) == 11 and all((i.verdict > 0).sum() == 2 for i in report.inputs)


# ------------------------------------------------------------------------------------------------ pairs


def affine(x, w, b, scale=1.0):
    return scale * (x @ w) + b, (x, w, scale)


def affine_backward(dout, cache):
    x, w, scale = cache
    return scale * dout @ w.T, scale * x.T @ dout, dout.sum(0)


def test_pairs_and_what_they_may_return():
    inputs = (X, W, B)
    assert mg.check_grads(affine, affine_backward, inputs, settings={"scale": 0.3}).status == "passed"
    named = lambda g, c: dict(zip(("dx", "dw", "db"), affine_backward(g, c), strict=True))  # noqa: E731
    assert mg.check_grads(affine, named, inputs).ok
    assert mg.check_grads(affine, lambda g, c: list(affine_backward(g, c)), {"x": X, "w": W, "b": B}).ok
    assert mg.check_grads(affine, lambda g, c: affine_backward(g, c)[1], inputs, wrt=["w"]).ok
    assert mg.check_grads(affine, lambda g, c: affine_backward(g, c), inputs, wrt=["b"]).ok  # one for each argument
    with pytest.raises(mg.GradientError, match="gives 2 gradients, but 3 arrays are checked: x, w, b"):
        mg.check_grads(affine, lambda g, c: affine_backward(g, c)[:2], inputs)
    with pytest.raises(mg.GradientError, match="gives None where x, w, b need gradients: is a return missing"):
        mg.check_grads(affine, lambda g, c: None, inputs)
    with pytest.raises(mg.GradientError, match=r"dict with a, but the arrays are called x, w, b"):
        mg.check_grads(affine, lambda g, c: {"a": g}, inputs)


def test_labels_and_dicts_are_passed_in_copies():
    def forward(x, labels, param):
        param["calls"] = param.get("calls", 0) + 1
        return x[np.arange(len(labels)), labels] * param["k"] * param["calls"], (x.shape, labels, param)

    def backward(dout, cache):
        shape, labels, param = cache
        dx = np.zeros(shape)
        dx[np.arange(len(labels)), labels] = dout * param["k"]
        return dx

    param = {"k": 3.0}
    report = mg.check_grads(forward, backward, (X, np.array([0, 3, 1]), param))
    assert report.ok and param == {"k": 3.0} and report.settings["k"] == 3.0


def test_several_outputs_and_no_cache():
    assert mg.check_grads(lambda a, b: (a * b, a + b, (a, b)), lambda g, h, c: (g * c[1] + h, g * c[0] + h), (X, X + 1)).ok
    assert mg.check_grads(lambda a: ([a * 2, a * 3], None), lambda gs, c: 2 * gs[0] + 3 * gs[1], (X,)).ok
    assert mg.check_grads(lambda a, k=2: a**k, lambda g, a, k=2: g * k * a ** (k - 1), (X,), settings={"k": 3}).ok


def test_problems_can_be_asked_again_with_other_settings():
    problem = forward_backward_problem(affine, affine_backward, (X, W, B))
    assert problem.settings == {"scale": 1.0}
    other = problem.again({"scale": 0.0})
    assert other.settings["scale"] == 0.0 and np.array_equal(other.value(other.inputs)[0], np.broadcast_to(B, (3, 5)))
    nested = forward_backward_problem(lambda x, p: (x * p["k"], p), lambda g, p: g * p["k"], (X, {"k": 2}))
    assert nested.again({"k": 5}).settings == {"k": 5} and nested.settings == {"k": 2}
    with pytest.raises(ValueError, match="no setting 'stride'"):
        problem.again({"stride": 1})


# ------------------------------------------------------------------------------------------------ losses and models


def loss(w, X, y, reg=0.1):
    r = X @ w - y
    return (r * r).mean() + reg * (w * w).sum(), 2 * X.T @ r / len(y) + 2 * reg * w


def test_losses():
    data = (W[:, 0], X, RNG.normal(size=3))
    assert mg.check_loss(loss, data).status == "passed"
    report = mg.check_loss(lambda *a: (loss(*a)[0], loss(*a)[1] * 2), data, raise_exception=False)
    assert report.diagnoses == ["factor"] and np.allclose(report.inputs[0].analytic, 2 * loss(*data)[1])  # its own numbers
    by_dict = lambda p, X, y: (loss(p["w"], X, y)[0], {"w": loss(p["w"], X, y)[1]})  # noqa: E731
    assert mg.check_loss(by_dict, ({"w": W[:, 0]}, *data[1:])).ok
    assert mg.check_loss(lambda a, b: ((a * b).sum(), b, a), (X, X + 1), wrt=["a", "b"]).ok
    with pytest.raises(mg.GradientError, match=r"must return \(value, gradients\), got float"):
        mg.check_loss(lambda w: float((w * w).sum()), (X,))


class Model:
    """As CS231n's: params in a dict, loss(X, y) gives value and gradients."""

    def __init__(self, factor=1.0):
        self.params, self.reg, self.factor = {"W": W[:, 0].copy(), "b": np.zeros(1)}, 0.2, factor

    def loss(self, X, y):
        w, b = self.params["W"], self.params["b"]
        r = X @ w + b - y
        grads = {"W": self.factor * X.T @ r / len(y) + self.reg * w, "b": r.mean(keepdims=True)}
        return 0.5 * (r * r).mean() + 0.5 * self.reg * (w * w).sum(), grads


def test_models():
    data = (X, RNG.normal(size=3))
    model = Model()
    assert mg.check_grads(model, None, data).status == "passed"
    report = mg.check_grads(Model(factor=3.0), None, data, raise_exception=False)
    assert report["b"].ok and report["W"].diagnoses[0].kind == "mean", "the loss proper's part is 3 times too large"
    assert model_problem(model, data).again({"reg": 0.0}).settings["reg"] == 0.0
    with pytest.raises(ValueError, match="no parameter 'V'; there are W, b"):
        mg.check_grads(model, None, data, wrt=["V"])


# ------------------------------------------------------------------------------------------------ classes


class Multiply:
    @staticmethod
    def forward(ctx, a, b, power=1):
        ctx.save_for_backward(a, b)
        ctx.power = power
        return a * b**power

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b**ctx.power, g * a * ctx.power * b ** (ctx.power - 1), None


def test_function_classes():
    assert mg.check_grads(Multiply, None, (X, X + 3, 2)).status == "passed"
    assert function_problem(Multiply, (X, X + 3), {"power": 2}).names == ["a", "b"]

    class Pair:
        forward, backward = staticmethod(affine), staticmethod(affine_backward)

    assert mg.check_grads(Pair, None, (X, W, B)).label == "Pair"


class Attributes:
    def __init__(self, dtype=np.float64):
        self.W, self.b, self.note = W.astype(dtype), B.astype(dtype), "not an array"

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, g):
        self.dW, self.grad_b = self.x.T @ g, g.sum(0)
        return g @ self.W.T


class Listed(Attributes):
    def __init__(self):
        super().__init__()
        self.params, self.grads = [self.W, self.b], [np.zeros_like(self.W), np.zeros_like(self.b)]

    def backward(self, g):
        self.grads[0] += self.x.T @ g
        self.grads[1][...] = g.sum(0)
        return g @ self.W.T


class Named:
    def __init__(self):
        self.params, self.grads = {"W": W.copy()}, {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"]

    def backward(self, g):
        self.grads["dW"] = self.x.T @ g
        return g @ self.params["W"].T


@pytest.mark.parametrize(
    ("layer", "names"),
    [(Attributes, ["x", "W", "b"]), (Listed, ["x", "params[0]", "params[1]"]), (Named, ["x", "W"])],
    ids=["attributes", "a list", "a dict"],
)
def test_layers(layer, names):
    report = mg.check_grads(layer, None, (X,))
    assert report.status == "passed" and [i.name for i in report.inputs] == names
    made = layer()
    assert mg.check_grads(made, None, (X,)).ok and not hasattr(made, "x"), "the layer is left alone"
    assert layer_problem(made, (X,), wrt=names[1:]).names == names[1:]


def test_a_layer_that_adds_its_gradients_up_begins_with_none():
    layer = Listed()
    layer.grads[0] += 5
    assert mg.check_grads(layer, None, (X,)).status == "passed" and (layer.grads[0] == 5).all()


def test_a_layer_with_slots():
    class Twice:
        __slots__ = ("x",)

        def forward(self, x):
            self.x = x
            return x * x

        def backward(self, g):
            return 2 * self.x * g

    assert mg.check_grads(Twice, None, (X,)).status == "passed"


def test_a_gradient_in_lists_of_numbers():
    assert mg.check_grads(lambda x: (x * x, x), lambda g, x: (2 * x * g).tolist(), (X,)).status == "passed"
    with pytest.raises(mg.GradientError, match="inhomogeneous"):
        mg.check_grads(lambda x: (x * x, x), lambda g, x: [[1.0, 2.0], [3.0]], (X,))


def test_a_layer_in_float32_is_converted():
    with pytest.warns(UserWarning, match="float32"):
        assert mg.check_grads(Attributes(np.float32), None, (X,)).status == "passed"


def test_a_layer_that_does_not_run_says_why():
    with pytest.raises(mg.GradientError, match="do not run: ValueError: matmul"):
        mg.check_grads(Attributes, None, (X.T,))


def test_errors_of_the_code_itself_come_through():
    with pytest.raises(ZeroDivisionError):
        mg.check_grads(lambda x: (x * 2, None), lambda g, c: 1 / 0, (X,))


def test_problem_of_finds_the_form():
    assert problem_of(Multiply, None, (X, X)).label == "Multiply"
    assert problem_of(Model(), None, (X, X[:, 0])).unit
    assert check(loss_problem(loss, (W[:, 0], X, X[:, 1])), Options()).ok
