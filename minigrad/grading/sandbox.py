"""A student's process, seen from the checker: started locked in, asked over a socket, killed when its time is up."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from minigrad.errors import MinigradError
from minigrad.grading.isolation import readable_by_all
from minigrad.grading.launcher import launcher, libraries
from minigrad.grading.wire import WireError, frame, read

__all__ = ["CodeError", "Gone", "Limits", "Student", "base_of", "printable", "staged"]

#: How long an interpreter may take to start on a loaded machine; a student's time begins afterwards.
_STARTING = 60.0
_MOST_OUTPUT, _MOST_SUBMISSION = 4000, 64 << 20


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
        """Start the process and let it load the submission; CodeError or Gone where that fails."""
        private = os.getuid() == 0 and not readable_by_all(tempfile.gettempdir())  # nobody could not enter it
        self._scratch = tempfile.mkdtemp(prefix="minigrad-check-", dir="/tmp" if private else None)
        self._launcher = launcher(self.job["kind"] == "module", self.engine)
        self._socket, theirs = socket.socketpair()
        self._output, printed = os.pipe()
        try:
            self._child = self._launcher.fork(theirs, printed)
        except OSError:  # it was killed from outside: the next check starts another
            launcher.cache_clear()
            self._socket.close()
            os.close(self._output)
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise Gone("crash", "the process that starts checks had ended") from None
        finally:
            theirs.close()
            os.close(printed)
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
        scratch = Path(self._scratch)
        scratch.chmod(0o755)
        root, own = scratch / "root", scratch / "submission"
        root.mkdir()
        shutil.copytree(self.folder, own)  # a copy for each check: none finds what another wrote
        self.deadline = time.monotonic() + _STARTING
        locked = {
            "folder": str(own),
            "root": str(root),
            "file": self.file,
            "readable": _needed(self.engine),
            "hidden": [str(Path(path).resolve()) for path in self.hidden],
            "seconds": self.limits.seconds,
            "memory": self.limits.memory,
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
        code = self._end(kill=False)
        if code is None:
            return Gone("crash", "the process closed its connection before it answered")
        number = -code if code < 0 else code - 128
        if code < 0 or code > 128:
            if number in (signal.SIGXCPU, signal.SIGKILL):
                return Gone("timeout", f"the process was stopped: more than {self.limits.seconds:g} s of CPU time, or killed")
            with contextlib.suppress(ValueError):
                return Gone("crash", f"the process crashed ({signal.Signals(number).name})")
        return Gone("crash", f"the process ended by itself (exit code {code}) before it answered")

    def _end(self, kill: bool) -> int | None:
        """How the process ended; None where that is not known, also because the launcher was killed and took it along."""
        try:
            return self._launcher.end(self._child, kill)
        except OSError:
            launcher.cache_clear()  # the next check starts another
            return None

    def _drain(self) -> None:
        """Read what is printed to its end, so that nobody waits for a full pipe, and keep the beginning."""
        kept = b""
        with os.fdopen(self._output, "rb", 0) as stream:
            while part := stream.read(1 << 16):
                kept += part[: max(0, _MOST_OUTPUT - len(kept))]
                self.output = printable(kept.decode(errors="replace"))

    def close(self) -> None:
        """Kill the process with everything it started, and remove its scratch folder."""
        self._socket.close()
        self._end(kill=True)
        self._reader.join(1.0)
        shutil.rmtree(self._scratch, ignore_errors=True)


def printable(text: Any, most: int = _MOST_OUTPUT) -> str:
    """Text from a student's process, fit to be shown: no control characters, and not endless."""
    clean = re.sub(r"[^\n\t\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", str(text))
    clean = re.sub(r"[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "?", clean)  # signs that turn the reading direction
    return clean[:most]


def _needed(engine: bool) -> list[str]:
    """The folders of Python and its packages; minigrad's own only for a submission that is written in it."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *libraries()}
    if engine:
        found = (importlib.util.find_spec(name) for name in ("minigrad", "minigrad.nn", "minigrad.zoo", "minigrad.viz"))
        paths |= {path for spec in found if spec is not None for path in spec.submodule_search_locations or ()}
    for path in list(paths):
        paths.add(str(Path(path).resolve()))
    return sorted(paths)


def staged(submission: Path, folder: Path, neighbours: bool) -> None:
    """Copy a submission, one file or a folder, to where a student's process may see it. Links are left out.

    With `neighbours` the Python files beside a single file come along. Raises MinigradError where it is too large.
    """
    folder.mkdir(mode=0o755)
    base = base_of(submission, neighbours)
    if submission.is_dir():
        chosen = [path for path in sorted(submission.rglob("*")) if not _passed_over(path.relative_to(submission))]
    else:
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


def base_of(submission: Path, neighbours: bool) -> Path:
    """The folder from which a submission is imported: for a file of a package, with its neighbours, the package's own."""
    if submission.is_dir():
        return submission
    base = submission.parent
    while neighbours and (base / "__init__.py").is_file() and base != base.parent:
        base = base.parent
    return base


def _between(path: Path, base: Path) -> list[Path]:
    return [parent for parent in path.parents if parent != base and base in parent.parents]


def _passed_over(path: Path) -> bool:
    return any(part.startswith(".") or part in ("__pycache__", "site-packages", "node_modules") for part in path.parts)
