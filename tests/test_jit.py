"""Kernels as such: loops on several threads, what kernels call, what is compiled, and errors."""

import signal

import numpy as np
import pytest

from minigrad.jit import kernel, on_compile, prange, python_mode
from minigrad.kernel_threads import outlined

BIG = 1 << 16


@kernel
def _multiples(to, source, factor):
    for i in range(len(to)):
        to[i] = factor * source[i]


@kernel(parallel=True)
def two_loops(out, x, parts):
    """x, then twice x, both less their first; loops in a loop, and lines before, between and behind them."""
    some = (len(x) + parts - 1) // parts
    for again in range(1, 3):
        for part in prange(parts):
            here = slice(part * some, (part + 1) * some)
            _multiples(out[here], x[here], again)
        first = out[0]
        for i in prange(len(out)):
            wide = out[i] - first
            out[i] = wide
    for part in range(3):
        out[0] += part
    return some


@kernel(parallel=True)
def strangers(out, size):
    """A slice of another length, in one of the turns."""
    for i in prange(4):
        wrong = np.empty(size if i == 3 else 2)
        out[2 * i : 2 * i + 2] = wrong


@kernel(parallel=True, work=None)
def counted(out, n):
    for i in prange(n):
        out[i] += 1


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_loops_between_other_lines_and_in_loops(parts):
    x = np.random.default_rng(parts).normal(size=BIG)
    results = []
    for run in (two_loops, two_loops.serial):
        out = np.empty_like(x)
        results.append((run(out, x, parts), out))
    with python_mode():
        out = np.empty(60)
        assert two_loops(out, x[:60], parts) == -(-60 // parts)
    expected = 2 * x - 2 * x[0]
    expected[0] = 3
    for some, found in results:
        assert some == -(-BIG // parts)
        np.testing.assert_array_equal(found, expected)
    expected[0] = 3
    np.testing.assert_array_equal(out, expected[:60])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_every_turn_runs_once(n):
    out = np.zeros(1000)
    counted(out, n)
    np.testing.assert_array_equal(out, np.arange(1000) < n)


def test_an_error_in_a_thread_reaches_the_caller():
    out = np.zeros(BIG)
    strangers(out, 2)
    for run in (strangers, strangers.serial, strangers):
        with pytest.raises(ValueError, match="cannot assign slice"):
            run(out, 5)


def test_what_a_kernel_calls_is_no_kernel_of_its_own():
    """Only what Python calls is told of, since only that is compiled to the end; the second call compiles nothing."""

    def fresh():
        made = kernel(two_loops.python, parallel=True)
        made._whole, whole = lambda: uncached(whole()), made._whole
        return made

    def uncached(dispatcher):
        dispatcher._cache.disable()
        return dispatcher

    told, run = [], fresh()
    with on_compile(told.append):
        for _ in range(2):
            run(np.empty(8), np.ones(8), 2)
    assert told == ["two_loops"]


def test_a_loop_is_given_what_it_reads_and_keeps_what_it_assigns():
    own, loops = outlined(two_loops.python)
    assert own.co_varnames[:5] == ("launch_", "threads_", "out", "x", "parts")
    assert [set(code.co_varnames[: code.co_argcount]) - {"begin_", "end_"} for code in loops.values()] == [
        {"some", "out", "x", "again"},
        {"out", "first"},
    ]
    first_line = two_loops.python.__code__.co_firstlineno
    lines = {line for code in (own, *loops.values()) for _, _, line in code.co_lines() if line}
    assert first_line < min(lines) and max(lines) < first_line + 17  # a debugger is led to the source


class Interrupting:
    """In the place of an attribute of numba's libraries that is read where LLVM calls Python back: Ctrl-C comes there, once."""

    def __init__(self):
        self.comes = True

    def __get__(self, library, _):
        on = library.__dict__.get("_object_caching_enabled", False)
        if self.comes and on:
            self.comes = False
            signal.raise_signal(signal.SIGINT)
        return on

    def __set__(self, library, value):
        library.__dict__["_object_caching_enabled"] = value


@kernel
def interrupted(out):
    out[0] += 1


def test_an_interrupt_in_the_middle_of_compiling_is_neither_lost_nor_harmful(monkeypatch):
    library = pytest.importorskip("numba.core.codegen").JITCodeLibrary
    out = np.zeros(1)
    with monkeypatch.context() as patch:
        patch.setattr(library, "_object_caching_enabled", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            interrupted(out)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    interrupted(out)
    assert out == 1
