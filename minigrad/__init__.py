"""minigrad: reverse-mode automatic differentiation that can be seen through.

import minigrad as mg
x = mg.tensor([1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
x.grad                                      # tensor([2., 4.])
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

from minigrad.core import grad
from minigrad.creation import *
from minigrad.errors import *
from minigrad.jit import get_num_threads, set_num_threads
from minigrad.modes import *
from minigrad.ops.activation import *
from minigrad.ops.arithmetic import *
from minigrad.ops.compare import *
from minigrad.ops.conv import *
from minigrad.ops.dropout import *
from minigrad.ops.extremes import *
from minigrad.ops.functions import *
from minigrad.ops.index import *
from minigrad.ops.join import *
from minigrad.ops.linalg import *
from minigrad.ops.loss import *
from minigrad.ops.mean_pool import *
from minigrad.ops.movement import *
from minigrad.ops.norm import *
from minigrad.ops.pool import *
from minigrad.ops.reduce import *
from minigrad.ops.softmax import *
from minigrad.ops.statistics import *
from minigrad.random import get_rng_state, manual_seed, set_rng_state
from minigrad.tensor import Tensor

__version__ = "0.1.0"

float16, float32, float64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
int8, int16, int32, int64 = np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)
uint8, bool_ = np.dtype(np.uint8), np.dtype(np.bool_)

_CHECKS = ("check_grads", "check_loss", "check_module", "gradcheck", "gradgradcheck")
_ROOMS = ("checks", "io", "nn", "optim", "utils", "viz", "zoo")


def __getattr__(name: str) -> Any:
    """`minigrad.nn` and the other rooms above the engine, and the names of the checks: imported when they are first named."""
    if name in _ROOMS:
        return importlib.import_module(f"minigrad.{name}")
    if name in _CHECKS:
        return getattr(importlib.import_module("minigrad.checks"), name)
    raise AttributeError(f"module 'minigrad' has no attribute {name!r}")


def _show_in_notebooks() -> None:
    """Tell a running IPython who shows tensors and models; the room that draws them is imported when the first is shown."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    page = shell.display_formatter.formatters["text/html"]
    for module, name in (("minigrad.core", "TensorBase"), ("minigrad.nn.module", "Module")):
        page.for_type_by_name(module, name, lambda value: importlib.import_module("minigrad.viz.notebook").html_of(value))


_show_in_notebooks()
