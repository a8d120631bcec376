"""A training step in slow motion: what each operation computes, keeps and frees, forward and then backward, and what is alive.

Worked out from the recorded graph, as the engine would do it: an array lives from the operation that makes it to the last that
needs it; what a formula will ask for lives until the backward pass has been through. Counted are results, what is kept, and
gradients on their way; parameters with their gradients, and what kernels need for themselves, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minigrad.core import TensorBase
from minigrad.graph import Node
from minigrad.viz.labels import shape_text
from minigrad.viz.names import Names, owner_of

__all__ = ["Step", "steps_of"]

Keys = Mapping[int, tuple[str, ...]]
Sizes = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation run, or pulled back: `keys` are the items it is drawn as; sizes are in bytes.

    `alive` is what is there while the step runs (made, and nothing freed yet), `held` what is kept for the backward pass then.
    """

    keys: tuple[str, ...]
    backward: bool
    computed: str
    kept: Sizes
    freed: Sizes
    alive: int
    held: int


def steps_of(nodes: Sequence[Node], keys: Keys, back: Keys, names: Names) -> tuple[Step, ...]:
    """The steps of a forward pass over `nodes` (oldest first) and the backward pass over them.

    `keys` and `back` say, by a node's number, as which items its two steps are drawn. A graph that was walked has no steps:
    what it kept is gone.
    """
    if any(node.saved is None for node in nodes):
        return ()
    memory = _Memory(nodes, names)
    return (*memory.forward(keys), *memory.backward(back))


@dataclass
class _Array:
    """Memory: how much, what it is called, how many still need it."""

    size: int
    name: str
    users: int = 0
    keepers: int = 0
    was_kept: bool = False


@dataclass
class _Memory:
    nodes: Sequence[Node]
    names: Names
    arrays: dict[Any, _Array] = field(default_factory=dict)  # alive now
    outputs: dict[int, Any] = field(default_factory=dict)  # a node's number -> whose memory its result is
    kept: dict[int, list[Any]] = field(default_factory=dict)  # -> the memory that it keeps
    alive: int = 0  # bytes
    held: int = 0  # of them kept for the backward pass

    def __post_init__(self) -> None:
        places: dict[int, Any] = {}  # where an array that somebody keeps came from
        for node in self.nodes:
            for name, saved in (node.saved or {}).items():
                if isinstance(saved.edge, Node):
                    places[saved.edge.number] = id(owner_of(saved.array))
                elif name == node.op.outputs[0]:
                    places[node.number] = id(owner_of(saved.array))
        for node in self.nodes:
            first = node.edges[0] if node.edges else None
            alias = self.outputs.get(first.number) if node.op.view and isinstance(first, Node) else None
            self.outputs[node.number] = places.get(node.number, alias if alias is not None else (node.number,))
        self.uses: dict[Any, int] = {}
        for node in self.nodes:
            for parent in node.parents:
                memory = self.outputs.get(parent.number)
                self.uses[memory] = self.uses.get(memory, 0) + 1

    def forward(self, keys: Keys) -> Iterable[Step]:
        for node in self.nodes:
            memory = self.outputs[node.number]
            if memory not in self.arrays:
                self._add(memory, _Array(_bytes(node.shape, node.dtype), node.op.name, self.uses.get(memory, 0)))
            kept = self._keep(node)
            alive, held = self.alive, self.held
            freed = []
            for parent in node.parents:
                before = self.outputs[parent.number]
                self.arrays[before].users -= 1
                freed += self._released(before)
            yield Step(keys.get(node.number, ()), False, _described(node), kept, tuple(freed), alive, held)

    def _keep(self, node: Node) -> Sizes:
        """Count what this node keeps; give what it is the first to keep."""
        fresh = []
        self.kept[node.number] = []
        for name, saved in (node.saved or {}).items():
            memory = id(owner_of(saved.array))
            is_parameter = isinstance(saved.edge, TensorBase) and self.names.is_parameter(saved.edge)
            if memory in self.names.memory or is_parameter:
                continue
            array = self.arrays.get(memory) or self._add(memory, _Array(saved.array.nbytes, name))
            if not array.was_kept:
                fresh.append((name, array.size))
                self.held += array.size
            array.was_kept = True
            array.keepers += 1
            self.kept[node.number].append(memory)
        return tuple(fresh)

    def backward(self, keys: Keys) -> Iterable[Step]:
        root = self.nodes[-1]
        gradients: dict[int, int] = {root.number: _bytes(root.shape, root.dtype)}
        pending = gradients[root.number]
        for node in reversed(self.nodes):
            arrived = []
            for slot, edge, shape, dtype in zip(
                node.op.slots(len(node.edges)), node.edges, node.shapes, node.dtypes, strict=True
            ):
                if edge is None:
                    continue
                name = (self.names.of(edge) or slot) if isinstance(edge, TensorBase) else slot
                arrived.append(f"{name} {shape_text(shape)}")
                if isinstance(edge, Node) and edge.number not in gradients:
                    gradients[edge.number] = _bytes(shape, dtype)
                    pending += gradients[edge.number]
            alive, held = self.alive + pending, self.held
            freed = []
            for memory in self.kept[node.number]:
                self.arrays[memory].keepers -= 1
                freed += self._released(memory)
            own = gradients.pop(node.number, 0)
            if own:
                freed.append(("its gradient", own))
                pending -= own
            computed = f"gradient of {', '.join(arrived)}" if arrived else "nothing more"
            yield Step(keys.get(node.number, ()), True, computed, (), tuple(freed), alive, held)

    def _released(self, memory: Any) -> list[tuple[str, int]]:
        array = self.arrays.get(memory)
        if array is None or array.users > 0 or array.keepers > 0:
            return []
        del self.arrays[memory]
        self.alive -= array.size
        self.held -= array.size if array.was_kept else 0
        return [(array.name, array.size)]

    def _add(self, memory: Any, array: _Array) -> _Array:
        self.arrays[memory] = array
        self.alive += array.size
        return array


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * int(dtype.itemsize)


def _described(node: Node) -> str:
    return f"{node.op.name} {shape_text(node.shape)}"
