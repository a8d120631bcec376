"""Standard output, whoever reads it: a terminal without some signs, a program that wants a document, or nobody any longer."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["abandoned", "any_encoding", "print_document"]

#: What stands for signs that are not in each encoding; a question mark stands for all others.
_PLAIN = {"×": "x", "…": "...", "·": "-", "─": "-", "━": "-", "✓": "+", "✗": "x"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error("minigrad", _plain)


@contextlib.contextmanager
def any_encoding() -> Iterator[None]:
    """Within the block standard output takes every sign, those that its encoding doesn't have as something like them."""
    before = getattr(sys.stdout, "errors", None)
    if before not in ("strict", "surrogateescape") or not hasattr(sys.stdout, "reconfigure"):
        yield
        return
    sys.stdout.reconfigure(errors="minigrad")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what waits to be written can't be: the reader has left
            sys.stdout.reconfigure(errors=before)


def print_document(text: str) -> None:
    """Print what a program reads, such as a page, which says of itself that it is UTF-8."""
    print(end="", flush=True)
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
    else:
        print(text, end="")


def abandoned() -> None:
    """Whoever read has left, as `head` does: what still waits goes nowhere, so that Python doesn't complain at its end."""
    with contextlib.suppress(OSError, ValueError):  # no such file beneath it, in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
