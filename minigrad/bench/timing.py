"""How time is taken: competitors in turn, round by round, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["interleaved", "ratio_interval"]

#: Seconds for which a turn lasts at least; a run that is shorter is repeated within its turn. In a turn of 2 ms the caches hold
#: what the pause and the other competitors have left: a LeNet step of one image took twice as long as in a loop.
_TURN = 3e-2
#: A pause before each turn: the threads of whoever was last may still be spinning and would steal a core.
_PAUSE = 3e-3
#: A round of so many seconds is long, and few of them are enough: they scatter less.
_LONG, _FEW = 3.0, 3


def interleaved(runs: Mapping[str, Callable[[], Any]], seconds: float, least: int = 5) -> dict[str, list[float]]:
    """Seconds a run of each, one number for each round.

    Rounds go on until `seconds` are spent for each competitor, or `least` rounds are done, whichever is later (three
    where a round takes longer than `_LONG` seconds). The order within a round rotates. Each has run twice before the
    clock starts, so compiling is not counted.
    """
    repeats = {name: _repeats(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    collecting = gc.isenabled()
    gc.disable()  # a collection would hit one competitor for what another has left
    try:
        began = time.perf_counter()
        while not _enough(len(times[order[0]]), time.perf_counter() - began, seconds * len(runs), least):
            for name in order:
                time.sleep(_PAUSE)
                times[name].append(_turn(runs[name], repeats[name]))
            order = order[1:] + order[:1]
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return times


def _enough(rounds: int, spent: float, wanted: float, least: int) -> bool:
    if rounds >= _FEW and spent > rounds * _LONG:
        return True
    return rounds >= least and spent >= wanted


def _turn(run: Callable[[], Any], repeats: int) -> float:
    if repeats > 1:  # wakes the threads and fills the caches, which a long run does by itself
        run()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def _repeats(run: Callable[[], Any]) -> int:
    run()
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    return max(1, min(1000, round(_TURN / max(once, 1e-7))))


def ratio_interval(slow: list[float], fast: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """How many times as long `slow` takes as `fast`: the ratio of medians, and the middle 95 % of it under resampling.

    Rounds are resampled in pairs, as both met the same machine (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13: percentile interval).
    """
    a, b = np.array(slow), np.array(fast)
    rounds = np.random.default_rng(0).integers(0, len(a), (draws, len(a)))
    ratios = np.median(a[rounds], axis=1) / np.median(b[rounds], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(a) / np.median(b)), float(low), float(high)
