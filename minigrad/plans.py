"""What an operation's formulas ask for, read from their signatures, and what is therefore kept and run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

__all__ = ["Formula", "Plan", "arrays_too", "formula", "plan_for"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = "arrays_too"


class Formula(NamedTuple):
    """One formula of an operation's derivative."""

    targets: tuple[int, ...]  # the inputs it gives cotangents for
    function: Callable[..., Any]
    arrays: tuple[str, ...]  # kept inputs and outputs, by position
    settings: tuple[str, ...]  # by keyword: params, "shapes", "needs"
    joint: bool
    arrays_too: bool


class Plan(NamedTuple):
    """What is run and kept for one pattern of wanted gradients."""

    needs: tuple[bool, ...]
    formulas: tuple[Formula, ...]
    inputs: tuple[tuple[str, int], ...]  # what to keep of the inputs
    outputs: tuple[tuple[str, int], ...]  # and of the outputs
    #: ``pull(node, g)``: the cotangents of the inputs, from the output's; written by `pullback.puller`.
    pull: Any = None


def arrays_too(function: _Function) -> _Function:
    """Mark a formula (of one input) that does as well for arrays: written in `Op`s, operators, and methods that both have.

    Where nothing is recorded it is given arrays, its `Op`s run their forward alone, and only the result becomes a tensor.
    """
    vars(function)[_MARK] = True
    return function


def formula(targets: tuple[int, ...], function: Callable[..., Any], joint: bool) -> Formula:
    """A formula with what it asks for; the cotangent, its first parameter, is given to all."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    arrays = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    settings = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    return Formula(targets, function, arrays, settings, joint, not joint and getattr(function, _MARK, False))


def plan_for(
    needs: tuple[bool, ...],
    owners: Sequence[str],
    slots: Sequence[str],
    outputs: Sequence[str],
    vjp: Mapping[str | tuple[str, ...], Callable[..., Any]],
    star: str | None,
) -> Plan:
    """The plan for inputs of these `needs`; `owners` names the parameter that each belongs to, `slots` the input itself.

    A formula for several inputs, or for the starred one, gives a sequence of cotangents.
    """
    formulas = []
    for key, function in vjp.items():
        wanted = (key,) if isinstance(key, str) else key
        targets = tuple(i for i, owner in enumerate(owners) if owner in wanted)
        if any(needs[i] for i in targets):
            formulas.append(formula(targets, function, not isinstance(key, str) or star in wanted))
    kept = {name for each in formulas for name in each.arrays}
    return Plan(
        needs,
        tuple(formulas),
        tuple((name, i) for i, name in enumerate(slots) if name in kept),
        tuple((name, i) for i, name in enumerate(outputs) if name in kept),
    )
