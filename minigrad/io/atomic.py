"""Writing a file whole or not at all.

The new contents go into a temporary file in the same folder, reach the disk, and take the old file's place by a rename, which
a file system does in one piece. Whatever goes wrong before that (a full disk too) leaves the old file as it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "sweep", "write_bytes", "write_text"]

_PREFIX = ".unfinished-"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path`, with the same suffix, to write to; it becomes `path` if the block ends without an exception.

    On any exception the temporary file is removed and `path` is left as it was. Raises OSError as the writing does, with
    the name of `path`.
    """
    path = Path(path)
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{path.name}")
    try:
        # Made here, and only if it is not there, so that the umask decides who may read it, as for any other file.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    with contextlib.suppress(OSError):  # some systems can't flush a folder; the file itself is whole either way
        _flush(path.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace a file's contents by `data`, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file's contents by `text` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed in the middle of `replacing` left behind in `folder`."""
    for leftover in Path(folder).glob(f"{_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
