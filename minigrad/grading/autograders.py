"""Results in the forms of the tools that courses use: Gradescope, Otter-Grader, nbgrader, and JUnit's XML.

Gradescope's form is that of its "Autograder Specifications" (results.json), as `gradescope_utils.autograder_utils.
json_test_runner` writes it; Otter's is what `otter run` leaves in results.json (`otter.test_files.GradingResults.
to_gradescope_dict`); nbgrader's is an autograded notebook in nbformat 4 whose cells carry metadata of schema version 3 and
whose outputs are the scores that `nbgrader.utils.determine_grade` reads; JUnit's is the schema that Jenkins' xUnit plugin
validates against.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

from minigrad.grading.results import Outcome, Result

__all__ = ["gradescope", "junit", "nbgrader", "otter"]


def gradescope(result: Result) -> str:
    """Gradescope's results.json: a score for every check and for all of them."""
    tests = [
        {
            "name": outcome.name,
            "number": str(number),
            "score": _number(result.awarded(outcome)),
            "max_score": _number(outcome.max_points),
            "status": "passed" if outcome.ok else "failed",
            "output": outcome.text(result.shown),
            "output_format": "text",
            "visibility": outcome.visibility,
        }
        for number, outcome in enumerate(result.outcomes, 1)
    ]
    whole = {
        "score": _number(result.points),
        "execution_time": round(result.seconds, 3),
        "output": _all_or_nothing(result),
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return _json(whole)


def otter(result: Result) -> str:
    """What `otter run` leaves in results.json: a summary of the public tests, then a score for each question."""
    public = [outcome for outcome in result.outcomes if not outcome.hidden]
    summary = "\n\n".join(f"{outcome.name} results: {outcome.text(result.shown)}" for outcome in public)
    tests: list[dict[str, Any]] = [
        {
            "name": "Public Tests",
            "visibility": "visible",
            "output": summary,
            "status": "passed" if all(outcome.ok for outcome in public) else "failed",
        }
    ]
    tests += [
        {
            "name": outcome.name,
            "score": round(result.awarded(outcome), 5),
            "max_score": round(outcome.max_points, 5),
            "visibility": outcome.visibility,
            "output": outcome.text(result.shown),
        }
        for outcome in result.outcomes
    ]
    return _json({"tests": tests, "output": _all_or_nothing(result), "stdout_visibility": "hidden"})


def nbgrader(result: Result) -> str:
    """An autograded notebook: a locked grade cell for each check, its score as the cell's result."""
    cells = [_cell(result, outcome, number) for number, outcome in enumerate(result.outcomes, 1)]
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {result.title}\n\n{result.submission}"}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return _json({"cells": [title, *cells], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def _cell(result: Result, outcome: Outcome, number: int) -> dict[str, Any]:
    identity = re.sub(r"\W+", "-", outcome.name, flags=re.ASCII).strip("-")[:50] or "check"
    shown = "hidden" if outcome.hidden else outcome.text(result.shown)
    score = {"data": {"text/plain": f"{result.awarded(outcome):g}"}, "execution_count": number, "metadata": {}}
    return {
        "cell_type": "code",
        "id": f"check-{number}",
        "execution_count": number,
        "source": f"# {outcome.name}",
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": shown + "\n"},
            {"output_type": "execute_result"} | score,
        ],
        "metadata": {
            "nbgrader": {
                "grade": True,
                "grade_id": f"{identity}-{number}",
                "locked": True,
                "points": _number(outcome.max_points),
                "schema_version": 3,
                "solution": False,
                "task": False,
                "cell_type": "code",
            }
        },
    }


def junit(result: Result) -> str:
    """JUnit's XML: wrong numbers are failures; exceptions, crashes and time that ran out are errors."""
    failed = [o for o in result.outcomes if o.status in ("failed", "inconclusive")]
    broken = [o for o in result.outcomes if not o.ok and o not in failed]
    counts = {"tests": str(len(result.outcomes)), "failures": str(len(failed)), "errors": str(len(broken))}
    times = {"time": f"{result.seconds:.3f}"}
    root = ET.Element("testsuites", {"name": result.title} | counts | times)
    suite = ET.SubElement(root, "testsuite", {"name": result.submission} | counts | {"skipped": "0"} | times)
    for outcome in result.outcomes:
        case = {"name": outcome.name, "classname": result.submission, "time": f"{outcome.seconds:.3f}"}
        element = ET.SubElement(suite, "testcase", case)
        if not outcome.ok:
            kind = "failure" if outcome in failed else "error"
            trouble = ET.SubElement(element, kind, {"message": outcome.summary, "type": outcome.status})
            trouble.text = "\n".join([*outcome.hints, outcome.numbers]).strip()
        if outcome.printed:
            ET.SubElement(element, "system-out").text = outcome.printed
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _all_or_nothing(result: Result) -> str:
    if result.all_or_nothing and not result.ok:
        return "Points are given when every check passes, and one did not."
    return ""


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 10)


def _json(table: dict[str, Any]) -> str:
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"
