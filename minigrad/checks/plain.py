"""Problems made of plain numpy code: forward/backward pairs and loss functions that give their own gradients."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.checks.problem import Problem, Run
from minigrad.core import Array
from minigrad.errors import GradientError

__all__ = ["Arguments", "forward_backward_problem", "gradients_in_order", "loss_problem"]


@dataclass(frozen=True)
class _Slot:
    """Where an array that is checked stands among the arguments: at a position, or under a key of the dict there."""

    name: str
    position: int
    key: Any = None


class Arguments:
    """A call's positional arguments and settings, some of whose arrays are checked and replaced in every evaluation."""

    def __init__(
        self,
        what: str,
        function: Callable[..., Any],
        inputs: Sequence[Any] | Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        wrt: Sequence[str] | None = None,
        skip: int = 0,
        first_only: bool = False,
        required: bool = True,
    ) -> None:
        """Name every argument after the function's own parameters (`skip` of which are not ours) and choose what is checked.

        Checked are the arguments named in `wrt`; without it every positional array of floating point, or with `first_only`
        just the first argument, which may be a dict of arrays. A name in `wrt` may be a key of a dict. ValueError where
        there is nothing to check, unless that is not `required`.
        """
        self.what = what
        if isinstance(inputs, np.ndarray):
            inputs = (inputs,)
        if isinstance(inputs, Mapping):
            self.names, self.values = [str(k) for k in inputs], list(inputs.values())
        else:
            self.values = list(inputs)
            self.names = _parameter_names(function, len(self.values), skip)
        self.settings = dict(settings or {})
        given = {*self.names, *self.settings}
        self.defaults = {k: v for k, v in _defaults(function).items() if k not in given}
        self.slots = self._chosen(wrt, first_only)
        if required and not self.slots:
            place = "first argument" if first_only else "arguments"
            raise ValueError(f"check_grads: no array of floating point in the {place} of {what}: nothing to check")
        self.originals = [self._at(slot) for slot in self.slots]
        self.arrays = [self._converted(slot.name, x) for slot, x in zip(self.slots, self.originals, strict=True)]
        self._rest = self._without(self.slots)

    def _candidates(self) -> list[_Slot]:
        slots = []
        for i, (name, value) in enumerate(zip(self.names, self.values, strict=True)):
            if isinstance(value, np.ndarray):
                slots.append(_Slot(name, i))
            elif isinstance(value, dict):
                slots += [_Slot(str(key), i, key) for key, part in value.items() if isinstance(part, np.ndarray)]
        return slots

    def _chosen(self, wrt: Sequence[str] | None, first_only: bool) -> list[_Slot]:
        slots = self._candidates()
        if wrt is not None:
            known: dict[str, _Slot] = {}
            for slot in slots:
                known.setdefault(slot.name, slot)
            for name in wrt:
                if name not in known:
                    raise ValueError(f"check_grads: {self.what} has no array {name!r}; there are {', '.join(known) or 'none'}")
            return [known[name] for name in wrt]
        chosen = [s for s in slots if self._at(s).dtype.kind == "f" and (s.key is None or (first_only and s.position == 0))]
        return [s for s in chosen if s.position == 0 or not first_only]

    def _at(self, slot: _Slot) -> Array:
        value = self.values[slot.position]
        return value if slot.key is None else value[slot.key]  # type: ignore[no-any-return] # an array, as _candidates saw

    def _without(self, slots: Sequence[_Slot]) -> list[Any]:
        """The arguments with None where a checked array belongs: what has to be copied for every call."""
        rest: list[Any] = [dict(value) if isinstance(value, dict) else value for value in self.values]
        for slot in slots:
            if slot.key is None:
                rest[slot.position] = None
            else:
                rest[slot.position][slot.key] = None
        return rest

    def _converted(self, name: str, x: Array) -> Array:
        if x.dtype.kind != "f":
            raise ValueError(f"check_grads: {name} is {x.dtype}; only arrays of floating point have a gradient")
        if x.dtype.itemsize < 8:
            message = f"check_grads: {name} is {x.dtype}; difference quotients need float64, so it is converted"
            warnings.warn(message, UserWarning, stacklevel=4)
        return np.array(x, np.float64)

    def filled(self, arrays: Sequence[Array]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments and settings for one call: all of its own memory, with the checked arrays put in their places."""
        values, settings = copy.deepcopy((self._rest, self.settings))
        for slot, array in zip(self.slots, arrays, strict=True):
            if slot.key is None:
                values[slot.position] = array
            else:
                values[slot.position][slot.key] = array
        return values, settings

    @property
    def known(self) -> dict[str, Any]:
        """What is not checked, by name, dicts of settings (such as CS231n's `conv_param`) spread out."""
        checked = {(slot.position, slot.key) for slot in self.slots}
        found: dict[str, Any] = dict(self.defaults)
        for i, (name, value) in enumerate([*zip(self.names, self.values, strict=True), *self.settings.items()]):
            if isinstance(value, dict):
                found |= {str(key): part for key, part in value.items() if (i, key) not in checked}
            elif (i, None) not in checked:
                found[name] = value
        return found

    def changed(self, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments by name and settings with some values replaced, wherever they stand; ValueError for unknown names."""
        values, settings = copy.deepcopy((dict(zip(self.names, self.values, strict=True)), self.settings))
        for name, value in changes.items():
            nested = [v for v in [*values.values(), *settings.values()] if isinstance(v, dict)]
            homes = [d for d in (values, settings, *nested) if name in d]
            if not homes and name in self.defaults:
                homes = [settings]
            if not homes:
                raise ValueError(f"check_grads: {self.what} has no setting {name!r}")
            homes[0][name] = value
        return values, settings


def forward_backward_problem(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
    label: str | None = None,
) -> Problem:
    """A pair in the style of CS231n: ``out, cache = forward(*inputs, **settings)``, ``grads = backward(dout, cache)``.

    Several outputs come before the cache (``h, c, cache``), and as many gradients go in (``backward(dh, dc, cache)``). A
    forward that returns its output alone keeps no cache: then backward is called as ``backward(dout, *inputs, **settings)``.
    `inputs` are positional arguments, in a mapping under their names. Gradients come back in the order of the checked
    arrays, one for each argument with None where there is none, or in a dict under the arrays' names (also with a `d`
    before them).
    """
    label = label or _name(forward)
    arguments = Arguments(label, forward, inputs, settings, wrt)

    def called(arrays: list[Array]) -> tuple[list[Any], tuple[Any, ...], Callable[[list[Any]], Any]]:
        values, keywords = arguments.filled(arrays)
        result = forward(*values, **keywords)
        if not isinstance(result, tuple):
            return [result], (values, keywords), lambda g: backward(*g, *values, **keywords)
        *outputs, cache = result
        if len(outputs) == 1 and isinstance(outputs[0], (tuple, list)):
            kind = type(outputs[0])
            return list(outputs[0]), (cache,), lambda g: backward(kind(g), cache)
        if not outputs:
            raise GradientError(f"{label}: forward returns a tuple of one; it should return (out, cache)")
        return outputs, (cache,), lambda g: backward(*g, cache)

    def run(arrays: list[Array]) -> Run:
        outputs, _, pull = called(arrays)
        return Run(as_outputs(outputs, label), lambda g: gradients_in_order(arguments, pull(g)), arrays)

    def again(changes: dict[str, Any]) -> Problem:
        new_inputs, new_settings = arguments.changed(changes)
        names = [slot.name for slot in arguments.slots]
        return forward_backward_problem(forward, backward, new_inputs, new_settings, wrt=names, label=label)

    return _problem(label, arguments, run, lambda arrays: as_outputs(called(arrays)[0], label), again)


def loss_problem(
    loss: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
    label: str | None = None,
) -> Problem:
    """A function that gives a number and its gradients: ``value, grads = loss(w, X, y, **settings)``.

    The gradient is by the first argument, an array or a dict of arrays, unless `wrt` names others; `grads` is one array, a
    tuple in that order or a dict. There is no incoming gradient: it counts as 1.
    """
    label = label or _name(loss)
    arguments = Arguments(label, loss, inputs, settings, wrt, first_only=wrt is None)

    def called(arrays: list[Array]) -> tuple[list[Any], Any]:
        values, keywords = arguments.filled(arrays)
        result = loss(*values, **keywords)
        if not isinstance(result, (tuple, list)) or len(result) < 2:
            raise GradientError(f"{label}: a loss must return (value, gradients), got {type(result).__name__}")
        value, *grads = result
        return as_outputs([value], label), grads[0] if len(grads) == 1 else tuple(grads)

    def run(arrays: list[Array]) -> Run:
        outputs, grads = called(arrays)
        return Run(outputs, lambda g: scaled(gradients_in_order(arguments, grads), g[0]), arrays)

    def again(changes: dict[str, Any]) -> Problem:
        new_inputs, new_settings = arguments.changed(changes)
        names = [slot.name for slot in arguments.slots]
        return loss_problem(loss, new_inputs, new_settings, wrt=names, label=label)

    problem = _problem(label, arguments, run, lambda arrays: called(arrays)[0], again)
    problem.unit = True
    return problem


def gradients_in_order(arguments: Arguments, result: Any) -> list[Any]:
    """What a backward returned, one part for each checked array; GradientError where the number does not fit."""
    names = [slot.name for slot in arguments.slots]
    if isinstance(result, Mapping):
        return by_name(arguments.what, names, result)
    if result is None and len(names) > 1:
        raise GradientError(
            f"{arguments.what}: backward gives None where {', '.join(names)} need gradients: is a return missing?"
        )
    if len(arguments.slots) == 1 and not isinstance(result, (tuple, list)):
        return [result]
    if len(arguments.slots) == 1 and isinstance(result, list) and not any(isinstance(part, np.ndarray) for part in result):
        return [result]  # an array's numbers in lists
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(parts) == len(names):
        return parts
    if len(parts) == len(arguments.values) and all(slot.key is None for slot in arguments.slots):
        return [parts[slot.position] for slot in arguments.slots]
    raise GradientError(
        f"{arguments.what}: backward gives {len(parts)} gradient{'s' * (len(parts) != 1)}, "
        f"but {len(names)} arrays are checked: {', '.join(names)}"
    )


def by_name(what: str, names: Sequence[str], result: Mapping[Any, Any]) -> list[Any]:
    """Gradients from a dict: under the array's own name, or with one of the usual marks for a derivative."""
    parts = []
    for name in names:
        keys = [key for key in derivative_names(name) if key in result]
        parts.append(result[keys[0]] if keys else None)
    if result and names and all(part is None for part in parts):
        known, wanted = ", ".join(map(str, result)), ", ".join(names)
        raise GradientError(f"{what}: gradients come as a dict with {known}, but the arrays are called {wanted}")
    return parts


def derivative_names(name: str) -> list[str]:
    """What people call the gradient of `name`."""
    return [name, f"d{name}", f"grad_{name}", f"{name}_grad", f"d_{name}", f"dL_d{name}", f"dLd{name}", f"dL{name}"]


def scaled(parts: Sequence[Any], g: Array) -> list[Any]:
    """Each part times the scalar incoming gradient, in its own type."""
    return [None if part is None else np.asarray(part) * float(g) for part in parts]


def as_outputs(outputs: Sequence[Any], label: str) -> list[Array]:
    """Outputs as arrays; GradientError for what is none."""
    arrays = [np.asarray(y) for y in outputs]
    for y in arrays:
        if y.dtype.kind == "O":
            raise GradientError(f"{label}: forward's output is {type(y.item() if y.ndim == 0 else y).__name__}, not an array")
    return arrays


def _problem(label: str, arguments: Arguments, run: Any, value: Any, again: Any) -> Problem:
    names = [slot.name for slot in arguments.slots]
    return Problem(label, names, arguments.arrays, run, value, arguments.known, again=again, originals=arguments.originals)


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    return "a lambda" if name == "<lambda>" else str(name)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _parameter_names(function: Callable[..., Any], count: int, skip: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        parameters = []
    fixed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [fixed[i] if i < len(fixed) else f"input{i}" for i in range(count)]
