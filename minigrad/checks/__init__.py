"""Gradient checking that teaches: right or wrong, element by element, and what the mistake looks like.

`gradcheck` and `gradgradcheck` check functions of tensors, `check_module` a module with every parameter by name,
`check_grads` and `check_loss` plain numpy code. All of them turn what they are given into a `Problem` over plain arrays,
and share everything after that: `check` makes a `Report` of it.
"""

from minigrad.checks.arrays import (
    check_grads,
    check_loss,
    forward_backward_problem,
    function_problem,
    layer_problem,
    loss_problem,
    model_problem,
    problem_of,
)
from minigrad.checks.compare import Options, check
from minigrad.checks.problem import Problem
from minigrad.checks.report import GradcheckError, Report
from minigrad.checks.tensors import check_module, gradcheck, gradgradcheck
from minigrad.checks.verdict import Diagnosis, Finding, InputReport, Tolerance, Verdict

__all__ = [
    "Diagnosis",
    "Finding",
    "GradcheckError",
    "InputReport",
    "Options",
    "Problem",
    "Report",
    "Tolerance",
    "Verdict",
    "check",
    "check_grads",
    "check_loss",
    "check_module",
    "forward_backward_problem",
    "function_problem",
    "gradcheck",
    "gradgradcheck",
    "layer_problem",
    "loss_problem",
    "model_problem",
    "problem_of",
]
