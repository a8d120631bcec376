"""What can only be measured in a process of its own: importing, the first step with a cold and a warm cache, memory."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import MinigradError

__all__ = ["Measured", "ProcessCase", "process_cases"]

#: Prints how long the check of every parameter and pixel of a LeNet takes, in float64 and after a first one.
_GRADCHECK = """
import time, numpy as np, minigrad as mg
from minigrad.zoo import lenet
mg.manual_seed(0)
model, x = lenet(), mg.tensor(np.random.default_rng(0).normal(size=(2, 1, 28, 28)))
mg.check_module(model, x, mode="fast")
start = time.perf_counter()
mg.check_module(model, x, mode={mode!r})
print(time.perf_counter() - start)
"""

#: The same by PyTorch's gradcheck.
_GRADCHECK_TORCH = """
import time, numpy as np, minigrad as mg, torch
from minigrad.bench.frameworks import Torch
from minigrad.zoo import lenet
mg.manual_seed(0)
model, images = lenet(), np.random.default_rng(0).normal(size=(2, 1, 28, 28))
twin = Torch().twin(model).double()
names, parameters = zip(*twin.named_parameters())
x = torch.from_numpy(images).requires_grad_()
answers = lambda x, *weights: torch.func.functional_call(twin, dict(zip(names, weights)), (x,))
torch.autograd.gradcheck(answers, (x, *parameters), fast_mode=True)
start = time.perf_counter()
torch.autograd.gradcheck(answers, (x, *parameters), fast_mode={mode!r} == "fast")
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
    """One figure of each framework that was asked: what each process gave, in seconds or bytes."""

    name: str
    values: dict[str, list[float]]
    unit: str

    def shown(self, framework: str) -> str:
        """The median, or nothing where the framework has no such case."""
        if framework not in self.values:
            return ""
        middle = float(np.median(self.values[framework]))
        return f"{middle / 2**30:.2f} GiB" if self.unit == "bytes" else f"{middle:.2f} s"

    def asdict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class ProcessCase:
    """Python code for each framework, run in new processes: their wall time is taken, or what they print."""

    name: str
    codes: Mapping[str, str] = field(default_factory=dict)
    printed: bool = False
    unit: str = "s"
    times: int = 3
    cold: bool = False

    def measure(self, frameworks: Sequence[str]) -> Measured:
        """Run each several times, in turn. Raises MinigradError where one fails."""
        asked = [name for name in frameworks if name in self.codes]
        values: dict[str, list[float]] = {name: [] for name in asked}
        with tempfile.TemporaryDirectory() as folder:
            for run in range(self.times):
                # Python keeps modules that it has compiled, as it does by default and for what is installed.
                environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
                if self.cold:
                    environment["NUMBA_CACHE_DIR"] = str(Path(folder, f"cache{run}"))
                for name in asked:
                    values[name].append(self.once(self.codes[name], environment))
        return Measured(self.name, values, self.unit)

    def once(self, code: str, environment: dict[str, str]) -> float:
        """One process."""
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        took = time.perf_counter() - start
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise MinigradError(f"bench: {self.name}: {last[0]}")
        return float(done.stdout.split()[-1]) if self.printed else took


@dataclass(frozen=True)
class _UntilShown(ProcessCase):
    """The arguments of a command of minigrad's, run on a terminal of its own until it has shown what `shows` describes."""

    shows: str = ""

    def once(self, code: str, environment: dict[str, str]) -> float:
        """From the start of the process; it is ended then."""
        try:
            terminal = importlib.import_module("pty")
        except ImportError as error:
            raise MinigradError(f"bench: {self.name}: this system has no pseudo-terminals") from error
        ours, theirs = terminal.openpty()
        with tempfile.TemporaryDirectory() as folder, os.fdopen(ours, "rb", buffering=0) as screen:
            command = [sys.executable, "-m", "minigrad", *code.split(), "--out", str(Path(folder, "run"))]
            start = time.perf_counter()
            wide = {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | wide)
            os.close(theirs)
            try:
                seen = b""
                while not re.search(self.shows.encode(), seen):
                    seen += self._read(screen, seen)
                return time.perf_counter() - start
            finally:
                process.kill()
                process.wait()

    def _read(self, screen: Any, seen: bytes) -> bytes:
        read = b""
        with contextlib.suppress(OSError):  # Linux: the other end is closed
            read = screen.read(65536)
        if not read:
            last = seen.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise MinigradError(f"bench: {self.name}: the command ended; its last line: {last[0]}")
        return read


#: A bar's first count after the zero that it begins with: a batch has been learned, the optimiser's step included.
_FIRST_BATCH = r"epoch +1/"


def process_cases() -> Iterator[ProcessCase]:
    """All of them."""
    yield ProcessCase("python and numpy, nothing else", {"minigrad": "import numpy"}, times=5)
    yield ProcessCase("import", {name: f"import {name}" for name in ("minigrad", "torch", "jax")}, times=5)
    train = {"minigrad": "train lenet"}
    yield _UntilShown("minigrad train lenet until its first step, warm cache", train, times=5, shows=_FIRST_BATCH)
    yield _UntilShown("minigrad train lenet until its first step, cold cache", train, times=2, cold=True, shows=_FIRST_BATCH)
    for mode, shown, times in (("fast", "along random directions", 3), ("full", "every element", 1)):
        codes = {"minigrad": _GRADCHECK.format(mode=mode), "torch": _GRADCHECK_TORCH.format(mode=mode)}
        yield ProcessCase(f"gradient check of LeNet, batch 2, {shown}", codes, printed=True, times=times)
    for batch in (8, 64):
        codes = {name: _MEMORY.format(name=name, batch=batch) for name in ("minigrad", "torch", "jax")}
        yield ProcessCase(f"peak memory, AlexNet step, batch {batch}", codes, printed=True, unit="bytes", times=1)
