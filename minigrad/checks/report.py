"""What a check found: numbers, verdicts, findings, and the text that says so."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.checks.heatmap import blocks, cells, save_png
from minigrad.checks.verdict import Finding, InputReport, Verdict
from minigrad.core import Array
from minigrad.errors import GradientError

__all__ = ["GradcheckError", "Projection", "Report"]


class GradcheckError(GradientError, AssertionError):
    """A gradient is wrong; the message is the whole report, `report` the report itself."""

    def __init__(self, report: Report) -> None:
        """Carry the report and its text."""
        super().__init__(report.text())
        self.report = report


@dataclass(frozen=True)
class Projection:
    """Mode 'fast': the derivative of one input along a random direction, both ways."""

    name: str
    analytic: float
    numeric: float
    error: float
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether it gives no reason to look closer."""
        return not self.verdict.failed


@dataclass(repr=False)
class Report:
    """The result of a check; true where nothing was found wrong."""

    label: str
    mode: str
    seed: int
    findings: list[Finding]
    inputs: list[InputReport] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    cotangent: list[Array] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: A line of Python or shell that repeats this check.
    reproduce: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong: no element and no fatal finding."""
        return all(i.ok for i in self.inputs) and not any(f.fatal for f in self.findings)

    @property
    def status(self) -> str:
        """'passed', 'failed', or 'inconclusive' where nothing is wrong but no element of some input could be judged."""
        if not self.ok:
            return "failed"
        fast = {p.name for p in self.projections}
        undecided = any(i.x.size and not i.conclusive and i.name not in fast for i in self.inputs)
        return "inconclusive" if undecided else "passed"

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, name: str) -> InputReport:
        """The report on one input, by its name."""
        for report in self.inputs:
            if report.name == name:
                return report
        raise KeyError(f"no input {name!r}; there are {', '.join(i.name for i in self.inputs)}")

    @property
    def diagnoses(self) -> list[str]:
        """The short names of every hypothesis that explains a wrong gradient here, without repetition."""
        return list(dict.fromkeys(d.kind for i in self.inputs for d in i.diagnoses))

    def to_dict(self, numbers: bool = True) -> dict[str, Any]:
        """The report as plain data for JSON; without `numbers` nothing in it tells the right gradient."""
        return {
            "label": self.label,
            "status": self.status,
            "ok": self.ok,
            "mode": self.mode,
            "seed": self.seed,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "inputs": [_input_data(report, numbers) for report in self.inputs],
            "diagnoses": self.diagnoses,
            "reproduce": self.reproduce,
        }

    def text(self, numbers: bool = True) -> str:
        """The report in words; without `numbers` the table of values is left out."""
        lines = [f"gradient check of {self.label}: {self.status.upper()}"]
        lines += [f"  {'!' if finding.fatal else '-'} {finding.message}" for finding in self.findings]
        for report in self.inputs:
            lines += ["  " + line for line in _input_lines(report, self._projected(report.name), numbers)]
        if self.reproduce and not self.ok:
            lines.append(f"  again: {self.reproduce}")
        return "\n".join(lines)

    def save_pngs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """A picture of the error for each input that is wrong, as `<input>.png` in a folder; their paths.

        The folder is made where there is none. Raises OSError where a picture can't be written.
        """
        paths: list[Path] = []
        for report in self.inputs:
            if not report.ok and report.x.size:
                safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in report.name)
                Path(folder).mkdir(parents=True, exist_ok=True)
                paths.append(Path(folder) / f"{safe}.png")
                save_png(report, paths[-1])
        return paths

    def __repr__(self) -> str:
        """Short, and with the first diagnosis, since an assertion that fails shows it."""
        parts = [finding.message for finding in self.findings if finding.fatal]
        for report in (i for i in self.inputs if not i.ok):
            said = f": {report.diagnoses[0].message}" if report.diagnoses else ""
            parts.append(f"{report.name} {report.count(Verdict.WRONG)} of {report.x.size} wrong{said}")
        return f"<gradient check of {self.label}: {self.status}{'; '.join(['', *parts[:3]])}>"

    def _repr_html_(self) -> str:
        """For Jupyter: verdicts, diagnoses, the worst elements and where they are."""
        return as_html(self)

    def __str__(self) -> str:
        return self.text()

    def _projected(self, name: str) -> list[Projection]:
        return [p for p in self.projections if p.name == name]


def _input_data(report: InputReport, numbers: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": report.name,
        "shape": list(report.x.shape),
        "ok": report.ok,
        "elements": int(report.x.size),
        "verdicts": {v.name.lower(): report.count(v) for v in Verdict},
        "diagnoses": [dataclasses.asdict(d) for d in report.diagnoses],
    }
    if numbers:
        fields = ("analytic", "numeric", "error", "up", "down", "step")
        data["worst"] = [
            {"index": list(at)} | {key: _finite(getattr(report, key)[at]) for key in fields} for at in report.worst()
        ]
    return data


def _finite(number: Any) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(number) if np.isfinite(number) else None


def _input_lines(report: InputReport, projected: list[Projection], numbers: bool) -> list[str]:
    looked = int(report.verdict.size) - report.count(Verdict.SKIPPED)
    shape = "x".join(map(str, report.x.shape)) or "scalar"
    if not looked and projected:
        return [f"{report.name} ({shape}): ok along {len(projected)} random directions"]
    counts = [f"{report.count(v)} {_WORDS[v]}" for v in Verdict if v is not Verdict.SKIPPED and report.count(v)]
    head = f"{report.name} ({shape}): {', '.join(counts) or 'no elements'}"
    if looked < report.verdict.size:
        head += f" ({looked} of {report.verdict.size} elements looked at)"
    lines = [head]
    if report.ok:
        return lines
    lines += [f"  diagnosis: {diagnosis}" for diagnosis in report.diagnoses]
    if not report.diagnoses and report.count(Verdict.WRONG):
        lines.append("  diagnosis: none of the known mistakes explains these numbers")
    if numbers:
        lines += ["  " + line for line in (*_table(report), *blocks(report))]
    return lines


_WORDS = {
    Verdict.OK: "ok",
    Verdict.KINK: "at a kink",
    Verdict.UNRESOLVED: "unresolved",
    Verdict.NONFINITE: "not finite",
    Verdict.NONDETERMINISTIC: "nondeterministic",
    Verdict.WRONG: "wrong",
}


def _table(report: InputReport, count: int = 5) -> list[str]:
    """The worst elements: index, both values, the quotient's error, and the two values the quotient was made from."""
    lines = [f"{'index':>14} {'analytic':>14} {'numeric':>14} {'± error':>9} {'f(x+h)':>16} {'f(x-h)':>16} {'h':>8}"]
    for at in report.worst(count):
        index = ", ".join(map(str, at))
        lines.append(
            f"{f'[{index}]':>14} {report.analytic[at]:>14.7g} {report.numeric[at]:>14.7g} {report.error[at]:>9.1e} "
            f"{report.up[at]:>16.10g} {report.down[at]:>16.10g} {report.step[at]:>8.1e}"
        )
    if report.row is not None:
        lines.append(f"(seen in output {report.row} alone: the Jacobian's row, not the random cotangent)")
    if np.all([report.left[at] == report.right[at] for at in report.worst(count)]):
        return lines
    kinked = [at for at in report.worst(count) if abs(report.left[at] - report.right[at]) > 0.1 * abs(report.numeric[at])]
    for at in kinked[:2]:
        lines.append(f"(at {list(at)} the one-sided derivatives are {report.left[at]:.6g} and {report.right[at]:.6g})")
    return lines


# ------------------------------------------------------------------------------------------------ HTML


def as_html(report: Report) -> str:
    """A report as a fragment of HTML, with all that comes from the checked code escaped."""
    colour = {"passed": "#228833", "failed": "#d5495c"}.get(report.status, "#a3941f")
    parts = [f'<b>gradient check of {html.escape(report.label)}: <span style="color:{colour}">{report.status}</span></b>']
    parts += [f"<div>{'!' if f.fatal else '-'} {html.escape(f.message)}</div>" for f in report.findings]
    for found in report.inputs:
        head, *rest = _input_lines(found, report._projected(found.name), numbers=False)
        parts.append(f'<div style="margin-top:.5em"><b>{html.escape(head)}</b></div>')
        parts += [f"<div>{html.escape(line.strip())}</div>" for line in rest]
        if not found.ok:
            parts += [_html_table(found), cells(found)]
    if report.reproduce and not report.ok:
        parts.append(f"<div>again: <code>{html.escape(report.reproduce)}</code></div>")
    return f'<div style="font-family:sans-serif">{"".join(parts)}</div>'


def _html_table(found: InputReport) -> str:
    heads = ("index", "analytic", "numeric", "± error", "f(x+h)", "f(x-h)", "h")
    rows = []
    for at in found.worst():
        fields = (found.analytic, found.numeric, found.error, found.up, found.down, found.step)
        values = [str(list(at)), *(f"{field[at]:.7g}" for field in fields)]
        rows.append("<tr>" + "".join(f'<td style="text-align:right">{html.escape(v)}</td>' for v in values) + "</tr>")
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in heads)}</tr>{''.join(rows)}</table>"
