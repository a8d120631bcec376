"""Gradient checking that teaches: right or wrong, element by element, and what the mistake looks like.

`gradcheck` and `gradgradcheck` check functions of tensors, `check_module` a module with every parameter by name.
All of them turn what they are given into a `Problem` over plain arrays, and share everything after that.
"""

from minigrad.checks.report import GradcheckError, Report
from minigrad.checks.tensors import check_module, gradcheck, gradgradcheck
from minigrad.checks.verdict import Verdict

__all__ = ["GradcheckError", "Report", "Verdict", "check_module", "gradcheck", "gradgradcheck"]
