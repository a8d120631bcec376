"""What can be said of one element, and of one input."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.core import Array

__all__ = ["Diagnosis", "Finding", "InputReport", "Tolerance", "Verdict"]


class Verdict(enum.IntEnum):
    """The verdict on one element of a gradient; the higher number is the worse."""

    #: Not looked at: mode 'sample' chose other elements.
    SKIPPED = 0
    #: Analytic and numeric agree.
    OK = 1
    #: The one-sided derivatives differ here and the analytic value lies between them: neither right nor wrong.
    KINK = 2
    #: The difference quotient can't resolve the question at this point (too few digits, the domain's edge): neither.
    UNRESOLVED = 3
    #: The gradient that came back is NaN or infinite.
    NONFINITE = 4
    #: Two evaluations at the same point with the same seed differ.
    NONDETERMINISTIC = 5
    #: Analytic and numeric differ by more than the quotient's own error allows.
    WRONG = 6

    @property
    def failed(self) -> bool:
        """Whether it counts against the gradient."""
        return self >= Verdict.NONFINITE


@dataclass(frozen=True)
class Tolerance:
    """Agreement means ``|a - n| <= rtol * max(|a|, |n|) + atol * min(1, largest |n| of the array) + the quotient's error``."""

    rtol: float = 1e-6
    atol: float = 1e-8

    def allowed(self, analytic: Any, numeric: Any, scale: float) -> Any:
        """The difference that is allowed before the quotient's own error is added; elementwise."""
        return self.rtol * np.maximum(np.abs(analytic), np.abs(numeric)) + self.atol * min(1.0, scale)


@dataclass(frozen=True)
class Finding:
    """Something found that is not a number that differs: `kind` is its short name, `fatal` whether it fails the check."""

    kind: str
    message: str
    fatal: bool = True
    input: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """A hypothesis that explains the numbers: its short name, the sentence, and how closely it fits (relative residual)."""

    kind: str
    message: str
    residual: float = 0.0

    def __str__(self) -> str:
        return f"{self.message} (fits to {self.residual:.0e})" if self.residual else self.message


@dataclass
class InputReport:
    """One input: its values, both gradients under the random cotangent, the quotient's error, a verdict each.

    Arrays have the input's shape, except `returned`, which is the gradient as it came back. Elements that were not looked
    at have NaN in `numeric`.
    """

    name: str
    x: Array
    returned: Any
    analytic: Array
    numeric: Array
    error: Array
    step: Array
    up: Array
    down: Array
    left: Array
    right: Array
    verdict: Array
    #: Column by column the derivative of all outputs (flat) by each element, or None where it would be too large.
    jacobian: Array | None = None
    diagnoses: list[Diagnosis] = field(default_factory=list)
    #: The output (flat) whose row of the Jacobian showed the mistake, where the random cotangent did not.
    row: int | None = None
    #: Whether the mistake shows only where equal elements move together.
    tied: bool = False

    def count(self, verdict: Verdict) -> int:
        """How many elements got this verdict."""
        return int((self.verdict == verdict).sum())

    @property
    def ok(self) -> bool:
        """Whether no element counts against it."""
        return not bool((self.verdict >= Verdict.NONFINITE).any())

    @property
    def conclusive(self) -> int:
        """How many elements are known to be right or wrong."""
        return int(self.verdict.size) - sum(self.count(v) for v in (Verdict.SKIPPED, Verdict.KINK, Verdict.UNRESOLVED))

    def difference(self) -> Array:
        """How far analytic and numeric are apart, element by element; 0 where not looked at."""
        gap = np.asarray(np.abs(self.analytic - self.numeric))
        gap[self.verdict == Verdict.SKIPPED] = 0.0
        return gap

    def worst(self, count: int = 5) -> list[tuple[int, ...]]:
        """The indices of the elements that count against it, the worst first."""
        gap = np.where(self.verdict >= Verdict.NONFINITE, np.nan_to_num(self.difference(), nan=np.inf), -1.0).reshape(-1)
        order = np.argsort(-gap, kind="stable")[:count]
        return [tuple(int(k) for k in np.unravel_index(i, self.x.shape)) for i in order if gap[i] >= 0]
