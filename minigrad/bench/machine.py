"""What the machine is, and what it could do at best: multiply-adds a second from registers, bytes a second from memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.vector import Block, machine_lanes, registers, run

__all__ = ["Limits", "description", "limits"]


class Limits(NamedTuple):
    """Floating-point operations and bytes a second, on all threads, in float32."""

    flops: float
    bytes: float

    def floor(self, flops: float, bytes: float) -> float:
        """The seconds that so much work takes at least (the roofline of Williams, Waterman and Patterson 2009)."""
        return max(flops / self.flops, bytes / self.bytes)


@kernel(parallel=True)
def _multiply_add(tiles, source, inner, rows, weights, rounds, block):  # type: ignore[no-untyped-def]
    for part in prange(len(tiles)):
        for _ in range(rounds):
            run(block, tiles[part], source, 0, inner, len(inner), rows, weights)


@kernel(parallel=True)
def _triad(out, a, b):  # type: ignore[no-untyped-def]
    parts = 64
    for part in prange(parts):
        here = slice(part * a.size // parts, (part + 1) * a.size // parts)
        o, x, y = out[here], a[here], b[here]
        for i in range(x.size):
            o[i] = x[i] + np.float32(3) * y[i]


def limits() -> Limits:
    """Measure both, the best of several short runs each."""
    return Limits(_peak(), _bandwidth())


def _peak() -> float:
    threads = get_num_threads()
    block = Block(1, (registers() - 4) // 2, 1, machine_lanes(), 2, "float32")
    # As many tiles as threads, but an array that is long enough not to be taken for a small one.
    tiles = np.zeros((threads, (1 << 16) // threads), np.float32)
    inner, source = np.zeros(256, np.int64), np.ones(64, np.float32)
    weights = np.full((256, block.width), 1e-6, np.float32)
    rounds = 4000
    work = 2 * block.columns * block.width * len(inner) * rounds * threads
    once = _fastest(lambda: _multiply_add(tiles, source, inner, np.zeros(1, np.int64), weights, rounds, block.handle))
    return work / once


def _bandwidth() -> float:
    arrays = [np.ones(1 << 25, np.float32) for _ in range(3)]
    return sum(a.nbytes for a in arrays) / _fastest(lambda: _triad(*arrays))


def _fastest(call: Any, times: int = 9) -> float:
    call()
    best = np.inf
    for _ in range(times):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def description() -> dict[str, Any]:
    """Processor, memory, system, versions and what of the environment decides about speed."""
    packages = ("minigrad", "numpy", "numba", "llvmlite", "scipy", "torch", "jax")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": get_num_threads(),
        "lanes": machine_lanes(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "MINIGRAD_"))
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
