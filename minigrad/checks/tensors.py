"""`gradcheck`, `gradgradcheck` and `check_module`: functions of tensors turned into problems."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minigrad.checks.compare import Options, check
from minigrad.checks.problem import Problem, Run
from minigrad.checks.report import GradcheckError, Report
from minigrad.checks.verdict import Tolerance
from minigrad.core import Array, TensorBase, grad
from minigrad.errors import GradientError
from minigrad.modes import enable_grad, no_grad
from minigrad.tensor import Tensor

__all__ = ["check_module", "finish", "gradcheck", "gradgradcheck", "module_problem"]


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    eps: float | None = None,
    atol: float = 1e-8,
    rtol: float = 1e-6,
    raise_exception: bool = True,
    *,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
    mode: str = "full",
    samples: int = 20,
    seed: int = 0,
    bilinear: bool = False,
) -> Report:
    """Hold a function's gradient against difference quotients, element by element, under a random cotangent.

    `func` takes the `inputs` (a tensor or a sequence; tensors that require a gradient are checked, in float64) and gives
    one tensor or several. `mode` is 'full' (every element, and the Jacobian row by row), 'fast' (random projections, and
    'full' where they fail; also `fast_mode=True`) or 'sample' (`samples` elements of each input, chosen by `seed`).
    `eps` fixes the first step, which is chosen for each element otherwise; `bilinear` takes a step of 1, which is exact
    for functions linear in each input. `nondet_tol` is how far two equal evaluations may differ.

    Returns a `Report`, true where nothing is wrong. Raises GradcheckError with the report's text unless
    `raise_exception` is off; ValueError for a request that makes no sense; warns about float32 inputs, and converts them.
    """
    given = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    options = Options("fast" if fast_mode else mode, eps, Tolerance(rtol, atol), samples, seed, nondet_tol, bilinear)
    __tracebackhide__ = True
    return finish(_tensor_problem(func, given), options, raise_exception, f"gradcheck({_name_of(func)}, {_shapes(given)}")


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    eps: float | None = None,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    raise_exception: bool = True,
    **options: Any,
) -> Report:
    """Check the gradient's own gradient: by every input and by the cotangent, which is random unless `grad_outputs` is given.

    Takes the settings of `gradcheck`. The tolerance is wider, since a gradient is what is differenced here.
    """
    given = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    with no_grad():
        outputs = _tuple(func(*[_fresh(x)[0] for x in given]))
    rng = np.random.default_rng(options.get("seed", 0))
    if grad_outputs is None:
        seeds = tuple(Tensor(np.asarray(rng.normal(size=y.shape)), True) for y in outputs)
    else:
        seeds = _tuple(grad_outputs)
    split_at = len(given)

    def gradient(*arguments: Any) -> tuple[Any, ...]:
        points, cotangents = arguments[:split_at], arguments[split_at:]
        results = _tuple(func(*points))
        leaves = [x for x in points if isinstance(x, TensorBase) and x.requires_grad]
        roots = [(y, g) for y, g in zip(results, cotangents, strict=True) if y.requires_grad]
        with enable_grad():
            parts = grad([y for y, _ in roots], leaves, [g for _, g in roots], create_graph=True, allow_unused=True)
        return tuple(part for part in parts if part is not None)

    gradient.__name__ = f"the gradient of {_name_of(func)}"
    settled = _settings({"eps": eps, "atol": atol, "rtol": rtol, **options})
    __tracebackhide__ = True
    call = f"gradgradcheck({_name_of(func)}, {_shapes(given)}"
    return finish(_tensor_problem(gradient, (*given, *seeds), records=True), settled, raise_exception, call)


def check_module(module: Any, *inputs: Any, raise_exception: bool = True, **options: Any) -> Report:
    """Check a module by every parameter, under its dotted name, and by every input of floating point.

    Runs in float64 and leaves the module as it was: its parameters, their types and gradients, and its buffers (batch
    norm's running statistics), which are put back before every evaluation. Takes the settings of `gradcheck`.
    """
    held = [*module.parameters(), *module.buffers()]
    before = [(t, t.array, t.grad) for t in held]
    settled = _settings(options)
    try:
        problem = module_problem(module, inputs)
        __tracebackhide__ = True
        return finish(problem, settled, raise_exception, f"check_module({type(module).__name__}, {_shapes(inputs)}")
    finally:
        for t, array, gradient in before:
            t.array, t.grad = array, gradient
            t.touched()


def module_problem(module: Any, inputs: tuple[Any, ...]) -> Problem:
    """A module's problem, by its parameters and its inputs of floating point. The module is in float64 from then on."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    held = [*module.parameters(), *module.buffers()]
    for t in held:
        if t.array.dtype.kind == "f":
            t.array = t.array.astype(np.float64)
    return _module_problem(module, inputs, parameters, held, [t.array for t in held])


def finish(problem: Problem, options: Options, raise_exception: bool, call: str) -> Report:
    """Run the check and raise where that was asked for; `call` is what was called, up to the settings."""
    __tracebackhide__ = True  # pytest shows the test's own line
    report = check(problem, options)
    report.reproduce = f"{call}, {options.spelt()})"
    if raise_exception and not report.ok:
        raise GradcheckError(report)
    return report


def _settings(options: dict[str, Any]) -> Options:
    tolerance = Tolerance(options.pop("rtol", 1e-6), options.pop("atol", 1e-8))
    if options.pop("fast_mode", False):
        options["mode"] = "fast"
    return Options(tolerance=tolerance, **options)


# ------------------------------------------------------------------------------------------------ functions of tensors


def _tensor_problem(func: Callable[..., Any], given: tuple[Any, ...], records: bool = False) -> Problem:
    """The problem over arrays; `records` for a function that takes gradients itself, and so must record to be evaluated."""
    checked = [i for i, x in enumerate(given) if isinstance(x, TensorBase) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck: at least one input must be a tensor that requires a gradient; pass requires_grad=True when making it"
        )
    for i in checked:
        if given[i].dtype.itemsize < 8:
            warnings.warn(
                f"gradcheck: input {i} is {given[i].dtype}; difference quotients need float64, so it is converted",
                UserWarning,
                stacklevel=3,
            )
    names = _argument_names(func, len(given))

    def arguments(arrays: list[Array], recorded: bool) -> tuple[list[Any], list[Tensor]]:
        leaves = [Tensor(array, recorded) for array in arrays]
        filled = [_fresh(x)[0] for x in given]
        for i, leaf in zip(checked, leaves, strict=True):
            filled[i] = leaf
        return filled, leaves

    def value(arrays: list[Array]) -> list[Array]:
        filled, _ = arguments(arrays, records)
        with enable_grad() if records else no_grad():
            return [y.array for y in _outputs_of(func, filled)]

    def run(arrays: list[Array]) -> Run:
        filled, leaves = arguments(arrays, True)
        with enable_grad():
            outputs = _outputs_of(func, filled)
        return Run([y.array for y in outputs], _puller(outputs, leaves), [leaf.array for leaf in leaves])

    settings = {name: x for i, (name, x) in enumerate(zip(names, given, strict=True)) if i not in checked}
    return Problem(
        _name_of(func),
        [names[i] for i in checked],
        [np.array(given[i].array, np.float64) for i in checked],
        run,
        value,
        {name: x.array if isinstance(x, TensorBase) else x for name, x in settings.items()},
        originals=[given[i].array for i in checked],
    )


def _puller(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> Callable[[list[Array]], list[Any]]:
    def pull(cotangents: list[Array]) -> list[Any]:
        roots = [(y, Tensor(g)) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
        if not roots:
            return [None] * len(leaves)
        ys, gs = zip(*roots, strict=True)
        parts = grad(list(ys), list(leaves), list(gs), retain_graph=True, allow_unused=True)
        return [None if part is None else part.array for part in parts]

    return pull


def _outputs_of(func: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    outputs = [y for y in _tuple(func(*arguments)) if isinstance(y, TensorBase) and y.dtype.kind in "fc"]
    if not outputs:
        raise GradientError(f"gradcheck: {_name_of(func)} gives no tensor of floating point: there is nothing to differentiate")
    return outputs  # type: ignore[return-value] # every TensorBase is a Tensor


def _tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _fresh(x: Any) -> tuple[Any, bool]:
    """A copy of a tensor with memory of its own, so that a function that writes into it is seen and does no harm."""
    if not isinstance(x, TensorBase):
        return x, False
    array = x.array.astype(np.float64) if x.requires_grad else x.array.copy()
    return Tensor(array, x.requires_grad), x.requires_grad


def _shapes(given: Sequence[Any]) -> str:
    """Tensors by their shapes: the values are the caller's own."""
    shown = [f"<{'x'.join(map(str, x.shape)) or 'scalar'}>" if isinstance(x, TensorBase) else repr(x) for x in given]
    return f"({', '.join(shown)})"


def _name_of(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", None) or type(func).__name__
    return "a lambda" if name == "<lambda>" else name


def _argument_names(func: Callable[..., Any], count: int) -> list[str]:
    """The function's own names for its arguments where it has any."""
    try:
        parameters = [p for p in inspect.signature(func).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    except (TypeError, ValueError):
        parameters = []
    fixed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [fixed[i] if i < len(fixed) else f"input{i}" for i in range(count)]


# ------------------------------------------------------------------------------------------------ modules


def _module_problem(
    module: Any, inputs: tuple[Any, ...], parameters: dict[str, Any], held: list[Any], state: list[Array]
) -> Problem:
    points = {f"input{i}" if i else "input": x for i, x in enumerate(inputs)}
    checked = {n: x for n, x in points.items() if isinstance(x, TensorBase) and x.dtype.kind == "f"}
    names = [*checked, *parameters]

    def placed(arrays: list[Array], recorded: bool) -> Iterator[Tensor]:
        for t, array in zip(held, state, strict=True):
            t.array = array.copy()
        for name, array in zip(names, arrays, strict=True):
            if name in checked:
                yield Tensor(array, recorded)
            else:
                parameters[name].array = array
                parameters[name].touched()
                yield parameters[name]

    def forward(arrays: list[Array], recorded: bool) -> tuple[list[Tensor], list[Tensor]]:
        leaves = list(placed(arrays, recorded))
        filled = dict(points) | dict(zip(names, leaves, strict=True))
        with enable_grad() if recorded else no_grad():
            return _outputs_of(module, [filled[name] for name in points]), leaves

    def run(arrays: list[Array]) -> Run:
        outputs, leaves = forward(arrays, True)
        return Run([y.array for y in outputs], _puller(outputs, leaves), arrays)

    return Problem(
        type(module).__name__,
        names,
        [np.array((checked.get(n, parameters.get(n))).array, np.float64) for n in names],  # type: ignore[union-attr] # one has it
        run,
        lambda arrays: [y.array for y in forward(arrays, False)[0]],
        {"training": getattr(module, "training", None)},
        reentrant=False,  # parameters are the module's own: a second pass with others would change the first one's
    )
