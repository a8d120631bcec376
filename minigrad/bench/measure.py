"""One case measured: every competitor's results compared with minigrad's first, then timed in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigrad.bench.cases import Case
from minigrad.bench.frameworks import Framework
from minigrad.bench.machine import Limits
from minigrad.bench.timing import interleaved, ratio_interval
from minigrad.errors import MinigradError

__all__ = ["Ratio", "Result", "measure"]


class Ratio(NamedTuple):
    """How many times as long another takes as minigrad: the medians', with the ends of a bootstrap interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """What came out, for each competitor: the median and the fastest round in seconds, minigrad first.

    `flops` and `bytes` are what had to be calculated and moved at least; `of_limit` is the fraction of the machine's limit
    that minigrad's fastest round reaches, above 1 where the data fit into a cache, whose bandwidth is not what was
    measured. `error` is the largest relative difference between its results and another's, in the norm of an array.
    """

    name: str
    median: dict[str, float]
    minimum: dict[str, float]
    ratio: dict[str, Ratio]
    flops: float
    bytes: float
    of_limit: float
    error: float
    rounds: int

    @classmethod
    def of(cls, case: Case, seconds: dict[str, list[float]], limits: Limits, error: float) -> Result:
        """Of each competitor's rounds."""
        own = seconds["minigrad"]
        return cls(
            case.name,
            median={name: float(np.median(times)) for name, times in seconds.items()},
            minimum={name: min(times) for name, times in seconds.items()},
            ratio={name: Ratio(*ratio_interval(times, own)) for name, times in seconds.items() if name != "minigrad"},
            flops=case.flops,
            bytes=case.bytes,
            of_limit=limits.floor(case.flops, case.bytes) / min(own),
            error=error,
            rounds=len(own),
        )

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return vars(self) | {"ratio": {name: ratio._asdict() for name, ratio in self.ratio.items()}}

    @classmethod
    def fromdict(cls, told: dict[str, Any]) -> Result:
        """As it was when `asdict` told it."""
        return cls(**told | {"ratio": {name: Ratio(**ratio) for name, ratio in told["ratio"].items()}})


def measure(case: Case, frameworks: list[Framework], limits: Limits, patience: float = 1.0) -> Result:
    """Compare, then time. Raises MinigradError where results differ: nothing that is wrong is timed."""
    runs = case.runs(frameworks)
    found = [framework.arrays(compared()) for framework, (_, compared) in zip(frameworks, runs, strict=True)]
    error = max((_difference(found[0], other) for other in found[1:]), default=0.0)
    if not error <= case.tolerance:
        raise MinigradError(f"bench: {case.name}: results differ by {error:.1e} (relative; {case.tolerance:.0e} allowed)")
    del found
    names = [framework.name for framework in frameworks]
    seconds = interleaved(dict(zip(names, (timed for timed, _ in runs), strict=True)), case.seconds * patience)
    return Result.of(case, seconds, limits, error)


def _difference(ours: list[Any], theirs: list[Any]) -> float:
    """The largest relative difference of two lists of arrays, each in its own norm; NaN where either has one."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise MinigradError(f"bench: results of shapes {a.shape} and {b.shape}")
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = float(np.maximum(worst, np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0)))
    return worst
