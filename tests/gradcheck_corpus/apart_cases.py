"""How the second corpus is written down: whole pieces of code, and other backwards for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minigrad.checks import Problem, problem_of
from minigrad.checks.plain import loss_problem


class Case(NamedTuple):
    """A wrong piece of code and what should be said of which input."""

    name: str
    code: Any
    inputs: tuple[Any, ...]
    expected: dict[str, tuple[str, ...]]
    settings: dict[str, Any] = {}  # noqa: RUF012 - never written to
    is_loss: bool = False

    def problem(self) -> Problem:
        if self.is_loss:
            return loss_problem(self.code, self.inputs, self.settings)
        return problem_of(self.code, None, self.inputs, self.settings)


RIGHT: list[Case] = []
WRONG: list[Case] = []


def right(name: str, code: Any, *inputs: Any, is_loss: bool = False, **settings: Any) -> None:
    RIGHT.append(Case(name, code, inputs, {}, settings, is_loss))


def wrong(name: str, code: Any, *inputs: Any, is_loss: bool = False, expect: dict[str, Any], **settings: Any) -> None:
    kinds = {k: (v,) if isinstance(v, str) else v for k, v in expect.items()}
    WRONG.append(Case(name, code, inputs, kinds, settings, is_loss))


def with_backward(cls: type, backward: Callable[..., Any]) -> type:
    """The class with another backward."""
    kept = staticmethod(backward) if isinstance(vars(cls)["backward"], staticmethod) else backward
    return type(cls.__name__, (cls,), {"backward": kept})
