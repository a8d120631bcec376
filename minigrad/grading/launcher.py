"""A process that has imported what a check needs, and forks one student's process for each: a check starts in milliseconds.

It never loads a submission itself, so every child begins as clean as the first; nothing of the checker's is in its memory.
It ends when the connection to the process that started it closes, and all its children end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import minigrad
from minigrad.grading.evaluator import main
from minigrad.grading.isolation import namespaces_work

__all__ = ["Launcher", "launcher", "libraries", "serve"]

_MESSAGE = struct.Struct("<4si")
_RUNNING = 1 << 20

#: Puts the small rooms of minigrad that the evaluator needs on the path without running the facade, which would import the
#: whole engine, and forgets them again before a submission is loaded: its own `import minigrad` gets the real one.
_BOOT = """
import importlib, os, sys, types
root, number, whole = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "whole"
sys.path += [path for path in sys.argv[4:] if path not in sys.path]
if not whole:
    for name in ("minigrad", "minigrad.checks", "minigrad.grading"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [os.path.join(root, *name.split(".")[1:])]
    sys.modules["minigrad"].__file__ = os.path.join(root, "__init__.py")
launcher = importlib.import_module("minigrad.grading.launcher")
if not whole:
    for name in [name for name in sys.modules if name.split(".")[0] == "minigrad"]:
        del sys.modules[name]
launcher.serve(number)
"""


class Launcher:
    """The checker's side: asks for children and for their ends."""

    def __init__(self, whole: bool, engine: bool) -> None:
        """Start it. With `whole` it imports all of minigrad, for modules written in it; `engine` puts minigrad in reach."""
        package = Path(minigrad.__file__).parent
        ours, theirs = socket.socketpair()
        words = [sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOT, str(package), str(theirs.fileno())]
        words += ["whole" if whole else "small", *libraries(), *([str(package.parent)] if engine else [])]
        self._lock = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=_environment(), start_new_session=True
            )
        self._socket = ours

    def fork(self, connection: socket.socket, output: int) -> int:
        """A new child that serves this connection and prints to this file descriptor; gives its process number."""
        with self._lock:
            socket.send_fds(self._socket, [_MESSAGE.pack(b"fork", 0)], [connection.fileno(), output])
            return self._answer()

    def end(self, child: int, kill: bool = True) -> int | None:
        """How the child ended: its exit code, or minus a signal's number; it is killed first, with its whole group, unless
        `kill` is off: then None where it has not ended by itself within a second."""
        with self._lock:
            self._socket.sendall(_MESSAGE.pack(b"kill" if kill else b"wait", child))
            code = self._answer()
        return None if code == _RUNNING else code

    def _answer(self) -> int:
        data = self._socket.recv(_MESSAGE.size)
        if len(data) < _MESSAGE.size:
            raise ConnectionError("the launcher has ended")
        return int(_MESSAGE.unpack(data)[1])

    def close(self) -> None:
        """End it with all its children."""
        self._socket.close()
        self.process.kill()
        self.process.wait()


@functools.cache
def launcher(whole: bool, engine: bool) -> Launcher:
    """This process's launcher of that kind, started when it is first asked for; it ends with this process."""
    made = Launcher(whole, engine)
    atexit.register(made.close)
    return made


def libraries() -> list[str]:
    """Where installed packages lie for this interpreter, in its order."""
    found = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and Path(path).is_dir()]
    return [*found, str(Path(np.__file__).parent.parent)]


def _environment() -> dict[str, str]:
    """Nothing of the caller's environment but the way to Python's libraries; one thread for the numeric ones."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return kept | dict.fromkeys(threads, "1") | {"HOME": "/tmp", "MPLBACKEND": "Agg", "NUMBA_DISABLE_JIT": "1", "TZ": "UTC"}


# ------------------------------------------------------------------------------------------------ in the launcher itself


def serve(number: int) -> None:
    """Fork, kill and wait on request until the connection with this file descriptor closes."""
    control = socket.socket(fileno=number)
    namespaces_work()  # asked once here, known to all children
    while True:
        data, handles, _, _ = socket.recv_fds(control, _MESSAGE.size, 2)
        if len(data) < _MESSAGE.size:
            os._exit(0)
        do, child = _MESSAGE.unpack(data)
        if do == b"fork":
            answer = os.fork()
            if answer == 0:
                control.close()
                _child(*handles)
            for handle in handles:
                os.close(handle)
        else:
            answer = _ended(child, do == b"kill")
        control.sendall(_MESSAGE.pack(b"done", answer))


def _child(connection: int, output: int) -> None:
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        main(connection)
    except BaseException as error:  # the launcher's own loop must not go on in a child
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def _ended(child: int, kill: bool) -> int:
    """Wait for a child's end. Only a kill lets go of its number, so that no other process can have it before."""
    if kill:
        for end in (os.killpg, os.kill):  # the group, and the child that has not made it yet
            with contextlib.suppress(OSError):
                end(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for _ in range(200):
        found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        time.sleep(0.005)
    return _RUNNING
