"""What is checked, whoever wrote it: a function of arrays and a way to pull cotangents back through it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minigrad.core import Array
from minigrad.random import get_rng_state, manual_seed, set_rng_state

__all__ = ["Problem", "Run", "Seeded", "flat", "split"]

Pull = Callable[[list[Array]], list[Any]]


class Run(NamedTuple):
    """One forward pass: its outputs, how to pull cotangents back, and the arrays as the function was given them."""

    outputs: list[Array]
    pull: Pull
    given: list[Array]


@dataclass
class Problem:
    """A function to check.

    `run` is a forward pass that can be pulled back; `value` gives the outputs only, and may be cheaper. Both are handed
    arrays of their own. `names` and `inputs` are the arrays with respect to which the derivative is checked; `settings` is
    everything else the function was given (stride, labels, dropout's p), which the diagnosis may read. `again` makes the
    same problem with other settings, where that is possible, so that a diagnosis can ask "and with stride 1?".
    """

    label: str
    names: list[str]
    inputs: list[Array]
    run: Callable[[list[Array]], Run]
    value: Callable[[list[Array]], list[Array]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    again: Callable[[dict[str, Any]], Problem] | None = None
    #: Whether two forward passes in a row and then the first one's backward must work.
    reentrant: bool = True
    #: Whether one forward pass can be pulled back more than once.
    repeatable: bool = True
    #: Whether the output is a loss that takes no incoming gradient: it is 1 then, and the numbers are the code's own.
    unit: bool = False
    #: The original arrays, before they were copied: to see whether they overlap.
    originals: Sequence[Array] = ()


class Seeded:
    """Every generator a function may draw from, set to the same place before each evaluation and put back at the end.

    Python's `random`, numpy's legacy generator and minigrad's own are known. A generator that the function keeps for
    itself is out of reach: what it draws shows up as nondeterminism.
    """

    def __init__(self, seed: int) -> None:
        """Remember the caller's states and the ones that `seed` leads to."""
        self._before = self._states()
        manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - students draw from the legacy generator
        self._start = self._states()
        self._set(self._before)

    def restart(self) -> None:
        """Every generator to the seed."""
        self._set(self._start)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """A block after which the caller's generators stand where they stood."""
        try:
            yield
        finally:
            self._set(self._before)

    @staticmethod
    def _states() -> tuple[Any, Any, Any]:
        return get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002

    @staticmethod
    def _set(states: tuple[Any, Any, Any]) -> None:
        set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])  # noqa: NPY002


def flat(outputs: Sequence[Array]) -> Array:
    """All outputs in one vector; complex ones stay complex, everything else is float64."""
    if not outputs:
        return np.zeros(0)
    kind = complex if any(np.iscomplexobj(y) for y in outputs) else float
    return np.concatenate([np.asarray(y, kind).reshape(-1) for y in outputs])


def split(vector: Array, like: Sequence[Array]) -> list[Array]:
    """A vector cut into arrays with the shapes and types of `like`: the reverse of `flat`."""
    parts, at = [], 0
    for y in like:
        parts.append(vector[at : at + y.size].reshape(y.shape).astype(y.dtype))
        at += y.size
    return parts
