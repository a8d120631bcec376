"""Problems made of classes: `Function` classes with a context, layers that keep their cache on self, models with a loss."""

from __future__ import annotations

import contextlib
import copy
import inspect
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.checks.plain import (
    Arguments,
    as_outputs,
    by_name,
    derivative_names,
    gradients_in_order,
    scaled,
)
from minigrad.checks.problem import Problem, Run
from minigrad.core import Array
from minigrad.errors import GradientError

__all__ = ["Context", "function_problem", "layer_problem", "model_problem"]

_CONTEXT_NAMES = ("ctx", "context", "cx", "cache")


class Context:
    """What a `Function`'s forward leaves for its backward: `save_for_backward`, and any attribute.

    What was saved is read as `saved_tensors`, `saved_values` or `saved_arrays`, as courses variously call it.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        """Nothing saved yet."""
        self.needs_input_grad = needs_input_grad
        self.no_grad = False
        self.save_for_backward()

    def save_for_backward(self, *values: Any) -> None:
        """Keep values for backward."""
        self.saved_tensors = self.saved_values = self.saved_arrays = values


def takes_context(function: Any) -> bool:
    """Whether a class's forward is static (or a class method) and its first parameter is a context."""
    forward = getattr(function, "forward", None)
    if not inspect.isclass(function) or forward is None:
        return False
    if not isinstance(inspect.getattr_static(function, "forward"), (staticmethod, classmethod)):
        return False
    names = list(inspect.signature(forward).parameters)
    return bool(names) and names[0].lower() in _CONTEXT_NAMES


def function_problem(
    function: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
) -> Problem:
    """A class with static ``forward(ctx, *inputs, **settings)`` and ``backward(ctx, *grads)``; `ctx` is a `Context`.

    Backward gives a gradient for each checked array, or one for each argument with None where there is none.
    """
    label = function.__name__
    arguments = Arguments(label, function.forward, inputs, settings, wrt, skip=1)
    checked = {slot.position for slot in arguments.slots}
    needs = tuple(i in checked for i in range(len(arguments.values)))

    def called(arrays: list[Array]) -> tuple[Context, list[Array]]:
        values, keywords = arguments.filled(arrays)
        context = Context(needs)
        result = function.forward(context, *values, **keywords)
        return context, as_outputs(result if isinstance(result, tuple) else [result], label)

    def run(arrays: list[Array]) -> Run:
        context, outputs = called(arrays)
        return Run(outputs, lambda g: gradients_in_order(arguments, function.backward(context, *g)), arrays)

    def again(changes: dict[str, Any]) -> Problem:
        new_inputs, new_settings = arguments.changed(changes)
        return function_problem(function, new_inputs, new_settings, wrt=[s.name for s in arguments.slots])

    names = [slot.name for slot in arguments.slots]
    return Problem(
        label,
        names,
        arguments.arrays,
        run,
        lambda arrays: called(arrays)[1],
        arguments.known,
        again=again,
        originals=arguments.originals,
    )


def layer_problem(
    layer: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
) -> Problem:
    """A layer that keeps its cache on itself: ``out = layer.forward(*inputs)``, then ``dx = layer.backward(dout)``.

    `layer` is the layer, or a class or function that makes one when called without arguments. Every evaluation has a deep
    copy of it, so that it stays as it was. Its parameters are checked beside the inputs: the arrays in the dict or list
    `params`, whose gradients stand in `grads` after backward, and array attributes `W` beside which a gradient stands as
    `dW`, `grad_W`, `W_grad` or `dLdW`.
    """
    label = getattr(layer, "__name__", None) or type(layer).__name__
    made = layer() if inspect.isclass(layer) or inspect.isfunction(layer) else layer
    template = _in_float64(copy.deepcopy(made))
    every = Arguments(label, template.forward, inputs, settings, required=False)
    chosen = None if wrt is None else [name for name in wrt if name in every.names]
    arguments = Arguments(label, template.forward, inputs, settings, chosen, required=False)
    values, keywords = arguments.filled(arguments.arrays)
    slots = _parameters(template, values, keywords, label)
    taken = {slot.name for slot in arguments.slots}
    slots = [slot for slot in slots if slot.name not in taken and (wrt is None or slot.name in wrt)]
    for slot in slots:
        slot.clear(template)
    names = [*(slot.name for slot in arguments.slots), *(slot.name for slot in slots)]
    unknown = [name for name in wrt or [] if name not in names]
    if unknown or not names:
        raise ValueError(
            f"check_grads: {label} has no array {unknown[0]!r}" if unknown else f"check_grads: {label} has no array"
        )
    split_at = len(arguments.slots)

    def called(arrays: list[Array]) -> tuple[Any, list[Array], list[Array]]:
        mine = copy.deepcopy(template)
        given = [*arrays[:split_at], *(slot.put(mine, x) for slot, x in zip(slots, arrays[split_at:], strict=True))]
        values, keywords = arguments.filled(arrays[:split_at])
        result = mine.forward(*values, **keywords)
        return mine, as_outputs(result if isinstance(result, (tuple, list)) else [result], label), given

    def run(arrays: list[Array]) -> Run:
        mine, outputs, given = called(arrays)

        def pull(cotangents: list[Array]) -> list[Any]:
            used = copy.deepcopy(mine)  # gradients may be added up on the layer: each pull begins where forward ended
            result = used.backward(*cotangents)
            parts = gradients_in_order(arguments, result) if split_at else []
            return [*parts, *(slot.gradient(used) for slot in slots)]

        return Run(outputs, pull, given)

    def again(changes: dict[str, Any]) -> Problem:
        inner = {k: v for k, v in changes.items() if k not in arguments.names and hasattr(template, k)}
        new_inputs, new_settings = arguments.changed({k: v for k, v in changes.items() if k not in inner})
        other = copy.deepcopy(template)
        for key, value in inner.items():
            setattr(other, key, value)
        return layer_problem(other, new_inputs, new_settings, wrt=names)

    plain = {k: v for k, v in _attributes(template).items() if isinstance(v, (bool, int, float, str, tuple))}
    starts = [slot.get(template).copy() for slot in slots]
    return Problem(
        label,
        names,
        [*arguments.arrays, *starts],
        run,
        lambda arrays: called(arrays)[1],
        plain | arguments.known,
        again=again,
        reentrant=False,
        originals=arguments.originals,
    )


def model_problem(
    model: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
) -> Problem:
    """A model in the style of CS231n: a dict `model.params`, and ``value, grads = model.loss(*inputs, **settings)``."""
    label = type(model).__name__
    template = _in_float64(copy.deepcopy(model))
    arguments = Arguments(label, template.loss, inputs, settings, [], required=False)
    names = list(wrt if wrt is not None else template.params)
    unknown = [name for name in names if name not in template.params]
    if unknown:
        raise ValueError(f"check_grads: {label} has no parameter {unknown[0]!r}; there are {', '.join(template.params)}")

    def called(arrays: list[Array]) -> tuple[list[Array], Any]:
        mine = copy.deepcopy(template)
        for name, x in zip(names, arrays, strict=True):
            mine.params[name] = x
        values, keywords = arguments.filled([])
        result = mine.loss(*values, **keywords)
        if not isinstance(result, tuple) or len(result) != 2:
            raise GradientError(f"{label}.loss must return (value, gradients), got {type(result).__name__}")
        return as_outputs([result[0]], label), result[1]

    def run(arrays: list[Array]) -> Run:
        outputs, grads = called(arrays)
        return Run(outputs, lambda g: scaled(by_name(label, names, grads), g[0]), arrays)

    def again(changes: dict[str, Any]) -> Problem:
        inner = {k: v for k, v in changes.items() if k not in arguments.names and hasattr(template, k)}
        new_inputs, new_settings = arguments.changed({k: v for k, v in changes.items() if k not in inner})
        other = copy.deepcopy(template)
        for key, value in inner.items():
            setattr(other, key, value)
        return model_problem(other, new_inputs, new_settings, wrt=names)

    plain = {k: v for k, v in _attributes(template).items() if isinstance(v, (bool, int, float, str))}
    starts = [np.array(template.params[name], np.float64) for name in names]
    problem = Problem(
        label, names, starts, run, lambda arrays: called(arrays)[0], plain | arguments.known, again=again, reentrant=False
    )
    problem.unit = True
    return problem


# ------------------------------------------------------------------------------------------------ parameters of a layer


class _Parameter:
    """One parameter of a layer: how to read it, replace it, and read its gradient."""

    def __init__(self, name: str, home: Callable[[Any], Any], key: Any, gradient: Callable[[Any], Any]) -> None:
        self.name, self.home, self.key, self.gradient = name, home, key, gradient

    def get(self, layer: Any) -> Array:
        return self.home(layer)[self.key]  # type: ignore[no-any-return] # an array, by construction

    def clear(self, layer: Any) -> None:
        """Begin with a gradient of zero, as layers that add theirs up expect."""
        with contextlib.suppress(Exception):  # most have none yet
            held = self.gradient(layer)
            if isinstance(held, np.ndarray):
                held[...] = 0.0

    def put(self, layer: Any, array: Array) -> Array:
        """Written in place, so that every other name the layer has for the same array sees it."""
        mine = self.get(layer)
        mine[...] = array
        return mine


def _parameters(template: Any, values: list[Any], keywords: dict[str, Any], label: str) -> list[_Parameter]:
    """Look where a layer keeps parameters and, after one pass in a copy of it, where it keeps their gradients."""
    trial = copy.deepcopy(template)
    before = {k: v for k, v in _attributes(template).items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
    try:
        out = trial.forward(*values, **keywords)
        outputs = out if isinstance(out, (tuple, list)) else [out]
        trial.backward(*(np.ones(np.shape(y)) for y in outputs))
    except Exception as error:  # whatever the layer raises is its author's to read
        raise GradientError(f"{label}: forward and backward do not run: {type(error).__name__}: {error}") from error
    if getattr(template, "params", None) is not None:
        return _listed(template.params, trial.grads) if hasattr(trial, "grads") else []
    found = []
    for name in before:
        key = next((k for k in derivative_names(name)[1:] if hasattr(trial, k)), None)
        if key is not None:
            found.append(_Parameter(name, _attributes, name, operator.attrgetter(key)))
    return found


def _listed(params: Any, grads: Any) -> list[_Parameter]:
    keys = list(params) if isinstance(params, dict) else range(len(params))
    slots = []
    for key in keys:
        if not isinstance(params[key], np.ndarray) or params[key].dtype.kind != "f":
            continue
        name = str(key) if isinstance(params, dict) else f"params[{key}]"
        slots.append(_Parameter(name, lambda layer: layer.params, key, _reader(key, isinstance(grads, dict))))
    return slots


def _reader(key: Any, named: bool) -> Callable[[Any], Any]:
    """How to read the gradient of `params[key]` from a layer's `grads`."""
    keys = derivative_names(str(key)) if named else [key]

    def read(used: Any) -> Any:
        if not named:
            return used.grads[key]
        return next((used.grads[k] for k in (key, *keys) if k in used.grads), None)

    return read


def _attributes(layer: Any) -> dict[str, Any]:
    """A layer's own attributes; none where it has only slots."""
    return getattr(layer, "__dict__", {})


def _in_float64(layer: Any) -> Any:
    """Every array of floating point that the layer holds, directly or in a dict or list, in float64; same arrays stay same."""
    seen: dict[int, Array] = {}

    def wide(x: Any) -> Any:
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return x
        if x.dtype.itemsize < 8 and not seen:
            message = (
                f"check_grads: {type(layer).__name__} holds {x.dtype}; difference quotients need float64, so it is converted"
            )
            warnings.warn(message, UserWarning, stacklevel=5)
        return seen.setdefault(id(x), x.astype(np.float64))

    for name, value in list(_attributes(layer).items()):
        if isinstance(value, np.ndarray):
            setattr(layer, name, wide(value))
        elif isinstance(value, dict):
            value.update({k: wide(v) for k, v in value.items()})
        elif isinstance(value, list):
            value[:] = [wide(v) for v in value]
    return layer
