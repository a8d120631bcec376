"""What the calling thread has switched on: recording, anomaly detection, the module whose forward is running."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import threading
from types import TracebackType
from typing import Any

import numpy as np

__all__ = [
    "detect_anomaly",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "modes",
    "no_grad",
    "set_grad_enabled",
    "within_operation",
]


_within = contextvars.ContextVar("within", default=False)


def within_operation() -> bool:
    """Whether an operation's forward is running on this thread, numpy's warnings being off."""
    return _within.get()


class _Modes:
    """The switches of one thread."""

    __slots__ = ("_watcher", "called", "grad", "looking", "observed", "on_arrays", "paths", "quietly", "scope")

    def __init__(self) -> None:
        """As every thread begins: recording."""
        self.grad = True
        #: Dotted path of the module whose forward is running, for pictures and tables; kept by nn.Module.
        self.scope: str | None = None
        #: The paths of all modules under the outermost that is running, by their ids; None while none is.
        self.paths: dict[int, list[str]] | None = None
        #: The name by which the next module is called, where its caller knows it.
        self.called: str | None = None
        #: Whether anomaly detection or a watcher is on, which every operation asks: one look instead of two.
        self.observed = False
        #: Whether a formula runs on arrays (`plans.arrays_too`): an operation then takes them and gives an array.
        self.on_arrays = False
        #: Whether the first NaN or Inf raises. Read it, and set it by `anomaly`, which keeps `observed` true as well.
        self.looking = False
        self._watcher: Any = None
        quiet = contextvars.Context()
        quiet.run(np.seterr, all="ignore")
        quiet.run(_within.set, True)
        #: ``quietly(function, *arguments)`` calls with numpy's warnings off: Inf and NaN come in silence, as floating point
        #: has them. A context entered again and again costs a tenth of what `numpy.errstate` does.
        self.quietly = quiet.run

    @property
    def anomaly(self) -> bool:
        """Whether the first NaN or Inf raises."""
        return self.looking

    @anomaly.setter
    def anomaly(self, value: bool) -> None:
        self.looking = value
        self.observed = value or self._watcher is not None

    @property
    def watcher(self) -> Any:
        """For who looks on: called, if set, with each node as it is recorded, the list of arrays that went in (None where
        an input is absent) and the array that came out.
        """
        return self._watcher

    @watcher.setter
    def watcher(self, value: Any) -> None:
        self._watcher = value
        self.observed = self.looking or value is not None


class _OfThread(threading.local):
    def __init__(self) -> None:
        """Run for each thread that looks."""
        #: The calling thread's. An operation asks several of them, and a look at a thread-local takes three times as long as
        #: one at an attribute.
        self.now = _Modes()


modes = _OfThread()


class _Switch(contextlib.ContextDecorator):
    """Sets one mode inside a block or a decorated function; may be entered again while it is entered."""

    _mode = "grad"

    def __init__(self, value: bool) -> None:
        self._value = value
        self._before: list[bool] = []

    def __call__(self, func: Any) -> Any:
        """The function with the mode set whenever its body runs: a generator's too, and not between its values."""
        return _switched(self, func) if inspect.isgeneratorfunction(func) else super().__call__(func)

    def _recreate_cm(self) -> _Switch:
        twin = _Switch(self._value)
        twin._mode = self._mode
        return twin

    def __enter__(self) -> None:
        now = modes.now
        self._before.append(getattr(now, self._mode))
        setattr(now, self._mode, self._value)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        setattr(modes.now, self._mode, self._before.pop())


def _switched(switch: _Switch, func: Any) -> Any:
    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        generator = func(*args, **kwargs)
        resume, given = generator.send, None
        while True:
            with switch._recreate_cm():
                try:
                    value = resume(given)
                except StopIteration as stop:
                    return stop.value
            try:
                resume, given = generator.send, (yield value)
            except BaseException as error:  # thrown in from outside, to be met where the generator waits
                resume, given = generator.throw, error

    return wrapped


class _BareSwitch(_Switch):
    """A switch that says all by its name, so that it decorates with or without brackets."""

    _fixed: bool

    def __new__(cls, func: Any = None) -> Any:
        """The switch, or the function that it decorates."""
        return super().__new__(cls) if func is None else cls()(func)

    def __init__(self) -> None:
        super().__init__(self._fixed)


class no_grad(_BareSwitch):
    """Record nothing inside the block: results don't require a gradient."""

    _fixed = False


class enable_grad(_BareSwitch):
    """Record inside the block, also within `no_grad`."""

    _fixed = True


class inference_mode(_Switch):
    """Record nothing inside the block; the name that PyTorch gives to code that will never ask for gradients."""

    def __init__(self, mode: bool = True) -> None:
        """Switch recording off (or on, with ``mode=False``)."""
        super().__init__(not mode)


class set_grad_enabled(_Switch):
    """Record or not, as `mode` says; as a statement it lasts until it is set again, as a block until its end."""

    def __init__(self, mode: bool) -> None:
        """Set it now; leaving a `with` block, or decorating a function, puts back what was set before this call."""
        super().__init__(mode)
        self._before.append(modes.now.grad)
        modes.now.grad = mode

    def __call__(self, func: Any) -> Any:
        """The function with the mode set while it runs; here and now it is as it was before."""
        modes.now.grad = self._before.pop()
        return super().__call__(func)

    def __enter__(self) -> None:
        """Nothing more to do: it was set when it was made."""


class detect_anomaly(_Switch):
    """Raise `AnomalyError` where the first NaN or Inf appears, forward or backward, naming operation and user line.

    Each operation's result is looked at, and each records the line that called it: for finding a fault, not for use.
    """

    _mode = "anomaly"

    def __init__(self, mode: bool = True) -> None:
        """Switch detection on (or off, with ``mode=False``) for the block."""
        super().__init__(mode)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require a gradient are recorded."""
    return bool(modes.now.grad)
