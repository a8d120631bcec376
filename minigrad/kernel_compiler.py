"""What numba's compiler does otherwise for kernels: of a kernel that only other kernels call, no machine code is made.

Numba optimises each function and makes machine code of it, then takes the optimised function into each that calls it, where
all is optimised once more, and its own machine code is never run. Here only what Python calls becomes machine code. The
functions in it are still optimised before they are taken in, without which loops over arrays out of a tuple (the optimiser's
parameters) or over short rows (2x2 pooling) were no longer made of vectors: two to four times as slow, for a second less.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["Compilers", "compilers"]


class Compilers(NamedTuple):
    """Numba's dispatchers, of two kinds: of a function and options, for what Python calls and for what kernels call."""

    whole: Callable[..., Any]
    part: Callable[..., Any]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Compiling makes millions of objects, nearly none of them garbage in circles; to look for it takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Interrupts:
    """Ctrl-C while numba compiles: its handler is called between two passes, or at the end, and in no other place.

    Handlers run wherever Python runs, and LLVM calls Python back: what is raised there is printed and lost, and numba goes on
    with a library that has no code.
    """

    def __init__(self) -> None:
        self._handler: Any = None  # whose turn comes later; None while nothing is held
        self._seen: list[Any] = []

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        handler = signal.getsignal(signal.SIGINT)
        if self._handler is not None or not callable(handler) or not _in_main_thread():  # others are never interrupted
            yield
            return
        self._handler = handler
        signal.signal(signal.SIGINT, lambda _, frame: self._seen.append(frame))
        try:
            yield
            self.let_go()
        finally:
            signal.signal(signal.SIGINT, handler)
            self._handler, self._seen = None, []

    def let_go(self) -> None:
        while self._seen and self._handler is not None and _in_main_thread():
            self._handler(signal.SIGINT, self._seen.pop(0))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_interrupts = _Interrupts()


@functools.cache
def compilers(announce: Callable[[str], None]) -> Compilers:
    """Made when numba is first needed; `announce` is told the name of what is compiled for Python to call."""
    codegen = importlib.import_module("numba.core.codegen")
    compiler = importlib.import_module("numba.core.compiler")
    dispatcher = importlib.import_module("numba.core.registry").CPUDispatcher

    class WholeLibrary(codegen.JITCodeLibrary):  # type: ignore[misc,name-defined]
        def _optimize_functions(self, module: Any) -> None:  # of the module as a whole comes soon
            module.data_layout = self._codegen._data_layout

    class PartLibrary(WholeLibrary):
        def _finalize_final_module(self) -> None:
            self._finalize_dynamic_globals()
            self._finalized = True

    class Whole(compiler.CompilerBase):  # type: ignore[misc,name-defined]
        library = WholeLibrary

        def _compile_core(self) -> Any:
            with _no_collection():
                return super()._compile_core()

        def define_pipelines(self) -> list[Any]:
            """Numba's own passes, into a library of another kind."""
            state = self.state
            state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
            self.prepare(state)
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(state)
            passes._runPass = self._then_interrupted(passes._runPass)
            return [passes]

        def _then_interrupted(self, run: Callable[..., None]) -> Callable[..., None]:
            def one(*args: Any) -> None:
                run(*args)
                _interrupts.let_go()

            return one

        def prepare(self, state: Any) -> None:
            announce(state.func_id.func_name)
            state.library.enable_object_caching()

    class Part(Whole):
        library = PartLibrary

        def prepare(self, state: Any) -> None:
            state.flags.no_compile = state.flags.no_cpython_wrapper = True

    class WholeDispatcher(dispatcher):  # type: ignore[misc,valid-type]
        def compile(self, signature: Any) -> Any:
            """Compiled, or read from the cache."""
            with _interrupts.held():
                return super().compile(signature)

    class PartDispatcher(dispatcher):  # type: ignore[misc,valid-type]
        def add_overload(self, result: Any) -> None:
            """It has no address; compiled functions that call it know it by its name."""
            result = result._replace(entry_point=result.fndesc.llvm_func_name)
            self.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
            self.overloads[tuple(result.signature.args)] = result

    def part(function: Callable[..., Any], options: dict[str, Any]) -> Any:
        return PartDispatcher(function, targetoptions=options | {"nopython": True}, pipeline_class=Part)

    def whole(function: Callable[..., Any], options: dict[str, Any], *, cache: bool) -> Any:
        made = WholeDispatcher(function, targetoptions=options | {"nopython": True}, pipeline_class=Whole)
        if cache:
            made.enable_caching()
        return made

    return Compilers(whole, part)
