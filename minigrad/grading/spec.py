"""What a teacher asks for: which functions, on which arrays, for how many points, and how much a student is told."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.core import Array
from minigrad.errors import MinigradError

__all__ = ["KINDS", "PARTS", "SHOWN", "VALUES", "VISIBILITIES", "Check", "Draw", "Spec", "SpecError"]

#: How the code is written: a pair of functions, a function that gives (loss, gradients), a `Function` class with a context, a
#: layer that keeps its cache on itself, a module of minigrad's.
KINDS = ("pair", "loss", "function", "layer", "model", "module")
#: Kinds whose parameters are their own, so that only the submission knows them.
_OWN = ("layer", "model", "module")
#: What counts: the output's values, the gradients, or both.
PARTS = ("both", "forward", "backward")
#: How much of a failure a student reads: right or wrong; also the diagnosis in words; also the numbers.
SHOWN = ("verdict", "diagnosis", "numbers")
#: As Gradescope calls them.
VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")
VALUES = ("normal", "uniform", "positive", "distinct", "integers", "zeros", "ones")


class SpecError(MinigradError, ValueError):
    """A spec that can't be used: one line with file, table, key and what would fit."""


@dataclass(frozen=True)
class Draw:
    """An array to be drawn from the seed.

    `values`: 'normal' and 'uniform' (between `low` and `high`, -1 and 1 unless given) are what they say; 'positive' lies
    between 0.5 and 2; 'distinct' are values at equal distances in random order, none nearer to 0 than half of that, for
    ReLU and maxima; 'integers' lie from `low` up to but not including `high` (labels, indices) and are not checked.
    """

    shape: tuple[int, ...]
    values: str = "normal"
    low: float | None = None
    high: float | None = None

    @property
    def checked(self) -> bool:
        """Whether there can be a gradient by it."""
        return self.values != "integers"

    def array(self, rng: np.random.Generator) -> Array:
        """The array."""
        size = math.prod(self.shape)
        if self.values == "integers":
            return rng.integers(int(self.low or 0), int(2 if self.high is None else self.high), self.shape)
        if self.values in ("zeros", "ones"):
            return np.full(self.shape, float(self.values == "ones"))
        if self.values == "distinct":
            steps = np.arange(size) - size // 2 + 0.5
            return np.asarray(rng.permutation(steps * (4.0 / max(size, 1)))).reshape(self.shape)
        if self.values == "normal":
            return np.asarray(rng.normal(size=self.shape))
        low, high = (0.5, 2.0) if self.values == "positive" else (-1.0, 1.0)
        return rng.uniform(low if self.low is None else self.low, high if self.high is None else self.high, self.shape)


@dataclass(frozen=True)
class Check:
    """One thing that is checked, in a process of its own.

    `arguments` are the positional arguments under their names, `settings` those by keyword: a `Draw` is an array from the
    seed, a dict may hold some, anything else is passed as it is. `make` are the arguments of a layer's or module's class.
    `gradients` names the arrays whose gradient is checked, in the order in which backward returns them; all drawn arrays of
    floating point unless given, and for layers all their parameters. Naming a layer's parameters makes them obligatory.

    `reference` is the right forward pass in the same form as the student's. With it the student's output is held against
    it, and the gradients against *its* difference quotients, so that no trick in the student's forward can help; without
    it the student's own forward is the measure. `verify(arguments, outputs)` looks at outputs that are not fixed
    (dropout's), and says what is wrong with them.
    """

    name: str
    function: str
    kind: str = "pair"
    backward: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    make: Mapping[str, Any] = field(default_factory=dict)
    gradients: tuple[str, ...] | None = None
    reference: Callable[..., Any] | None = None
    verify: Callable[[Mapping[str, Any], list[Array]], str | None] | None = None
    part: str = "both"
    points: float = 1.0
    partial: bool = False
    visibility: str = "visible"
    mode: str = "full"
    samples: int = 20
    rtol: float = 1e-6
    atol: float = 1e-8
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one line."""
        for what, value, known in (
            ("kind", self.kind, KINDS),
            ("part", self.part, PARTS),
            ("visibility", self.visibility, VISIBILITIES),
            ("mode", self.mode, ("full", "fast", "sample")),
        ):
            if value not in known:
                raise SpecError(f"{what}: {value!r} is not one of {', '.join(known)}")
        if (self.backward is not None) != (self.kind == "pair"):
            raise SpecError("backward: a pair needs one, and nothing else has one")
        if self.part == "forward" and self.reference is None and self.verify is None:
            raise SpecError("part: 'forward' compares with a reference; name one, or a ready check that has one")
        if self.reference is not None and self.kind in _OWN:
            raise SpecError("reference: a layer's, model's or module's parameters are its own, so a reference can't know them")
        if not math.isfinite(self.points) or self.points < 0:
            raise SpecError(f"points: {self.points} is not a number from 0 on")

    def drawn(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments and settings with every `Draw` turned into its array; the same for the same seed and name."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])

        def made(value: Any) -> Any:
            if isinstance(value, Draw):
                return value.array(rng)
            return {key: made(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value

        return {k: made(v) for k, v in self.arguments.items()}, {k: made(v) for k, v in self.settings.items()}

    @property
    def checked(self) -> tuple[str, ...] | None:
        """The arrays whose gradients are checked; None leaves it to the layer's own parameters too."""
        if self.gradients is not None or self.kind in _OWN:
            return self.gradients
        named = tuple(name for name, value in self.arguments.items() if isinstance(value, Draw) and value.checked)
        return named[:1] if self.kind == "loss" else named


@dataclass(frozen=True)
class Spec:
    """All checks of an assignment, and what holds for each of them."""

    checks: tuple[Check, ...]
    title: str = "gradient check"
    #: The submission's file, where a submission is a folder.
    file: str | None = None
    seed: int = 0
    #: Seconds, and MiB, that one check may take.
    timeout: float = 30.0
    memory: int = 1024
    shown: str = "diagnosis"
    all_or_nothing: bool = False
    #: Whether points are of interest: not where a student checks what is found by name.
    marked: bool = True
    #: Where it was read from: a submission must not read it.
    path: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one line."""
        names = [check.name for check in self.checks]
        if not names:
            raise SpecError("there is no check in it")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(f"two checks are called {twice[0]!r}")
        if self.shown not in SHOWN:
            raise SpecError(f"show: {self.shown!r} is not one of {', '.join(SHOWN)}")

    @property
    def points(self) -> float:
        """What can be had in all."""
        return sum(check.points for check in self.checks)
