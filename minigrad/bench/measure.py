"""One case measured: every competitor's results compared with minigrad's first, then timed in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.bench.cases import Case
from minigrad.bench.frameworks import Framework
from minigrad.bench.machine import Limits
from minigrad.bench.timing import interleaved, ratio_interval
from minigrad.errors import MinigradError

__all__ = ["Result", "measure"]


@dataclass(frozen=True)
class Result:
    """What came out: seconds a run, round by round, of each competitor, minigrad first.

    `of_limit` is the fraction of the machine's limit that minigrad's fastest round reaches; `error` the largest relative
    difference between its results and another's, in the norm of an array.
    """

    name: str
    seconds: dict[str, list[float]]
    floor: float
    error: float

    @property
    def medians(self) -> dict[str, float]:
        """The median round of each."""
        return {name: float(np.median(times)) for name, times in self.seconds.items()}

    @property
    def minima(self) -> dict[str, float]:
        """The fastest round of each."""
        return {name: min(times) for name, times in self.seconds.items()}

    @property
    def of_limit(self) -> float:
        """Above 1 where the data fit into a cache, whose bandwidth is not what was measured."""
        return self.floor / self.minima["minigrad"]

    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """How many times as long each other takes as minigrad, with the ends of a bootstrap interval."""
        own = self.seconds["minigrad"]
        return {name: ratio_interval(times, own) for name, times in self.seconds.items() if name != "minigrad"}

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "name": self.name,
            "median": self.medians,
            "minimum": self.minima,
            "ratio": {name: dict(zip(("median", "low", "high"), r, strict=True)) for name, r in self.ratios().items()},
            "of_limit": self.of_limit,
            "error": self.error,
            "rounds": len(self.seconds["minigrad"]),
        }


def measure(case: Case, frameworks: list[Framework], limits: Limits, patience: float = 1.0) -> Result:
    """Compare, then time. Raises MinigradError where results differ: nothing that is wrong is timed."""
    runs = case.runs(frameworks)
    found = [framework.arrays(compared()) for framework, (_, compared) in zip(frameworks, runs, strict=True)]
    error = max((_difference(found[0], other) for other in found[1:]), default=0.0)
    if error > case.tolerance:
        raise MinigradError(f"bench: {case.name}: results differ by {error:.1e} (relative; {case.tolerance:.0e} allowed)")
    del found
    names = [framework.name for framework in frameworks]
    seconds = interleaved(dict(zip(names, (timed for timed, _ in runs), strict=True)), case.seconds * patience)
    return Result(case.name, seconds, limits.floor(case.flops, case.bytes), error)


def _difference(ours: list[Any], theirs: list[Any]) -> float:
    """The largest relative difference of two lists of arrays, each in its own norm."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise MinigradError(f"bench: results of shapes {a.shape} and {b.shape}")
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = max(worst, float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0)))
    return worst
