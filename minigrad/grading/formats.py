"""A result as text for people, as JSON, and as a page of HTML; `FORMATS` has all forms by name."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

from minigrad.grading.autograders import gradescope, junit, nbgrader, otter
from minigrad.grading.results import Outcome, Result

__all__ = ["FORMATS", "as_html", "as_json", "as_text", "marks"]

_SIGNS = {"passed": "✓", "failed": "✗", "inconclusive": "?", "error": "!", "timeout": "!", "crash": "!"}


def as_text(result: Result) -> str:
    """For a terminal: a line for each check, what is wrong below it, and the sum."""
    lines = [f"{result.title}: {result.submission}, seed {result.seed}", ""]
    for outcome in result.outcomes:
        lines += _lines(result, outcome)
    return "\n".join([*lines, "", marks(result)]) + "\n"


def _lines(result: Result, outcome: Outcome) -> list[str]:
    points = f" [{result.awarded(outcome):g}/{outcome.max_points:g}]" if result.marked else ""
    hidden = " (hidden from the student)" if outcome.hidden else ""
    first, *rest = outcome.text(result.shown).splitlines()
    if outcome.about:
        rest.insert(0, f"on {outcome.about}")
    head = f"{_SIGNS[outcome.status]} {outcome.name}{points}: {first}{hidden}"
    return [head, *(f"    {line}".rstrip() for line in rest)]


def marks(result: Result) -> str:
    """The sum in one line."""
    right = sum(outcome.ok for outcome in result.outcomes)
    count = f"{right} of {len(result.outcomes)} right"
    if not result.marked:
        return count
    nothing = "; all or nothing" if result.all_or_nothing and not result.ok else ""
    return f"{count}; {result.points:g} of {result.max_points:g} points{nothing}"


def as_json(result: Result) -> str:
    """Everything that is known, for programs and for the teacher: also what a student is not shown."""
    return json.dumps(result.as_dict(), indent=2, ensure_ascii=False) + "\n"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #c62828; --open: #9a6700; }}
@media (prefers-color-scheme: dark) {{ :root {{ --good: #56d364; --bad: #ff7b72; --open: #e3b341; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin-bottom: 0; }}
.sum {{ margin: 0 0 1.5rem; }}
section {{ border-top: 1px solid var(--line); padding: .8rem 0; }}
h2 {{ font-size: 1rem; margin: 0; display: flex; gap: .6rem; }}
h2 .points {{ margin-left: auto; font-weight: normal; white-space: nowrap; }}
.passed {{ color: var(--good); }} .inconclusive {{ color: var(--open); }}
.failed, .error, .timeout, .crash {{ color: var(--bad); }}
p {{ margin: .2rem 0; }} ul {{ margin: .2rem 0; padding-left: 1.2rem; }}
pre {{ overflow-x: auto; font-size: .8rem; line-height: 1.35; }}
pre {{ padding: .6rem; border: 1px solid var(--line); border-radius: 6px; }}
.quiet {{ opacity: .75; font-size: .9rem; }}
</style>
<h1>{title}</h1>
<p class="sum">{submission}: {sum}</p>
{sections}
</html>
"""


def as_html(result: Result) -> str:
    """A page for the student: self-contained, without what is hidden."""
    seen = [outcome for outcome in result.outcomes if not outcome.hidden]
    sections = [_section(result, outcome) for outcome in seen]
    hidden = len(result.outcomes) - len(seen)
    if hidden:
        count = "One further check is" if hidden == 1 else f"{hidden} further checks are"
        sections.append(f'<section class="quiet">{count} hidden; the sum has the points of all.</section>')
    words = {"title": result.title, "submission": result.submission, "sum": marks(result)}
    return _PAGE.format(sections="\n".join(sections), **{key: html.escape(text) for key, text in words.items()})


def _section(result: Result, outcome: Outcome) -> str:
    points = f"{result.awarded(outcome):g} / {outcome.max_points:g}" if result.marked else ""
    lines = [
        f'<section><h2><span class="{outcome.status}">{_SIGNS[outcome.status]}</span> {html.escape(outcome.name)}'
        f'<span class="points">{points}</span></h2>',
        f'<p class="{outcome.status}">{html.escape(outcome.summary)}</p>',
    ]
    if outcome.about and result.shown != "verdict":
        lines.append(f'<p class="quiet">{html.escape(outcome.about)}</p>')
    if outcome.hints and result.shown != "verdict":
        lines.append("<ul>" + "".join(f"<li>{html.escape(hint)}</li>" for hint in outcome.hints) + "</ul>")
    if outcome.numbers and result.shown == "numbers" and not outcome.ok:
        told = [line for line in outcome.numbers.splitlines() if not line.lstrip().startswith("diagnosis: ")]  # it stands above
        lines.append(f"<pre>{html.escape(chr(10).join(told))}</pre>")
    if outcome.printed and result.shown != "verdict" and not outcome.ok:
        lines.append(f'<p class="quiet">printed:</p><pre>{html.escape(outcome.printed)}</pre>')
    return "\n".join([*lines, "</section>"])


FORMATS: dict[str, Callable[[Result], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": junit,
    "html": as_html,
    "gradescope": gradescope,
    "otter": otter,
    "nbgrader": nbgrader,
}
