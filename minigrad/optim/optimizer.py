"""What optimisers share: groups of parameters with settings, state by parameter, saving and loading both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import StateDictError
from minigrad.modes import enable_grad

__all__ = ["Optimizer", "Params", "check_settings"]

#: Parameters, or groups of them: dictionaries with 'params' and settings that differ from the defaults.
Params = Iterable[TensorBase] | Iterable[dict[str, Any]]


class Optimizer:
    """Changes parameters along their gradients; a subclass says how in `update`.

    `param_groups` is a list of dictionaries: 'params' and the settings that hold for them. `state` holds for each
    parameter what was kept from earlier steps: numpy arrays and numbers.
    Raises ValueError for no parameters, for one that is no leaf or given twice, TypeError for one that is neither
    float32 nor float64.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        """Take the parameters, with settings for groups that don't say their own."""
        self.defaults = defaults
        self.state: dict[TensorBase, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, TensorBase):
            raise TypeError(f"{self._name}: an iterable of parameters expected, got a single tensor; put it into a list")
        if not _can_be_listed(params):
            raise TypeError(
                f"{self._name}: an iterable of parameters expected, such as model.parameters(), got a {type(params).__name__}"
            )
        given = list(params)
        if not given:
            raise ValueError(f"{self._name}: there are no parameters to optimise")
        groups: list[Any] = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own; what the group leaves out comes from the defaults."""
        params: Any = param_group.get("params") if isinstance(param_group, dict) else None
        if not isinstance(params, TensorBase) and not _can_be_listed(params):
            raise TypeError(f"{self._name}: a group is a dictionary whose 'params' are parameters, got {param_group!r:.80}")
        params = [params] if isinstance(params, TensorBase) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            self._check(p, known)
            known.add(id(p))
        unknown = [key for key in param_group if key not in (*self.defaults, "params", "name", "initial_lr")]
        if unknown:
            raise ValueError(f"{self._name}: unknown settings {unknown} of a group; there are {list(self.defaults)}")
        group = {"params": params, **self.defaults, **{k: v for k, v in param_group.items() if k != "params"}}
        self.check(group)
        self.param_groups.append(group)

    def _check(self, p: Any, known: set[int]) -> None:
        if not isinstance(p, TensorBase):
            raise TypeError(
                f"{self._name}: a {type(p).__name__} is no parameter; tensors expected, such as model.parameters() gives"
            )
        if not p.is_leaf:
            raise ValueError(f"{self._name}: a tensor made by {p.grad_fn!r} is no leaf and can't be optimised")
        if p.dtype not in (np.float32, np.float64):
            raise TypeError(f"{self._name}: a parameter of type {p.dtype}; float32 and float64 can be optimised")
        if id(p) in known:
            raise ValueError(f"{self._name}: a parameter of shape {list(p.shape)} is given twice")

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for settings that make no sense; a subclass says which."""

    def update(self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter's numbers and its state in place; a subclass says how."""
        raise NotImplementedError(f"{self._name} has no update")

    def update_all(self, steps: list[tuple[Array, Array, dict[str, Any]]], group: dict[str, Any]) -> None:
        """Change a group's parameters, each given with its gradient and state; a subclass may take several at once."""
        for param, grad, state in steps:
            self.update(param, grad, state, group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient. A `closure` computes loss and gradients anew; its loss is given back."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            stepped, steps = [], []
            for p in group["params"]:
                if (g := p.grad) is not None:
                    stepped.append(p)
                    steps.append((p.array, _readable(g.array, p.array), self.state.setdefault(p, {})))
            self.update_all(steps, group)
            for p in stepped:
                p.touched()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or set them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else make_tensor(np.zeros_like(p.grad.array))

    # -------------------------------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        """Settings and state in dictionaries, lists, numbers and numpy arrays, the parameters replaced by their numbers.

        The arrays are the optimiser's own, not copies: save them before the next step.
        """
        order = {id(p): i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [order[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {order[id(p)]: dict(kept) for p, kept in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, for the same parameters in the same order; arrays are copied.

        Keys that a file turned into strings and tuples that it turned into lists are understood.
        Raises StateDictError, before anything is changed, where groups or shapes don't fit, TypeError for what is no state.
        """
        if not isinstance(state_dict, Mapping) or not {"param_groups", "state"} <= state_dict.keys():
            shown = f"a {type(state_dict).__name__}" if not isinstance(state_dict, Mapping) else f"{[*state_dict]!r:.60}"
            raise TypeError(
                f"{self._name}.load_state_dict: 'param_groups' and 'state' expected, as state_dict() gives, got {shown}"
            )
        groups, state = state_dict["param_groups"], {int(i): kept for i, kept in state_dict["state"].items()}
        lengths, own = ([len(g["params"]) for g in gs] for gs in (groups, self.param_groups))
        if lengths != own:
            raise StateDictError(f"{self._name}.load_state_dict: groups of {lengths} parameters, this one has {own}")
        parameters = self._parameters()
        numbers = [int(i) for group in groups for i in group["params"]]
        place = dict(zip(numbers, parameters, strict=True))
        for i, kept in state.items():
            self._check_state(place, i, kept)
        self.state = {place[i]: _loaded(kept, place[i]) for i, kept in state.items()}
        for group, given in zip(self.param_groups, groups, strict=True):
            settings = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k != "params"}
            group.update(settings)

    def _check_state(self, place: dict[int, TensorBase], number: int, kept: Mapping[str, Any]) -> None:
        if number not in place:
            raise StateDictError(f"{self._name}.load_state_dict: state for parameter {number}, which is in no group")
        for name, value in kept.items():
            if isinstance(value, np.ndarray) and value.shape != place[number].shape:
                raise StateDictError(
                    f"{self._name}.load_state_dict: {name} of shape {list(value.shape)} "
                    f"for parameter {number} of shape {list(place[number].shape)}"
                )

    def _parameters(self) -> list[TensorBase]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        """The settings, group by group."""
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines.extend(f"    {key}: {value}" for key, value in sorted(group.items()) if key != "params")
        return "\n".join([*lines, ")"])


def _readable(grad: Array, param: Array) -> Array:
    """The gradient, of a type that kernels have beside the parameter's: none has half precision."""
    return grad.astype(param.dtype) if grad.dtype.char == "e" else grad


def _loaded(kept: Mapping[str, Any], p: TensorBase) -> dict[str, Any]:
    return {k: np.array(v, p.dtype, order="C") if isinstance(v, np.ndarray) else v for k, v in kept.items()}


def _can_be_listed(value: Any) -> bool:
    return hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def check_settings(name: str, group: dict[str, Any], *, positive: tuple[str, ...]) -> None:
    """Raise ValueError for a setting in `positive` that is below 0 (or NaN), TypeError for one that is no number."""
    for key in positive:
        try:
            fits = bool(group[key] >= 0)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: {key} = {group[key]!r} is no number") from None
        if not fits:
            raise ValueError(f"{name}: {key} = {group[key]} must not be below 0")
