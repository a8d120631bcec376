"""From DOT text to SVG, PNG or PDF: by the `dot` on the PATH, else by the libraries that pygraphviz carries.

Both run in a process of their own: layout can take long and is stopped when its time is over, and no fault in a C library can
take a training run with it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys

from minigrad.errors import MinigradError

__all__ = ["FORMATS", "LayoutTimeout", "RenderError", "can_render", "rendered"]

FORMATS = ("svg", "png", "pdf")

_HINT = "install a wheel of pygraphviz 2 (pip install pygraphviz) or Graphviz itself (its `dot` on the PATH)"

# What the other process runs where there is no `dot`: argument 1 is the format.
_SCRIPT = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
data = graph.draw(format=sys.argv[1], prog="dot")
sys.stdout.buffer.write(data if isinstance(data, bytes) else data.encode("utf-8"))
"""


class RenderError(MinigradError, RuntimeError):
    """There is nothing to render with, or it refused; the message says what to install."""


class LayoutTimeout(RenderError):
    """The layout took longer than it was given."""


def can_render() -> bool:
    """Whether there is a `dot` or a pygraphviz."""
    return _command("svg") is not None


def rendered(dot: str, format: str, timeout: float | None = None, dpi: int = 144) -> bytes:
    """The picture that `dot` text describes, in one of `FORMATS`; `timeout` in seconds, `dpi` for PNG.

    Raises LayoutTimeout when the time is over, RenderError where there is no Graphviz or it fails.
    """
    if format not in FORMATS:
        raise ValueError(f"render: format {format!r}; there are {', '.join(FORMATS)}")
    command = _command(format)
    if command is None:
        raise RenderError(f"no Graphviz to draw {format.upper()} with: {_HINT}")
    if format == "png":
        dot = dot.replace("{", f"{{\n\tdpi={dpi}", 1)
    try:
        done = subprocess.run(
            command, input=dot.encode("utf-8"), capture_output=True, timeout=timeout, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise LayoutTimeout(f"the layout took longer than {timeout:g} s") from error
    if done.returncode or not done.stdout or b"syntax error" in done.stderr:
        raise RenderError(f"Graphviz failed: {_told(done.stderr)}; if it is not whole, {_HINT}")
    return done.stdout


def _command(format: str) -> list[str] | None:
    dot = shutil.which("dot")
    if dot:
        return [dot, f"-T{format}"]
    return [sys.executable, "-c", _SCRIPT, format] if _has_pygraphviz() else None


@functools.cache
def _has_pygraphviz() -> bool:
    return importlib.util.find_spec("pygraphviz") is not None


def _environment() -> dict[str, str]:
    """This process's environment, with its import path for the other one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _told(message: bytes) -> str:
    """The line with the error, or the last one."""
    lines = message.decode("utf-8", "replace").strip().splitlines() or ["it wrote nothing"]
    return next((line for line in lines if "error" in line.lower()), lines[-1])
