"""Marking what students write: specs, a process of its own for every check, points, reports for people and for autograders.

The student's process evaluates functions and sends arrays; everything that judges runs here. `mark` is the way in.
"""

from minigrad.grading.discover import Discovery, DiscoveryError, discover
from minigrad.grading.load import load_spec
from minigrad.grading.marking import SubmissionError, mark
from minigrad.grading.ready import READY
from minigrad.grading.results import Outcome, Result
from minigrad.grading.spec import Check, Draw, Spec, SpecError

__all__ = [
    "READY",
    "Check",
    "Discovery",
    "DiscoveryError",
    "Draw",
    "Outcome",
    "Result",
    "Spec",
    "SpecError",
    "SubmissionError",
    "discover",
    "load_spec",
    "mark",
]
