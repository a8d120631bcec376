"""Where compiled kernels wait for the next process: one file for each kernel and signature, which is used only if it is whole.

Numba's own cache notices a change of the file in which a kernel stands, but not of the kernels that it calls, and two
processes that fill it at once can take each other's code for their own. Here a file's name says which sources, which
signature and which machine it was made for, and its first bytes are the digest of the rest: what is old, foreign or damaged
is compiled anew and never run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import pickle
import secrets
from pathlib import Path
from typing import Any

__all__ = ["KernelFiles"]

_DIGEST = 32


class KernelFiles:
    """Stands in for numba's index and data files of one kernel: ``load(key)``, ``save(key, data)``, ``flush()``."""

    def __init__(self, folder: str, name: str) -> None:
        """Nothing is read or written yet."""
        self._folder, self._name = Path(folder), name

    def load(self, key: Any) -> Any:
        """What was saved under this key, or None."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        return pickle.loads(body) if hashlib.sha256(body).digest() == digest else None

    def has(self, key: Any) -> bool:
        """Whether something was saved under this key."""
        return self._path(key).exists()

    def save(self, key: Any, data: Any) -> None:
        """Write beside and rename, so that whoever reads at the same time sees the whole or nothing."""
        body = importlib.import_module("numba.core.serialize").dumps(data)
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            unfinished.write_bytes(hashlib.sha256(body).digest() + body)
            unfinished.replace(path)
        except OSError:  # a full disk or a folder that is gone: the next process compiles again
            return
        finally:  # interrupted, too
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        for old in self._folder.glob(f"{self._name}.*.mgk"):  # of other sources: nobody will ask for them again
            if not old.name.startswith(f"{self._name}.{_sources()}."):
                with contextlib.suppress(OSError):
                    old.unlink()

    def flush(self) -> None:
        """Forget everything."""
        for path in self._folder.glob(f"{self._name}.*.mgk"):
            path.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        lanes = os.environ.get("MINIGRAD_LANES", "")  # decides what some kernels are compiled to
        made_for = hashlib.sha256(f"{key!r} {lanes}".encode()).hexdigest()[:20]
        return self._folder / f"{self._name}.{_sources()}.{made_for}.mgk"


@functools.cache
def _sources() -> str:
    """A digest of all that compiled code is made of: the kernels, what compiles them, and numba."""
    here = Path(__file__).parent
    digest = hashlib.sha256(importlib.import_module("numba").__version__.encode())
    for path in (
        here / "jit.py",
        here / "kernel_compiler.py",
        here / "kernel_threads.py",
        *sorted((here / "kernels").glob("*.py")),
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
