"""Which module is running: the dotted path that graph nodes carry as their `scope`.

The module that is called from outside is the root, with the path ''; what it calls is found by identity in a table of
its submodules' paths, made once and kept until some module anywhere gets or loses a child. So a call through a list
or a grandchild has its true path, and a plain call costs one dictionary lookup. A module without a place under the
root (made inside a forward, or kept in a plain list) keeps its caller's path.

A shared module has several paths. The one taken is the nearest to the caller, the first of those that are equally
near; containers that know by which name they call (Sequential) say so.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigrad.nn.module import Module

__all__ = ["enter", "structure_changed"]

Paths = dict[int, list[str]]

_version = 0
_known: weakref.WeakKeyDictionary[Module, tuple[int, Paths]] = weakref.WeakKeyDictionary()


def structure_changed() -> None:
    """Forget all tables: a module got or lost a child."""
    global _version
    _version += 1


def enter(module: Module, now: Any) -> None:
    """Put the module's path into the calling thread's modes, as `scope`; `paths` and `called` there are kept for this.

    Whoever calls brings `scope` and `paths` back to what they were and `called` to None, also after an error.
    """
    name, now.called = now.called, None
    if now.paths is None:
        now.paths, now.scope = _paths_under(module), ""
        return
    paths = now.paths.get(id(module))
    if paths is not None:
        now.scope = paths[0] if len(paths) == 1 else _nearest(paths, now.scope or "", name)


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
