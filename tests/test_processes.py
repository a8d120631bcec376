"""What can only be seen from outside a process: forks, caches, threads set by the environment."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

STEP = """
import numpy as np, minigrad as mg, minigrad.nn.functional as F
rng = np.random.default_rng(0)
x, w = (mg.tensor(rng.normal(size=s).astype(np.float32)) for s in ((64, 3, 12, 12), (4, 3, 3, 3)))
def numbers(*algorithms):
    every = [F.softmax(F.conv2d(x, w, algorithm=algorithm), 1) for algorithm in algorithms or (None,)]
    return [result.numpy().tobytes() for result in (*every, w.reshape(4, 27) @ w.reshape(4, 27).T)]
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
ways = "direct", "im2col", "fft"
before = numbers(*ways)
child = os.fork() if (os := __import__("os")) else None
if child == 0:
    os._exit(0 if numbers(*ways) == before and mg.get_num_threads() == 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = python(code, NUMBA_THREADING_LAYER=layer)
    assert done.stdout.split() == ["0"], done.stderr


@pytest.mark.parametrize("count", ["1", "2"])
def test_threads_that_calculate_at_once(count):
    """Numba's own scheduler, which there is where OpenMP's library is not, ends a process for two callers at a time."""
    code = """
import threading
before, found = numbers(), []
many = [threading.Thread(target=lambda: found.append(numbers() == before)) for _ in range(6)]
[t.start() for t in many]; [t.join() for t in many]
print(found.count(True), mg.get_num_threads())
"""
    done = python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2", MINIGRAD_NUM_THREADS=count)
    assert done.stdout.split() == ["6", count], done.stderr


@pytest.mark.slow
def test_more_threads_than_cores_under_each_scheduler():
    """Numba's own scheduler hands several shares to a thread at once where there are fewer threads than shares."""
    code = """
import minigrad.jit as jit
from minigrad.kernels.elementwise import rectify
from numba.np.ufunc.parallel import threading_layer
x = np.arange(-50_000, 50_000, dtype=np.float32)
out = np.full_like(x, 7)
rectify.dispatcher()(jit.launcher(), 5, out, x)
print(threading_layer(), (out == x.clip(0)).all())
"""
    for layer in ("omp", "workqueue"):
        done = python(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="5")
        assert done.stdout.split()[1:] == ["True"], done.stderr


def test_the_number_of_threads_must_be_one():
    done = python("mg.get_num_threads()", MINIGRAD_NUM_THREADS="many")
    assert "MINIGRAD_NUM_THREADS=many: a number from 1 to" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MINIGRAD_NUM_THREADS", "0", "a number from 1 to"),
        ("MINIGRAD_NUM_THREADS", "9999", "a number from 1 to"),
        ("MINIGRAD_NUM_THREADS", "two", "a number from 1 to"),
        ("MINIGRAD_LANES", "5", "4, 8 or 16 expected"),
    ],
)
def test_a_command_says_in_a_line_which_variable_it_cannot_follow(name, value, said):
    done = python("from minigrad.cli import main; raise SystemExit(main(['summary', 'lenet']))", **{name: value})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"minigrad summary: {name}={value}: {said}")


def _obeys_permissions():
    """Run in the child: root, too, may write only where files say so (prctl: drop CAP_DAC_OVERRIDE for what comes)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="permissions are taken away by a call of Linux")
@pytest.mark.parametrize("home", ["writable", "none"])
def test_an_install_that_is_read_only(tmp_path, home):
    site = tmp_path / "site" / "minigrad"
    shutil.copytree(ROOT / "minigrad", site, ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("nn", "viz", "zoo"):
        shutil.copytree(ROOT / room, site / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir()
    for path in (site.parent, *site.parent.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": str(site.parent), "HOME": str(tmp_path / "home") if home == "writable" else "/dev/null"}
    code = "import warnings; warnings.simplefilter('always')\n" + STEP + "print(len(numbers()), mg.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=_obeys_permissions,
    )
    assert done.stdout.split() == ["2", str(site / "__init__.py")], done.stderr
    assert done.stderr.count("no writable place for compiled kernels") == (home == "none")
    assert bool(list((tmp_path / "home").rglob("*.mgk"))) == (home == "writable")
    for path in (site.parent, *site.parent.rglob("*")):
        path.chmod(0o755)  # so that pytest can clear it away


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
    code = STEP + "print(hash(b''.join(numbers())))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "error", "-c", code]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[0].strip() for process in both]
    assert said[0] == said[1] != ""
    third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert third.stdout.strip() == said[0], third.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep freed memory by rules of their own")
def test_memory_that_a_step_gives_back_comes_without_page_faults_the_next_time():
    """Ten arrays of 200 KB are more than glibc keeps by default: it would return and fetch 500 pages each time."""
    code = """
import resource
def step():
    arrays = [np.ones(50_000, np.float32) for _ in range(10)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): step()
before = faults()
for _ in range(100): step()
print((faults() - before) / 100)
"""
    set_by_user = [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    if set_by_user:
        pytest.skip(f"{', '.join(set_by_user)} set the C library's limits")
    done = python(code)
    assert float(done.stdout) < 5, done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep freed memory by rules of their own")
def test_released_memory_goes_back_to_the_system_whatever_lies_above_it():
    code = """
from pathlib import Path
from minigrad.kernels import memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
before, blocks, survivors = resident(), [], []
for _ in range(20):
    blocks.append(memory.empty((2**20,), np.dtype(np.float32)))
    blocks[-1].fill(1)
    survivors.append(np.ones(25_000))
held = resident()
blocks.clear()
memory.release()
print(held - before > 70, resident() - before < 20)
"""
    done = python(code)
    assert done.stdout.split() == ["True", "True"], done.stderr
