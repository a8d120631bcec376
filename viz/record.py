"""From a recorded graph to a picture: one item for each operation, its parameters and inputs beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.graph import Node, reachable
from minigrad.viz.labels import dtype_name, setting_words, shape_text
from minigrad.viz.names import Names, owner_of
from minigrad.viz.picture import Box, Edge, Item, Leaf, Path, Picture, prefixes

__all__ = ["Origin", "Recorded", "kept_by", "paths_of", "record"]

Producer = Node | TensorBase


class Origin(NamedTuple):
    """Where an array that was not computed came from: a leaf, or a constant that `node` took as its input `slot`."""

    tensor: TensorBase | None
    array: Array | None
    node: Node
    slot: str


@dataclass
class Recorded:
    """A picture and what its keys stand for, for those who look up numbers."""

    picture: Picture
    nodes: dict[str, Node] = field(default_factory=dict)
    leaves: dict[str, list[Origin]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    memory: dict[tuple[int, bool], str] = field(default_factory=dict)  # (whose array, second pass?) -> item


@dataclass
class _Source:
    """An array that was not computed, and which operations use it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    origin: Origin
    memory: int = 0  # whose array it is, where that is known
    second: bool = False  # used by the second pass
    users: list[str] = field(default_factory=list)


def record(
    roots: Iterable[Any],
    names: Names,
    *,
    title: str = "",
    skip: frozenset[int] = frozenset(),
    forward: frozenset[int] = frozenset(),
) -> Recorded:
    """The graph behind `roots` (edges: nodes or leaves) as a picture; nodes numbered in `skip` are left out.

    Nodes numbered in `forward`, if any, are one pass and the others a second, with inputs and calls of modules of its own.
    """
    found = [edge for edge in roots if edge is not None]
    nodes = [node for node in reversed(reachable(found)) if node.number not in skip]
    keys = {id(node): f"op{i}" for i, node in enumerate(nodes)}
    second = [bool(forward) and node.number not in forward for node in nodes]
    paths = [
        iter(paths_of([n.scope for n, other in zip(nodes, second, strict=True) if other is side])) for side in (False, True)
    ]
    places = [next(paths[side]) for side in second]
    sources = _Sources(names)
    edges: list[Edge] = []
    items: dict[str, Item] = {}
    seen: set[int] = set()
    for node, path, side in zip(nodes, places, second, strict=True):
        key = keys[id(node)]
        slots = node.op.slots(len(node.edges))
        for slot, edge, shape, dtype in zip(slots, node.edges, node.shapes, node.dtypes, strict=True):
            if isinstance(edge, Node):
                if id(edge) in keys:
                    edges.append(Edge(keys[id(edge)], key))
                else:
                    sources.kept(key, node, slot, edge)
            else:
                sources.used(key, node, slot, edge, shape, dtype, side)
        items[key] = _operation(key, node, path, names, seen)
    given, links, origins = sources.items({key: item.path for key, item in items.items()})
    boxes = _boxes(itertools.chain(places, (item.path for item in given)), names)
    picture = Picture({item.key: item for item in (*given, *items.values())}, (*links, *edges), boxes, title)
    outputs = tuple(keys[id(edge)] for edge in found if id(edge) in keys)
    return Recorded(picture, {keys[id(node)]: node for node in nodes}, origins, outputs, sources.memory)


def paths_of(scopes: Sequence[str | None]) -> list[Path]:
    """Where each operation lies: its module and those around it, each told apart by the call it was.

    A module that is left and entered again (shared weights) gets a box for each call: ``cell``, ``cell#2``.
    """
    calls: dict[tuple[Path, str], int] = {}
    current: list[tuple[str, str]] = []  # (module, box) for each level that is open
    paths: list[Path] = []
    for scope in scopes:
        wanted = _levels(scope)
        shared = 0
        while shared < min(len(wanted), len(current)) and wanted[shared] == current[shared][0]:
            shared += 1
        del current[shared:]
        for module in wanted[shared:]:
            around = tuple(box for _, box in current)
            call = calls[around, module] = calls.get((around, module), 0) + 1
            current.append((module, module if call == 1 else f"{module}#{call}"))
        paths.append(tuple(box for _, box in current))
    return paths


def _levels(scope: str | None) -> list[str]:
    parts = scope.split(".") if scope else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _boxes(paths: Iterable[Path], names: Names) -> dict[Path, Box]:
    boxes: dict[Path, Box] = {}
    for path in paths:
        for prefix in prefixes(path):
            if prefix not in boxes:
                module, _, call = prefix[-1].partition("#")
                name = f"{module} (call {call})" if call else module
                boxes[prefix] = Box(name, names.describe(module))
    return boxes


def _operation(key: str, node: Node, path: Path, names: Names, seen: set[int]) -> Item:
    kept, keeps = kept_by(node, names, seen)
    return Item(
        key,
        "op",
        node.op.name,
        family=node.op.family,
        shape=node.shape,
        dtype=dtype_name(node.dtype),
        settings=_settings(node),
        path=path,
        macs=int(node.op.macs(node.shape, *node.shapes, **node.params)),
        flops=int(node.op.flops(node.shape, *node.shapes, **node.params)),
        kept=kept,
        keeps=keeps,
        columns=node.params.get("groups", 1) if node.op.family == "conv" else 1,
    )


def _settings(node: Node) -> str:
    words = setting_words(node.params)
    if node.op.name == "conv2d":
        window = shape_text(node.shapes[1][2:])
        return f"{window}, {words}" if words else window
    return words


def kept_by(node: Node, names: Names, seen: set[int]) -> tuple[int, tuple[str, ...]]:
    """Bytes that this operation is the first to keep, and the names of all arrays it keeps but parameters."""
    size, keeps = 0, []
    for name, saved in (node.saved or {}).items():
        memory = id(owner_of(saved.array))
        if memory in names.memory or (isinstance(saved.edge, TensorBase) and names.is_parameter(saved.edge)):
            continue
        keeps.append(name)
        if memory not in seen:
            seen.add(memory)
            size += saved.array.nbytes
    return size, tuple(keeps)


class _Sources:
    """Collects what was not computed: parameters by the operations that use them together, inputs one by one."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.known: dict[Any, _Source] = {}
        self.memory: dict[tuple[int, bool], str] = {}

    def used(self, key: str, node: Node, slot: str, leaf: Any, shape: tuple[int, ...], dtype: Any, side: bool) -> None:
        if leaf is not None:
            kind = "parameter" if self.names.is_parameter(leaf) else "input"
            identity: Any = id(leaf)
            memory, array = 0, None
            name = self.names.of(leaf) or slot
        else:
            saved = (node.saved or {}).get(slot)
            array = saved.array if saved is not None else self.names.taken_at(node, slot)
            given = self.names.input_name(array) if array is not None else None
            if not shape or (array is not None and not given and _uninteresting(node, array)):
                return
            memory = id(owner_of(array)) if array is not None else 0
            identity = (memory, shape) if memory else (key, slot)
            kind = "input" if given or slot in ("input", "x") else "constant"
            name = given or (self.names.buffer_name(array) if array is not None else "") or slot
        origin = Origin(leaf, array, node, slot)
        source = self.known.setdefault((identity, side), _Source(name, kind, shape, dtype_name(dtype), origin, memory, side))
        source.users.append(key)

    def kept(self, key: str, user: Node, slot: str, node: Node) -> None:
        """An operation that is left out, and whose result this one uses."""
        name = f"{node.scope} {node.op.name}" if node.scope else node.op.name
        saved = (user.saved or {}).get(slot)
        origin = Origin(None, saved.array if saved is not None else None, user, slot)
        source = self.known.setdefault(id(node), _Source(name, "constant", node.shape, dtype_name(node.dtype), origin))
        source.users.append(key)

    def items(self, paths: Mapping[str, Path]) -> tuple[list[Item], list[Edge], dict[str, list[Origin]]]:
        """Items in the order of first use, edges to their users, and where the items' leaves come from."""
        groups: dict[Any, list[_Source]] = {}
        for at, source in enumerate(self.known.values()):
            owner = source.name.rpartition(".")[0]
            groups.setdefault((*source.users, owner) if source.kind == "parameter" else at, []).append(source)
        items: list[Item] = []
        edges: list[Edge] = []
        origins: dict[str, list[Origin]] = {}
        for i, group in enumerate(groups.values()):
            key, users = f"in{i}", list(dict.fromkeys(group[0].users))
            self.memory[group[0].memory, group[0].second] = key
            items.append(self._item(key, group, paths[users[0]], [paths[user] for user in users]))
            edges.extend(Edge(key, user) for user in users)
            origins[key] = [source.origin for source in group]
        return items, edges, origins

    def _item(self, key: str, group: list[_Source], first: Path, users: list[Path]) -> Item:
        shared = first
        while any(path[: len(shared)] != shared for path in users):
            shared = shared[:-1]
        leaves = tuple(
            Leaf(source.name, source.shape, source.dtype, int(np.prod(source.shape, dtype=np.int64))) for source in group
        )
        kind, module = group[0].kind, group[0].name.rpartition(".")[0]
        return Item(
            key,
            kind,
            group[0].name,
            family=kind,
            shape=group[0].shape,
            dtype=group[0].dtype,
            path=shared if kind == "parameter" else (),
            owner=module if kind == "parameter" and any(module == box.partition("#")[0] for box in shared) else "",
            parameters=sum(leaf.size for leaf in leaves) if kind == "parameter" and not group[0].second else 0,
            count=0,
            leaves=leaves,
        )


def _uninteresting(node: Node, array: Array) -> bool:
    """A mask drawn on the way, or the same number everywhere: nothing that somebody put in."""
    return node.op.family == "regularisation" or (array.size > 0 and bool((array == array.flat[0]).all()))
