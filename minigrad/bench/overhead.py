"""What one small operation costs besides its arithmetic: from Python's operator to numpy, and back as a tensor with a node.

Wholes are measured, and parts by leaving out: `numpy` is the ufunc alone; `tensor` makes a tensor of an array; `checks` is
what `Op.apply` does beyond these two (inputs' types and versions, warnings off and on, shapes of errors at hand); `dispatch`
is the way from ``x + y`` to there; `node` is what recording adds. `backward` is that of one operation within a long chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minigrad.bench.frameworks import Framework, Minigrad, Run
from minigrad.bench.timing import interleaved
from minigrad.core import make_tensor
from minigrad.modes import no_grad
from minigrad.op import REGISTRY

__all__ = ["PARTS", "WHOLES", "Overhead", "OverheadCase", "overhead_cases"]

#: In the order in which they happen; the first four make an operation without recording.
PARTS = ("numpy", "dispatch", "checks", "tensor", "node")
WHOLES = ("unrecorded", "recorded", "backward")

#: Calls in one run, so that the clock and the loop weigh nothing.
_CALLS = 100


@dataclass(frozen=True)
class Overhead:
    """Seconds of one operation, in the fastest of many rounds: minigrad's parts, and the wholes of each framework."""

    name: str
    parts: dict[str, float]
    wholes: dict[str, dict[str, float]]

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class OverheadCase:
    """An operation on tensors of 4x4: as users write it, its name in the registry, and the same of numpy."""

    operation: str
    function: Callable[..., Any]
    ufunc: Callable[..., Any]
    inputs: int

    @property
    def name(self) -> str:
        """How `--only` finds it."""
        return f"eager {self.operation} 4x4"

    def measure(self, frameworks: Sequence[Framework], patience: float = 1.0) -> Overhead:
        """Time all at once, in turns; frameworks without an eager mode are left out."""
        eager = [framework for framework in frameworks if framework.eager]
        arrays = [np.asarray(np.random.default_rng(i).normal(size=(4, 4)), np.float32) for i in range(self.inputs)]
        wholes = {(f.name, whole): run for f in eager for whole, run in zip(WHOLES, self._wholes(f, arrays), strict=True)}
        runs = wholes | {("", part): run for part, run in self._alone(arrays).items()}
        rounds = interleaved({" ".join(key): run for key, run in runs.items()}, 0.05 * patience, least=20)
        least = {key: min(rounds[" ".join(key)]) / _CALLS for key in runs}
        alone = {part: least["", part] for part in ("numpy", "tensor", "apply")}
        own = {whole: least[Minigrad.name, whole] for whole in WHOLES}
        parts = {
            "numpy": alone["numpy"],
            "dispatch": own["unrecorded"] - alone["apply"],
            "checks": alone["apply"] - alone["numpy"] - alone["tensor"],
            "tensor": alone["tensor"],
            "node": own["recorded"] - own["unrecorded"],
        }
        return Overhead(self.name, parts, {f.name: {whole: least[f.name, whole] for whole in WHOLES} for f in eager})

    def _wholes(self, framework: Framework, arrays: list[np.ndarray[Any, Any]]) -> tuple[Run, Run, Run]:
        function, functional = self.function, framework.functional
        first, *others = [framework.tensor(array) for array in arrays]
        leaf = framework.tensor(arrays[0]).requires_grad_()
        chain = leaf
        for _ in range(_CALLS):
            chain = function(functional, chain, *others)
        g = framework.tensor(arrays[0])

        def unrecorded() -> None:
            with framework.no_grad():
                for _ in range(_CALLS):
                    function(functional, first, *others)

        def recorded() -> None:
            for _ in range(_CALLS):
                function(functional, leaf, *others)

        return unrecorded, recorded, lambda: framework.grad(chain, leaf, g, retain_graph=True)

    def _alone(self, arrays: list[np.ndarray[Any, Any]]) -> dict[str, Run]:
        ufunc, apply = self.ufunc, REGISTRY[self.operation]
        tensors = [make_tensor(array) for array in arrays]
        result = ufunc(*arrays)

        def numpy() -> None:
            for _ in range(_CALLS):
                ufunc(*arrays)

        def tensor() -> None:
            for _ in range(_CALLS):
                make_tensor(result)

        def applied() -> None:
            with no_grad():
                for _ in range(_CALLS):
                    apply(*tensors)

        return {"numpy": numpy, "tensor": tensor, "apply": applied}


def overhead_cases() -> Iterator[OverheadCase]:
    """All of them."""
    zero = np.float32(0)
    yield OverheadCase("add", lambda F, x, y: x + y, np.add, 2)
    yield OverheadCase("mul", lambda F, x, y: x * y, np.multiply, 2)
    yield OverheadCase("relu", lambda F, x: F.relu(x), lambda x: np.maximum(x, zero), 1)
