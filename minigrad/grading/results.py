"""What came of a submission: plain data that goes to JSON and back, so that a run can be picked up again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Outcome", "Result"]


@dataclass
class Outcome:
    """One check.

    `status` is 'passed'; 'failed' (wrong numbers or findings); 'inconclusive' (no number of some input could be judged);
    'error' (the code raised, or is not there); 'timeout'; 'crash' (also where the process spoke nonsense). `summary` is one
    line that anybody may read, `hints` are diagnoses and findings in words, `numbers` is the whole report, `printed` the
    beginning of what the submission printed.
    """

    name: str
    status: str
    points: float
    max_points: float
    summary: str
    hints: list[str] = field(default_factory=list)
    numbers: str = ""
    printed: str = ""
    #: On which arrays, in words.
    about: str = ""
    visibility: str = "visible"
    seconds: float = 0.0
    isolation: list[str] = field(default_factory=list)
    elements: tuple[int, int] = (0, 0)

    @property
    def ok(self) -> bool:
        """Whether it passed."""
        return self.status == "passed"

    @property
    def hidden(self) -> bool:
        """Whether the student is not to read it, or not yet."""
        return self.visibility != "visible"

    def text(self, shown: str) -> str:
        """What the student reads, as far as the spec allows."""
        lines = [self.summary]
        whole = shown == "numbers" and bool(self.numbers) and not self.ok  # the report has the hints in it
        if shown != "verdict" and not whole:
            lines += self.hints
        if whole:
            lines += self.numbers.splitlines()
        if shown != "verdict" and self.printed and not self.ok:
            lines += ["", "printed:", self.printed.rstrip()]
        return "\n".join(lines)


@dataclass
class Result:
    """One submission."""

    submission: str
    title: str
    outcomes: list[Outcome]
    shown: str = "diagnosis"
    all_or_nothing: bool = False
    marked: bool = True
    seed: int = 0
    #: Of submission, spec and seed: the same key means the same result.
    key: str = ""

    @property
    def max_points(self) -> float:
        """What could be had."""
        return sum(outcome.max_points for outcome in self.outcomes)

    @property
    def points(self) -> float:
        """What was had."""
        return sum(map(self.awarded, self.outcomes))

    def awarded(self, outcome: Outcome) -> float:
        """The points for one of the outcomes: none where it is all or nothing and any check failed."""
        return 0.0 if self.all_or_nothing and not self.ok else outcome.points

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(outcome.seconds for outcome in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"points": self.points, "max_points": self.max_points, "ok": self.ok}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Result:
        """What `as_dict` gave; KeyError or TypeError for what it did not give."""
        fields = {key: value for key, value in table.items() if key not in ("points", "max_points", "ok")}
        fields["outcomes"] = [Outcome(**(o | {"elements": tuple(o["elements"])})) for o in fields["outcomes"]]
        return cls(**fields)
