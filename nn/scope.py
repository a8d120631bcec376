"""Which module is running: the dotted path that graph nodes carry as their `scope`.

The module that is called from outside is the root, with the path ''; what it calls is found by identity in a table of
its submodules' paths, made once and kept until some module anywhere gets or loses a child. So a call through a list
or a grandchild has its true path, and a plain call costs one dictionary lookup. A module without a place under the
root (made inside a forward, or kept in a plain list) keeps its caller's path.

A shared module has several paths. The one taken is the nearest to the caller, the first of those that are equally
near; containers that know by which name they call (Sequential) say so.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from minigrad.modes import modes

if TYPE_CHECKING:
    from minigrad.nn.module import Module

__all__ = ["called_as", "enter", "leave", "structure_changed"]

Paths = dict[int, list[str]]


class _Running:
    """What one thread is running."""

    __slots__ = ("name", "paths")

    def __init__(self) -> None:
        #: Paths of the modules under the root whose forward is running; None outside.
        self.paths: Paths | None = None
        #: The name by which the next module is called, where its caller knows.
        self.name: str | None = None


class _OfThread(threading.local):
    def __init__(self) -> None:
        """Run for each thread that looks."""
        self.now = _Running()


_running = _OfThread()
_version = 0
_known: weakref.WeakKeyDictionary[Module, tuple[int, Paths]] = weakref.WeakKeyDictionary()


def structure_changed() -> None:
    """Forget all tables: a module got or lost a child."""
    global _version
    _version += 1


def called_as(name: str) -> None:
    """Say by which of its names the module that is called next is called."""
    _running.now.name = name


def enter(module: Module) -> tuple[str | None, bool]:
    """Hold the module's path in the modes' `scope` until `leave`, which takes what this gives: what was there before."""
    running, now = _running.now, modes.now
    name, before, known = running.name, now.scope, running.paths
    running.name = None
    if known is None:
        running.paths = _paths_under(module)
        now.scope = ""
        return before, True
    paths = known.get(id(module))
    if paths is not None:
        now.scope = paths[0] if len(paths) == 1 else _nearest(paths, before or "", name)
    return before, False


def leave(token: tuple[str | None, bool]) -> None:
    """Bring back what held before; also to be called after an error."""
    modes.now.scope, outermost = token
    running = _running.now
    running.name = None
    if outermost:
        running.paths = None


def _paths_under(root: Module) -> Paths:
    known = _known.get(root)
    if known is None or known[0] != _version:
        paths: Paths = {}
        for path, module in root.named_modules(remove_duplicate=False):
            paths.setdefault(id(module), []).append(path)
        known = _known[root] = (_version, paths)
    return known[1]


def _nearest(paths: list[str], caller: str, name: str | None) -> str:
    near = _levels(caller) + ([] if name is None else [name])
    return max(paths, key=lambda path: _shared(_levels(path), near))


def _levels(path: str) -> list[str]:
    return path.split(".") if path else []


def _shared(path: list[str], other: list[str]) -> int:
    """How many levels two paths have in common from the root."""
    count = 0
    while count < min(len(path), len(other)) and path[count] == other[count]:
        count += 1
    return count
