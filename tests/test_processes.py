"""What can only be seen from outside a process: forks, caches, threads set by the environment."""

import os
import subprocess
import sys

import pytest

STEP = """
import numpy as np, minigrad as mg, minigrad.nn.functional as F
rng = np.random.default_rng(0)
x, w = (mg.tensor(rng.normal(size=s).astype(np.float32)) for s in ((64, 3, 12, 12), (4, 3, 3, 3)))
def numbers():
    return F.softmax(F.conv2d(x, w), 1).numpy().tobytes(), (w.reshape(4, 27) @ w.reshape(4, 27).T).numpy().tobytes()
"""


def python(code, **environment):
    """Run in a new process with these variables; give what it printed, and what went wrong."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP + code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_forked_child_calculates_the_same(layer):
    code = """
before = numbers()
child = os.fork() if (os := __import__("os")) else None
if child == 0:
    os._exit(0 if numbers() == before and mg.get_num_threads() == 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = python(code, NUMBA_THREADING_LAYER=layer)
    assert done.stdout.split() == ["0"], done.stderr


def test_threads_that_calculate_at_once(tmp_path):
    code = """
import threading
before, found = numbers(), []
many = [threading.Thread(target=lambda: found.append(numbers() == before)) for _ in range(6)]
[t.start() for t in many]; [t.join() for t in many]
print(found.count(True), mg.get_num_threads())
"""
    done = python(code, NUMBA_THREADING_LAYER="workqueue", MINIGRAD_NUM_THREADS="1")
    assert done.stdout.split() == ["6", "1"], done.stderr


def test_the_number_of_threads_must_be_one():
    done = python("mg.get_num_threads()", MINIGRAD_NUM_THREADS="many")
    assert "MINIGRAD_NUM_THREADS=many: a number from 1 to" in done.stderr


@pytest.mark.slow
def test_a_damaged_cache_is_compiled_anew(tmp_path):
    code = """
import sys
from minigrad.jit import on_compile
compiled = []
with on_compile(compiled.append):
    import hashlib; print(hashlib.sha256(b"".join(numbers())).hexdigest(), len(compiled))
"""
    first, count = python(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout.split()
    assert int(count) > 0
    assert python(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout.split() == [first, "0"]
    files = sorted(tmp_path.rglob("*.mgk"))
    for i, file in enumerate(files):  # a bit turned over, cut off, empty, somebody else's
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes([content, content[:-9], b"", b"no kernel at all" * 9][i % 4])
    again = python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert again.stdout.split() == [first, count], again.stderr


@pytest.mark.slow
def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    code = STEP + "print(hash(numbers()) != 0)"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "error", "-c", code.replace("hash(numbers()) != 0", "hash(numbers())")]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[0].strip() for process in both]
    assert said[0] == said[1] != ""
    third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert third.stdout.strip() == said[0], third.stderr
