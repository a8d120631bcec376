"""The one room that knows numba: a decorator that owns flags, cache, threads and the un-jitted path.

A kernel is a plain Python function over arrays. `@kernel` makes it a `Kernel`, which compiles on its first call and
not before, so that `import minigrad` does not pay for importing numba. Under ``NUMBA_DISABLE_JIT=1`` or inside
`python_mode()` the same function runs as plain Python: every kernel can be read, stepped through and tested that way.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from minigrad.errors import SettingError
from minigrad.kernel_cache import KernelFiles
from minigrad.kernel_compiler import Compilers, compilers
from minigrad.kernel_threads import in_parallel, launcher, outlined

__all__ = [
    "Intrinsic",
    "Kernel",
    "get_num_threads",
    "interpreted",
    "kernel",
    "late",
    "on_compile",
    "prange",
    "python_mode",
    "set_num_threads",
]

#: In plain Python a parallel range is a range; in a compiled kernel its turns are shared out to all threads.
prange = range

_OPTIONS = {
    # No "nnan"/"ninf": NaN and Inf must pass through. Reassociation lets sums use vector lanes; contraction allows FMA.
    "fastmath": {"reassoc", "contract", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "no_cfunc_wrapper": True,
}

#: Waking threads costs tens of microseconds; one thread does this many elements in that time.
_SERIAL_BELOW = 1 << 15

#: What a kernel with parallel loops is given before its arguments in order to run on the calling thread.
_ALONE = (0, 1)

#: Threads that parallel kernels use; None until numba is loaded or somebody says.
_threads: int | None = None
# One parallel kernel at a time: two would share the cores, and numba's own scheduler would abort. A signal's handler may run
# another on the thread that it interrupts, which is in between two.
_turn = threading.RLock()
_in_child = False  # of a process that had numba's threads, none of which a fork copies

_python_only = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
_listeners: list[Callable[[str], None]] = []


class Kernel:
    """A function over arrays that is compiled by numba when it is first called.

    Arrays come in, preallocated arrays go out: a kernel returns nothing (or a number), so that whoever calls it owns the
    memory.
    """

    def __init__(self, function: Callable[..., Any], *, parallel: bool, work: int | None = 0, light: int = 1) -> None:
        """Keep the function; nothing is imported or compiled yet."""
        self.python = function
        self.parallel = parallel
        self.work = work
        self.light = light
        self._compiled: Callable[..., Any] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        """Run on these arrays: compiled, or as plain Python in `python_mode()`."""
        if _python_only:
            return self.python(*args)
        compiled = self._compiled or self.dispatcher()
        if not self.parallel:
            return compiled(*args)
        if _in_child or (self.work is not None and args[self.work].size < _SERIAL_BELOW * self.light):
            return compiled(*(_ALONE + args))  # joined, which is quicker than a list of all
        with _turn:
            return compiled(_launch(), _threads, *args)

    def serial(self, *args: Any) -> Any:
        """The same on the calling thread, for arrays so small that waking a second one costs more than the work."""
        if _python_only:
            return self.python(*args)
        compiled = self._compiled or self.dispatcher()
        return compiled(*(_ALONE + args)) if self.parallel else compiled(*args)

    def dispatcher(self) -> Callable[..., Any]:
        """Numba's dispatcher for this kernel, made once. One with parallel loops takes what starts threads, and how many."""
        if self._compiled is None:
            self._compiled = self._whole()
        return self._compiled

    @functools.cached_property
    def part(self) -> Any:
        """Numba's dispatcher for kernels that call this one; a parallel loop is then an ordinary one."""
        return _compilers().part(_twin(self.python, self.python.__code__), _OPTIONS)

    def _whole(self) -> Callable[..., Any]:
        code, loops = self.python.__code__, {}
        if self.parallel:
            code, codes = outlined(self.python)
            loops = {name: _compilers().part(_twin(self.python, loop), _OPTIONS) for name, loop in codes.items()}
            loops["in_parallel"] = in_parallel()
        function = _twin(self.python, code, **loops)
        try:
            made = _compilers().whole(function, _OPTIONS, cache=True)
            files = made._cache._cache_file
            made._cache._cache_file = KernelFiles(files._cache_path, files._index_name.removesuffix(".nbi"))
            return made  # type: ignore[no-any-return]
        except RuntimeError as error:  # numba: "no locator available": neither beside the file nor in the user's cache
            if "locator" not in str(error):
                raise
            _warn_uncached()
            return _compilers().whole(function, _OPTIONS, cache=False)  # type: ignore[no-any-return]


def kernel(function: Callable[..., Any] | None = None, *, parallel: bool = False, work: int | None = 0, light: int = 1) -> Any:
    """Make a function over arrays a `Kernel`.

    With ``parallel=True`` the turns of its `prange` loops are shared out to all threads, unless the argument at position
    `work` is small; `light` says how many times as large it must be for a kernel that does little with each element. Without
    a `work`, whoever calls has found that it pays. What such a loop assigns to a variable stays in it: results go into arrays.
    """
    options: dict[str, Any] = {"parallel": parallel, "work": work, "light": light}
    return functools.partial(Kernel, **options) if function is None else Kernel(function, **options)


@contextlib.contextmanager
def python_mode() -> Iterator[None]:
    """Run every kernel as plain Python inside the block."""
    global _python_only
    before, _python_only = _python_only, True
    try:
        yield
    finally:
        _python_only = before


@contextlib.contextmanager
def on_compile(callback: Callable[[str], None]) -> Iterator[None]:
    """Call ``callback(kernel name)`` inside the block whenever a kernel is really compiled (not read from the cache)."""
    _listeners.append(callback)
    try:
        yield
    finally:
        _listeners.remove(callback)


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in parallel kernels and matrix products, whichever thread calls them; from 1 to what numba started.

    ``MINIGRAD_NUM_THREADS`` says it for a process from outside; all cores are used otherwise. Raises ValueError for more
    than ``NUMBA_NUM_THREADS`` or less than 1. Results are the same to the bit for the same number; for another number the
    weight's gradient of a convolution is rounded otherwise, being summed thread by thread, and so may be a large matrix
    product, of which BLAS is given other parts.
    """
    global _threads
    most = _numba().config.NUMBA_NUM_THREADS
    if not 1 <= n <= most:
        raise ValueError(f"set_num_threads: {n} threads asked for; this process has 1 to {most}")
    _threads = n


def get_num_threads() -> int:
    """The number of threads that parallel kernels use."""
    if _python_only or _in_child:
        return 1
    if _threads is None:
        _numba()
    return _threads or 1


def _forked() -> None:
    """A child of a process that has loaded numba works on one thread: OpenMP would end it for starting another."""
    global _in_child, _turn
    _turn = threading.RLock()  # the parent's may have been taken
    _in_child = _numba.cache_info().currsize > 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Intrinsic:
    """A function that kernels call: plain Python where they are, LLVM instructions where they are compiled."""

    def __init__(self, python: Callable[..., Any], make: Callable[[], Any]) -> None:
        """Keep the Python, and what makes the numba intrinsic when the first kernel that calls it is compiled."""
        self.python = python
        self.dispatcher = functools.cache(make)

    def __call__(self, *args: Any) -> Any:
        """Run the plain Python."""
        return self.python(*args)


def interpreted() -> bool:
    """Whether kernels run as plain Python now."""
    return _python_only


def late(module: str) -> Any:
    """A module of numba or llvmlite, imported when it is first needed."""
    _numba()
    return importlib.import_module(module)


@functools.cache
def _numba() -> Any:
    # Between two kernels OpenMP's threads wait awake for some 0.1 ms (of GNU's, a count of turns; of LLVM's, milliseconds),
    # which spares the next kernel the 40 us that waking them takes; by default they would keep a core busy for longer.
    if "OMP_WAIT_POLICY" not in os.environ:  # read on loading
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        os.environ.setdefault("KMP_BLOCKTIME", "1")
    numba = importlib.import_module("numba")  # late: it costs a quarter of a second
    global _threads
    if _threads is None:
        _threads = _wanted_threads(numba.config.NUMBA_NUM_THREADS)
    # Whether a loop could be made parallel is settled when the kernel is written, not when it runs.
    warnings.filterwarnings("ignore", category=importlib.import_module("numba.core.errors").NumbaPerformanceWarning)
    return numba


def _wanted_threads(most: int) -> int:
    """From the environment, or all there are."""
    wanted = os.environ.get("MINIGRAD_NUM_THREADS", "")
    if not wanted:
        return most
    if not wanted.isdecimal() or not 1 <= int(wanted) <= most:
        raise SettingError(f"MINIGRAD_NUM_THREADS={wanted}: a number from 1 to {most} (NUMBA_NUM_THREADS) expected")
    return int(wanted)


@functools.cache
def _launch() -> int:
    return launcher()


def _compilers() -> Compilers:
    _numba()
    return compilers(_announce)


def _announce(name: str) -> None:
    for listener in _listeners:
        listener(name)


def _twin(function: Callable[..., Any], code: types.CodeType, **more: Any) -> Callable[..., Any]:
    """A function with this code that sees the other's globals, dispatchers where its module has kernels, and some more."""
    replaced = more | {
        name: value.part if isinstance(value, Kernel) else value.dispatcher() if isinstance(value, Intrinsic) else value
        for name, value in function.__globals__.items()
        if name in code.co_names or name.startswith("__")
    }
    twin = types.FunctionType(code, replaced, code.co_name, function.__defaults__)
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    return twin


@functools.cache
def _warn_uncached() -> None:
    warnings.warn(
        "minigrad: no writable place for compiled kernels; they are compiled anew in each process "
        "(set NUMBA_CACHE_DIR to a writable folder)",
        RuntimeWarning,
        stacklevel=2,
    )
