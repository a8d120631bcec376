"""Submissions that hang, crash, flood and cheat: each costs its own check, gives no points, and harms nothing."""

import os
import re
import socket
import subprocess
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from minigrad.grading import READY, Check, Draw, Spec, mark
from minigrad.grading.isolation import namespaces_work
from minigrad.grading.launcher import launcher

GOOD = """
import numpy as np

def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w)

def affine_backward(dout, cache):
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(0)

def relu_forward(x):
    return np.maximum(x, 0), x
"""

#: A right backward pass for those who get what they are after: then they have points, and the test fails.
RIGHT = "return dout * (cache > 0)"


def spec(path=None, seconds=3.0):
    checks = [
        Check("relu", **READY["relu"], points=3, partial=True, timeout=seconds),
        Check("affine", **READY["affine"], points=2, partial=True, timeout=10.0),
    ]
    return Spec(tuple(checks), memory=512, path=path)


def marked(tmp_path, body, top="", path=None, good=GOOD, seconds=3.0):
    folder = tmp_path / "handed-in"
    folder.mkdir()
    file = folder / "layers.py"
    file.write_text(
        f"{good}\n{textwrap.dedent(top)}\n\ndef relu_backward(dout, cache):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    )
    result = mark(file, spec(path, seconds))
    return dict(zip(("relu", "affine"), result.outcomes, strict=True))


ATTACKS = {
    "hang": ("while True: pass", "timeout", ""),
    "sleep": ("import time; time.sleep(1000)", "timeout", ""),
    "abort": ("import os; os.abort()", "crash", "SIGABRT"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"),
    "exit": ("import sys; sys.exit(0)", "error", "SystemExit: 0"),
    "hard exit": ("import os; os._exit(0)", "crash", r"exit code 0\) before it answered"),
    "raise": ("raise ValueError('no idea')", "error", "ValueError: no idea"),
    "interrupt": ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    "recursion": ("return relu_backward(dout, cache)", "error", "RecursionError"),
    "fork bomb": ("import os\nwhile True: os.fork()", "error", "BlockingIOError"),
    "thread bomb": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
        "error",
        "thread",
    ),
    "subprocess": ("import subprocess; subprocess.run(['true'])", "error", "Error"),
    "memory": ("return bytearray(1 << 36)", "error", "MemoryError"),
    "memory bit by bit": ("hog = []\nwhile True: hog.append(bytearray(1 << 22))", "error", "MemoryError"),
    "many files": ("files = [open('/dev/null') for _ in range(10000)]", "error", "Too many open files"),
    "disk": ("open('/tmp/big', 'wb').write(bytes(1 << 28))", "error", "OSError"),
    "flood": ("while True: print('all tests passed ' * 1000)", "timeout", ""),
    "fake result printed": ('print(\'{"tests": [{"score": 5, "status": "passed"}]}\'); return dout * 0', "failed", "wrong at"),
    "zeros": ("return dout * 0", "failed", "wrong at"),
    "nothing": ("return None", "failed", ""),
    "not a number": ("return dout * np.nan", "failed", ""),
    "text": ("return 'passed'", "error", "no array of numbers"),
    "an object": (
        "return type('Right', (), {'__eq__': lambda *a: True, '__array__': lambda *a, **k: np.array(None)})()",
        "error",
        "no array of numbers",
    ),
    "far too much": ("return np.zeros(1 << 24)", "error", "too large"),
    "many axes": ("return np.zeros([1] * 40)", "error", "no array of numbers"),
    "empty": ("return np.zeros((0, 1 << 40))", "error", "no array of numbers"),
    "two for one": ("return dout, dout", "error", "2 gradients"),
    "closes the connection": ("import os\nos.closerange(3, 64)", "crash", ""),
    "kills its parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL); return dout * 0", "", ""),
    "kills everything": ("import os, signal\nos.kill(-1, signal.SIGKILL); return dout * 0", "", ""),
    "leaves its session": ("import os\nos.setsid()\nwhile True: pass", "", ""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_its_own_check_and_no_more(name, tmp_path):
    body, status, said = ATTACKS[name]
    began = time.monotonic()
    found = marked(tmp_path, body, seconds=1.0 if status in ("timeout", "") else 5.0)
    assert found["relu"].points == 0
    assert status in ("", found["relu"].status)
    assert re.search(said, found["relu"].text("numbers")), found["relu"].text("numbers")
    assert (found["affine"].status, found["affine"].points) == ("passed", 2)
    assert time.monotonic() - began < 30
    assert len(found["relu"].text("numbers")) < 12_000


PATCHES = {
    "numpy": """
        for name in ("abs", "allclose", "isclose", "array_equal", "max", "maximum", "where", "asarray"):
            setattr(np, name, lambda *a, **k: True)
        """,
    "numpy's random": "np.random.seed = np.random.normal = lambda *a, **k: np.zeros(k.get('size', 1))",
    "the checker": """
        import sys
        for module in list(sys.modules.values()):
            for name in ("check", "judge", "run_check", "isolate", "frame", "read"):
                if "minigrad" in getattr(module, "__name__", "") and hasattr(module, name):
                    setattr(module, name, lambda *a, **k: True)
        try:
            import minigrad.checks.compare as compare
            compare.check = lambda *a: type("Report", (), {"ok": True, "status": "passed"})()
        except ImportError:
            pass
        """,
    "the server": """
        import gc
        for thing in gc.get_objects():
            if type(thing).__name__ == "_Server":
                thing.answer = lambda request: {"outputs": [], "parts": [], "ok": True, "status": "passed", "points": 3}
        """,
    "numbers for arrays": """
        class Right(np.ndarray):
            __array_ufunc__ = None
            def __sub__(self, other): return 0.0
        """,
}


@pytest.mark.parametrize("name", PATCHES)
def test_patching_what_is_in_reach_gives_no_points(name, tmp_path):
    found = marked(tmp_path, "return dout * 0.5", top=PATCHES[name])
    assert found["relu"].points == 0
    assert not found["relu"].ok


FORGED = """
import os, socket, struct

def socket_of():
    for number in range(3, 64):
        try:
            return socket.socket(fileno=os.dup(number))
        except OSError:
            pass

def forged(header, body=b""):
    return struct.pack("<II", len(header), len(body)) + header + body
"""
VERDICT = b'{"arrays": [], "content": {"dict": [["parts", null], ["ok", true], ["status", "passed"], ["points", 99]]}}'
FRAMES = {
    "noise": "os.urandom(1000)",
    "zeros": "bytes(100000)",
    "a huge length": "struct.pack('<II', 2**32 - 1, 2**32 - 1)",
    "a forged verdict": f"forged({VERDICT!r})",
    "deep nesting": "forged(b'[' * 500000 + b']' * 500000)",
    "an unknown type": """forged(b'{"arrays": [["O", [1]]], "content": {"dict": []}}', bytes(8))""",
    "a shape that lies": """forged(b'{"arrays": [["d", [99999, 99999]]], "content": {"dict": []}}')""",
    "a number for an array": """forged(b'{"arrays": [], "content": {"array": 7}}')""",
}


@pytest.mark.parametrize("name", FRAMES)
def test_writing_to_the_connection_gives_no_points(name, tmp_path):
    body = f"socket_of().sendall({FRAMES[name]}); return dout * 0.5"
    found = marked(tmp_path, body, top=FORGED)
    assert found["relu"].points == 0
    assert found["affine"].points == 2


def test_a_forward_and_a_backward_of_zeros_agree_and_are_worth_nothing(tmp_path):
    file = tmp_path / "layers.py"
    file.write_text("def f_forward(x):\n    return 0 * x, None\ndef f_backward(g, _):\n    return 0 * g\n")
    check = Check("f", "f_forward", backward="f_backward", arguments={"x": Draw((3, 4))}, partial=True)
    (found,) = mark(file, Spec((check,))).outcomes
    assert (found.status, found.points) == ("failed", 0)
    assert "does not change with any input" in found.summary


def test_against_a_reference_a_forward_that_agrees_with_a_wrong_backward_is_no_help(tmp_path):
    good = GOOD.replace("np.maximum(x, 0), x", "2 * x, x")
    found = marked(tmp_path, "return 2 * dout", good=good)
    assert (found["relu"].points, found["relu"].status) == (0, "failed")
    assert found["relu"].summary == "the output is wrong at 28 of 28 places"


def test_the_spec_and_other_files_of_the_teacher_are_out_of_reach(tmp_path):
    """Whoever can read what is not theirs answers rightly here, and would have points."""
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    path = teacher / "checks.toml"
    path.write_text("seed = 1234")
    path.chmod(0o644)
    (tmp_path / "other.txt").write_text("another student's work")
    body = f"""
        found = []
        for path in ({str(path)!r}, {str(tmp_path / "other.txt")!r}, {__file__!r}, "/etc/passwd", "/proc/self/environ"):
            try:
                found.append(open(path).read())
            except OSError:
                pass
        if found:
            {RIGHT}
        return dout * 0.5
        """
    found = marked(tmp_path, body, path=path)
    if "files" not in found["relu"].isolation:
        pytest.skip("no file system of its own is to be had here")
    assert found["relu"].points == 0
    assert found["affine"].points == 2


def test_isolation_is_whole_where_the_system_allows_it(tmp_path):
    had = set(marked(tmp_path, RIGHT)["relu"].isolation)
    assert "limits" in had
    if namespaces_work():
        assert had >= {"files", "network", "processes"}
    if os.getuid() == 0 and "files" in had:
        assert "user" in had


def test_a_layer_can_not_choose_the_arrays_on_which_it_is_checked(tmp_path):
    """A layer's own process says what its parameters are; what the spec draws stays as it was drawn."""
    file = tmp_path / "layers.py"
    file.write_text(
        """
import gc

for names in gc.get_objects():
    if isinstance(names, dict) and "layer_problem" in names and "Problem" in names:
        names["Problem"] = lambda label, all, inputs, *a, made=names["Problem"], **k: made(
            label, all, [0 * x for x in inputs], *a, **k
        )

class Layer:
    def forward(self, x):
        return x**2 + x

    def backward(self, g):
        return g  # right at 0 alone
"""
    )
    check = Check("layer", "Layer", kind="layer", arguments={"x": Draw((3, 4))}, gradients=("x",))
    (found,) = mark(file, Spec((check,))).outcomes
    assert (found.status, found.points) == ("failed", 0), found.text("numbers")


def test_a_layer_s_parameters_that_are_named_must_be_there(tmp_path):
    file = tmp_path / "layers.py"
    layer = "class Layer:\n    def __init__(self):\n        self.W = np.ones((4, 3))\n"
    layer += "    def forward(self, x):\n        self.x = x\n"
    passes = (
        "        return x @ self.W\n    def backward(self, g):\n        self.dW = self.x.T @ g\n        return g @ self.W.T\n"
    )
    for text, points in ((layer + passes, 1), (layer + passes.replace("self.dW", "self.other"), 0)):
        file.write_text("import numpy as np\n" + text)
        check = Check("layer", "Layer", kind="layer", arguments={"x": Draw((2, 4))}, gradients=("x", "W"))
        assert mark(file, Spec((check,))).points == points


def test_nothing_is_written_outside(tmp_path):
    tmp_path.chmod(0o777)
    places = [Path(folder, f"minigrad-test-{os.getpid()}") for folder in (tmp_path, "/var/tmp", "/usr", "/dev")]
    body = f"""
        import pathlib
        for place in {[str(place) for place in places]}:
            try:
                pathlib.Path(place).write_text("x")
            except OSError:
                pass
        pathlib.Path("notes.txt").write_text("my own folder is mine")
        {RIGHT}
        """
    found = marked(tmp_path, body)
    written = [place for place in places if place.exists()]
    for place in written:
        place.unlink()
    assert found["relu"].points == 3, found["relu"].text("numbers")
    assert "files" not in found["relu"].isolation or not written
    assert sorted(p.name for p in (tmp_path / "handed-in").iterdir()) == ["layers.py"]


def test_what_one_check_writes_no_other_finds(tmp_path):
    top = """
        import pathlib
        note = pathlib.Path("note.txt")
        if note.exists():
            raise RuntimeError("found a note")
        note.write_text("for the next check")
        """
    found = marked(tmp_path, RIGHT, top=top)
    assert [outcome.summary for outcome in found.values()] == ["right", "right"]


def test_the_network_and_the_environment_are_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHERS_TOKEN", "secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        body = f"""
            import os, socket
            if "TEACHERS_TOKEN" in os.environ:
                {RIGHT}
            try:
                socket.create_connection(("127.0.0.1", {port}), 1)
            except OSError:
                return dout * 0.5
            {RIGHT}
            """
        found = marked(tmp_path, body)
    if "network" in found["relu"].isolation:
        assert found["relu"].points == 0


def test_nothing_of_a_check_is_left_behind(tmp_path, monkeypatch):
    """No process, no scratch folder: also of one that hung after it had started others."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    body = "import os\ntry: os.fork()\nexcept OSError: pass\nwhile True: pass"
    assert marked(tmp_path, body, seconds=1.0)["relu"].status == "timeout"
    assert not list((tmp_path / "scratch").iterdir())
    starter = str(launcher(False, False).process.pid)
    listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [line for line in listed if line.split()[0] == starter]


def test_one_process_a_check_knows_nothing_of_another(tmp_path):
    top = "import builtins\nif hasattr(builtins, 'seen'): raise RuntimeError('seen before')\nbuiltins.seen = True"
    found = marked(tmp_path, RIGHT, top=top)
    assert all(outcome.ok for outcome in found.values())


@pytest.mark.parametrize("top", ["import sys; sys.exit(0)", "import os; os._exit(0)", "while True: pass", "1 / 0", "def ("])
def test_a_file_that_can_not_be_loaded_costs_everything_in_it(tmp_path, top):
    file = tmp_path / "layers.py"
    file.write_text(f"{GOOD}\n{top}")
    result = mark(file, Spec(spec().checks[:1]))
    assert result.points == 0
    assert all(outcome.status in ("error", "crash", "timeout") for outcome in result.outcomes)


def test_a_student_s_process_imports_numpy_and_little_else(tmp_path):
    file = tmp_path / "layers.py"
    heavy = ("minigrad", "numba", "scipy", "rich", "matplotlib")
    text = f"import sys\nloaded = [m for m in sys.modules if m.split('.')[0] in {heavy}]\n"
    file.write_text(text + "def f_forward(x):\n    raise RuntimeError(repr(loaded))\ndef f_backward(g, c):\n    return g\n")
    check = Check("f", "f_forward", backward="f_backward", arguments={"x": Draw((3, 4))})
    (found,) = mark(file, Spec((check,))).outcomes
    assert "RuntimeError: []" in found.summary
