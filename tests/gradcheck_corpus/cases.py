"""How a case is written: an operation with a right backward, and edits of its source text that make it wrong."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.checks import Problem, forward_backward_problem, loss_problem


@dataclass
class Mutant:
    """A wrong backward; `expected` gives for each wrong input the kinds of diagnosis that would name the mistake."""

    name: str
    operation: Operation
    function: Callable[..., Any]
    expected: dict[str, tuple[str, ...]]

    def problem(self) -> Problem:
        return self.operation.problem(self.function)


@dataclass
class Operation:
    """A forward with a right backward (or a loss that gives both), and the point at which it is checked."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    inputs: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    mutants: list[Mutant] = field(default_factory=list)

    def problem(self, function: Callable[..., Any] | None = None) -> Problem:
        if self.backward is None:
            return loss_problem(function or self.forward, self.inputs, self.settings, label=self.name)
        return forward_backward_problem(self.forward, function or self.backward, self.inputs, self.settings, label=self.name)

    def wrong(self, *edits: str, **expected: str | tuple[str, ...]) -> None:
        """A mutant: each edit is ``old -> new`` in the source of the backward."""
        function = self.backward or self.forward
        source = textwrap.dedent(inspect.getsource(function))
        for edit in edits:
            old, new = edit.split(" -> ", 1)
            assert source.count(old) == 1, f"{self.name}: {old!r} occurs {source.count(old)} times"
            source = source.replace(old, new)
        names = dict(function.__globals__)
        exec(compile(source, f"<{self.name}: {'; '.join(edits)}>", "exec"), names)
        kinds = {k: (v,) if isinstance(v, str) else v for k, v in expected.items()}
        self.mutants.append(Mutant(f"{self.name}: {'; '.join(edits)}", self, names[function.__name__], kinds))


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray[Any, Any]:
    return scale * np.random.default_rng([seed, *shape]).normal(size=shape)


def distinct(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """All elements different and well apart, so that no maximum is near a tie."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) - size / 2) / size * 4 + 0.01
