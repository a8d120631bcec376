"""A student's process, seen from the checker: started locked in, asked over a socket, killed when its time is up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import minigrad
from minigrad.errors import MinigradError
from minigrad.grading.wire import WireError, frame, read

__all__ = ["CodeError", "Gone", "Limits", "Student", "printable", "staged"]

#: How long an interpreter may take to start on a loaded machine; a student's time begins afterwards.
_STARTING = 60.0
_MOST_OUTPUT, _MOST_SUBMISSION = 4000, 64 << 20

#: Puts the small rooms of minigrad that the evaluator needs on the path without running the facade, which would import the
#: whole engine, and forgets them again before the submission is loaded: a submission's own `import minigrad` gets the real one.
_BOOT = """
import importlib, os, sys, types
root, number, whole = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "whole"
sys.path += [path for path in sys.argv[4:] if path not in sys.path]
if not whole:
    for name in ("minigrad", "minigrad.checks", "minigrad.grading"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [os.path.join(root, *name.split(".")[1:])]
evaluator = importlib.import_module("minigrad.grading.evaluator")
if not whole:
    for name in [name for name in sys.modules if name.split(".")[0] == "minigrad"]:
        del sys.modules[name]
evaluator.main(number)
"""


class CodeError(MinigradError):
    """The submission's own code raised; `where` has its lines of the traceback."""

    def __init__(self, message: str, where: str = "") -> None:
        """With the exception's last line."""
        super().__init__(message)
        self.where = where


class Gone(MinigradError):
    """The student's process ended, hung or spoke nonsense; `kind` is 'timeout', 'crash' or 'protocol'."""

    def __init__(self, kind: str, message: str) -> None:
        """For good: no further answer will come."""
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Limits:
    """What one check may use: seconds of wall time and of CPU, bytes of memory and of files, files open at once."""

    seconds: float = 30.0
    memory: int = 1 << 30
    disk: int = 64 << 20
    files: int = 64


@dataclass
class Student:
    """One process with one submission loaded; a context manager. `output` is the beginning of what it printed."""

    folder: Path
    file: str
    job: dict[str, Any]
    limits: Limits = Limits()
    hidden: tuple[str, ...] = ()
    #: Whether minigrad itself is in reach, for a submission written in it.
    engine: bool = False
    isolation: list[str] = field(default_factory=list)
    output: str = ""

    def __enter__(self) -> Student:
        """Start the interpreter and let it load the submission; CodeError or Gone where that fails."""
        self._scratch = tempfile.mkdtemp(prefix="minigrad-check-")
        ours, theirs = socket.socketpair()
        self._socket = ours
        whole = self.job["kind"] == "module"
        package = str(Path(minigrad.__file__).parent)
        words = [sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOT, package, str(theirs.fileno())]
        words += ["whole" if whole else "small", *_libraries(), *([str(Path(package).parent)] if self.engine else [])]
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                cwd=self._scratch,
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        finally:
            theirs.close()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self.close()

    def _begin(self) -> None:
        root = Path(self._scratch) / "root"
        root.mkdir()
        Path(self._scratch).chmod(0o755)
        self.deadline = time.monotonic() + _STARTING
        locked = {
            "folder": str(self.folder),
            "root": str(root),
            "file": self.file,
            "readable": _needed(self.engine),
            "hidden": [str(Path(path).resolve()) for path in self.hidden],
            "seconds": self.limits.seconds,
            "memory": self.limits.memory * (8 if self.engine else 1),  # numba's compiler maps a lot and uses little
            "disk": self.limits.disk,
            "files": self.limits.files,
            "processes": 0,
        }
        self._send(self.job | locked)
        hello = self._receive()
        self.isolation = [str(word) for word in hello.get("isolation", [])]
        self.deadline = time.monotonic() + self.limits.seconds
        self._answered(self._receive())

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer. CodeError where the submission's code raises, Gone where no answer can come."""
        self._send(request)
        return self._answered(self._receive())

    def _answered(self, reply: dict[str, Any]) -> dict[str, Any]:
        if "error" in reply:
            raise CodeError(printable(reply["error"]), printable(reply.get("where", "")))
        return reply

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(frame(message))
        except TimeoutError:
            raise self._timeout() from None
        except OSError:
            raise self._ended() from None

    def _receive(self) -> dict[str, Any]:
        try:
            return read(self._exactly)
        except WireError as error:
            raise Gone("protocol", f"the process sent something that is no answer: {error}") from None

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                self._socket.settimeout(self._left())
                part = self._socket.recv(min(size - len(data), 1 << 20))
            except TimeoutError:
                raise self._timeout() from None
            except OSError:
                raise self._ended() from None
            if not part:
                raise self._ended()
            data += part
        return bytes(data)

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self._timeout()
        return left

    def _timeout(self) -> Gone:
        return Gone("timeout", f"no answer within {self.limits.seconds:g} s")

    def _ended(self) -> Gone:
        """Say how the process ended, as far as can be known; give it a moment to end."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return Gone("crash", "the process closed its connection before it answered")
        number = -code if code < 0 else code - 128
        if code < 0 or code > 128:
            if number in (signal.SIGXCPU, signal.SIGKILL):
                return Gone("timeout", f"the process was stopped: more than {self.limits.seconds:g} s of CPU time, or killed")
            with contextlib.suppress(ValueError):
                return Gone("crash", f"the process crashed ({signal.Signals(number).name})")
        return Gone("crash", f"the process ended by itself (exit code {code}) before it answered")

    def _drain(self) -> None:
        """Read what is printed to its end, so that nobody waits for a full pipe, and keep the beginning."""
        stream = self._process.stdout
        assert stream is not None
        kept = b""
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(stream.fileno(), 1 << 16):
                kept += part[: max(0, _MOST_OUTPUT - len(kept))]
                self.output = printable(kept.decode(errors="replace"))

    def close(self) -> None:
        """Kill the process with everything in its session, and remove its scratch folder."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._reader.join(1.0)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def printable(text: Any) -> str:
    """Text from a student's process, fit to be shown: no control characters, no endless lines, not endless."""
    clean = re.sub(r"[^\n\t\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", str(text))
    clean = re.sub(r"[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "?", clean)  # signs that turn the reading direction
    return clean[:_MOST_OUTPUT]


def _environment() -> dict[str, str]:
    """Nothing of the caller's environment but the way to Python's libraries; one thread for the numeric ones."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return kept | dict.fromkeys(threads, "1") | {"HOME": "/tmp", "MPLBACKEND": "Agg", "NUMBA_DISABLE_JIT": "1", "TZ": "UTC"}


def _libraries() -> list[str]:
    """Where installed packages lie for this interpreter, in its order."""
    found = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and Path(path).is_dir()]
    return [*found, str(Path(np.__file__).parent.parent)]


def _needed(engine: bool) -> list[str]:
    """The folders of Python and its packages; minigrad's own only for a submission that is written in it."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *_libraries()}
    if engine:
        paths |= {str(Path(p)) for name in ("minigrad", "minigrad.nn") for p in sys.modules[name].__path__}
    for path in list(paths):
        paths.add(str(Path(path).resolve()))
    return sorted(paths)


def staged(submission: Path, folder: Path, neighbours: bool) -> None:
    """Copy a submission, one file or a folder, to where a student's process may see it. Links are left out.

    With `neighbours` the Python files beside a single file come along. Raises MinigradError where it is too large.
    """
    folder.mkdir(mode=0o755)
    if submission.is_dir():
        chosen = [path for path in sorted(submission.rglob("*")) if not _passed_over(path.relative_to(submission))]
        base = submission
    else:
        base = submission.parent
        beside = [*base.glob("*.py"), *base.glob("*/*.py")] if neighbours else []
        chosen = [submission, *(p for p in beside if p != submission and not _passed_over(p.relative_to(base)))]
    total = 0
    for path in chosen:
        details = path.lstat()
        if not stat.S_ISREG(details.st_mode) or any(parent.is_symlink() for parent in _between(path, base)):
            continue
        total += details.st_size
        if total > _MOST_SUBMISSION:
            raise MinigradError(f"{submission}: more than {_MOST_SUBMISSION >> 20} MiB; hand in the code alone")
        target = folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _between(path: Path, base: Path) -> list[Path]:
    return [parent for parent in path.parents if parent != base and base in parent.parents]


def _passed_over(path: Path) -> bool:
    return any(part.startswith(".") or part in ("__pycache__", "site-packages", "node_modules") for part in path.parts)
