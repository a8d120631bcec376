"""What can only be measured in a process of its own: importing, the first step with a cold and a warm cache, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import MinigradError

__all__ = ["Measured", "ProcessCase", "process_cases"]

_FIRST_STEP = """
import numpy as np, minigrad as mg
from minigrad import nn, optim
from minigrad.zoo import lenet
model = lenet()
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
x, y = mg.tensor(np.ones((32, 1, 28, 28), np.float32)), mg.tensor(np.arange(32) % 10)
nn.functional.cross_entropy(model(x), y).backward()
optimizer.step()
"""

_GRADCHECK = """
import time, numpy as np, minigrad as mg
from minigrad.zoo import lenet
mg.manual_seed(0)
model, x = lenet(), mg.tensor(np.random.default_rng(0).normal(size=(2, 1, 28, 28)))
start = time.perf_counter()
report = mg.check_module(model, x)
print(time.perf_counter() - start)
"""

#: Prints how many bytes the process grew at most while it made two steps.
_MEMORY = """
import resource, numpy as np
from minigrad.bench import FRAMEWORKS
from minigrad.zoo import alexnet
framework = FRAMEWORKS[{name!r}]()
rng = np.random.default_rng(0)
images, labels = rng.normal(size=({batch}, 3, 227, 227)).astype(np.float32), rng.integers(0, 10, {batch})
_, step, _ = framework.network(alexnet(), images, labels)
step(); step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@dataclass(frozen=True)
class Measured:
    """One figure, as it is shown, and PyTorch's where there is one."""

    name: str
    shown: str
    other: str | None
    values: list[float]

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class ProcessCase:
    """Python code run in a new process: its wall time is taken, or what it prints."""

    name: str
    code: str
    other: str | None = None  # the same for PyTorch
    printed: bool = False
    unit: str = "s"
    times: int = 3
    cold: bool = False

    def measure(self, with_torch: bool) -> Measured:
        """Run it several times; the median counts. Raises MinigradError where the code fails."""
        with tempfile.TemporaryDirectory() as folder:
            cache = folder if self.cold else None
            values = [self._once(self.code, cache, i) for i in range(self.times)]
        other = [self._once(self.other, None, 0) for _ in range(self.times)] if self.other and with_torch else None
        return Measured(self.name, self._show(values), self._show(other) + " (torch)" if other else None, values)

    def _show(self, values: list[float]) -> str:
        middle = float(np.median(values))
        return f"{middle / 2**30:.2f} GiB" if self.unit == "bytes" else f"{middle:.2f} s"

    def _once(self, code: str, cache: str | None, run: int) -> float:
        environment = dict(os.environ)
        if cache is not None:
            environment["NUMBA_CACHE_DIR"] = str(Path(cache, str(run)))
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        took = time.perf_counter() - start
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise MinigradError(f"bench: {self.name}: {last[0]}")
        return float(done.stdout.split()[-1]) if self.printed else took


def process_cases() -> Iterator[ProcessCase]:
    """All of them."""
    yield ProcessCase("python and numpy, nothing else", "import numpy", times=5)
    yield ProcessCase("import minigrad", "import minigrad", "import torch", times=5)
    yield ProcessCase("process with LeNet's first step, warm cache", _FIRST_STEP, times=5)
    yield ProcessCase("process with LeNet's first step, cold cache", _FIRST_STEP, times=2, cold=True)
    yield ProcessCase("check_module(LeNet), batch 2", _GRADCHECK, printed=True, times=2)
    for batch in (8, 64):
        yield ProcessCase(
            f"peak memory, AlexNet step, batch {batch}",
            _MEMORY.format(name="minigrad", batch=batch),
            _MEMORY.format(name="torch", batch=batch),
            printed=True,
            unit="bytes",
            times=1,
        )
