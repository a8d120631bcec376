"""`check_grads` and `check_loss`: gradients written by hand in plain numpy, held against difference quotients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minigrad.checks.classes import Context, function_problem, layer_problem, model_problem, takes_context
from minigrad.checks.compare import Options
from minigrad.checks.plain import forward_backward_problem, loss_problem
from minigrad.checks.problem import Problem
from minigrad.checks.report import Report
from minigrad.checks.tensors import finish
from minigrad.checks.verdict import Tolerance

__all__ = [
    "Context",
    "check_grads",
    "check_loss",
    "forward_backward_problem",
    "function_problem",
    "layer_problem",
    "loss_problem",
    "model_problem",
    "problem_of",
]

Inputs = Sequence[Any] | Mapping[str, Any]


def check_grads(
    forward: Any,
    backward: Callable[..., Any] | None = None,
    inputs: Inputs = (),
    *,
    settings: Mapping[str, Any] | None = None,
    wrt: Sequence[str] | None = None,
    mode: str = "full",
    eps: float | None = None,
    atol: float = 1e-8,
    rtol: float = 1e-6,
    seed: int = 0,
    samples: int = 20,
    nondet_tol: float = 0.0,
    bilinear: bool = False,
    raise_exception: bool = True,
) -> Report:
    """Check a backward pass written by hand, with no tensor in it.

    `forward` and `backward` are a pair of functions, ``out, cache = forward(*inputs, **settings)`` and ``grads =
    backward(dout, cache)`` (`forward_backward_problem` has the details); or `forward` alone is given: a `Function` class
    with static ``forward(ctx, ...)`` and ``backward(ctx, ...)``, a layer with methods `forward` and `backward`, or a model
    with `params` and `loss`. `inputs` are the positional arguments, in a mapping under their names; `settings` those by
    keyword. Every array of floating point among the inputs is checked, and every parameter of a layer or model, unless
    `wrt` names some. Labels, masks and dicts of settings are passed as they are, in copies.

    The other settings are those of `gradcheck`. Returns a `Report`, true where nothing is wrong. Raises GradcheckError with
    the report's text unless `raise_exception` is off; GradientError for code that does not keep to any of these forms;
    ValueError for a request that makes no sense. Errors in the checked code itself come through as they are.
    """
    __tracebackhide__ = True  # pytest shows the test's own line
    problem = problem_of(forward, backward, inputs, settings, wrt=wrt)
    options = Options(mode, eps, Tolerance(rtol, atol), samples, seed, nondet_tol, bilinear)
    return finish(problem, options, raise_exception, _call("check_grads", [forward, backward], problem, settings))


def check_loss(
    loss: Callable[..., Any],
    inputs: Inputs,
    *,
    settings: Mapping[str, Any] | None = None,
    wrt: Sequence[str] | None = None,
    mode: str = "full",
    eps: float | None = None,
    atol: float = 1e-8,
    rtol: float = 1e-6,
    seed: int = 0,
    samples: int = 20,
    nondet_tol: float = 0.0,
    raise_exception: bool = True,
) -> Report:
    """Check a function that gives its own gradient: ``value, grads = loss(w, X, y, **settings)``.

    The gradient is by the first argument (an array, or a dict of arrays) unless `wrt` names others. Everything else is as
    in `check_grads`.
    """
    __tracebackhide__ = True
    problem = loss_problem(loss, inputs, settings, wrt=wrt)
    options = Options(mode, eps, Tolerance(rtol, atol), samples, seed, nondet_tol)
    return finish(problem, options, raise_exception, _call("check_loss", [loss], problem, settings))


def _call(function: str, code: Sequence[Any], problem: Problem, settings: Mapping[str, Any] | None) -> str:
    """The call as one would write it again, arrays by name and shape."""
    shapes = ("x".join(map(str, x.shape)) or "scalar" for x in problem.inputs)
    arrays = ", ".join(f"{name}: <{shape}>" for name, shape in zip(problem.names, shapes, strict=True))
    names = [getattr(f, "__name__", type(f).__name__) for f in code if f is not None]
    return f"{function}({', '.join(names)}, {{{arrays}}}" + (f", settings={dict(settings)!r}" if settings else "")


def problem_of(
    forward: Any,
    backward: Callable[..., Any] | None = None,
    inputs: Inputs = (),
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
) -> Problem:
    """The problem in whatever form the code is written; TypeError where it is none of those `check_grads` knows."""
    if backward is not None:
        return forward_backward_problem(forward, backward, inputs, settings, wrt=wrt)
    if takes_context(forward):
        return function_problem(forward, inputs, settings, wrt=wrt)
    if hasattr(forward, "forward") and hasattr(forward, "backward"):
        static = inspect.isclass(forward) and isinstance(inspect.getattr_static(forward, "forward"), staticmethod)
        if static:
            return forward_backward_problem(
                forward.forward, forward.backward, inputs, settings, wrt=wrt, label=forward.__name__
            )
        return layer_problem(forward, inputs, settings, wrt=wrt)
    if hasattr(forward, "params") and hasattr(forward, "loss"):
        return model_problem(forward, inputs, settings, wrt=wrt)
    name = getattr(forward, "__name__", type(forward).__name__)
    raise TypeError(
        f"check_grads: {name} has no backward: pass one beside it, or a class with forward and backward, "
        "or a model with params and loss; for a function that returns (value, gradients) there is check_loss"
    )
