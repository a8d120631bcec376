"""What is to be drawn, as plain data: items, edges between them, and the boxes in which they lie.

Nothing here knows tensors or Graphviz. `record`, `modules` and `gradients` make pictures from graphs, `fold` and `select` make
smaller pictures from larger ones, `dot` writes them down. A picture is in execution order and free of addresses and counters,
so that equal graphs give equal pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from minigrad.errors import MinigradError

__all__ = ["Box", "Edge", "Item", "Leaf", "Path", "Picture", "PictureError", "Stats", "prefixes"]

#: Where an item lies: the calls of modules around it, outermost first; ``("features", "features.0")``.
Path = tuple[str, ...]


class PictureError(MinigradError, ValueError):
    """A picture that can't be had as it was asked for: the message says what there is."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the numbers of an array look like; `norm` is the Euclidean one. Counts are of elements."""

    minimum: float
    mean: float
    maximum: float
    norm: float
    size: int
    nans: int = 0
    infs: int = 0
    zeros: int = 0
    dead: int = 0  # units of a ReLU that are 0 for the whole batch
    units: int = 0  # of how many

    @property
    def broken(self) -> bool:
        """Whether there is a NaN or an Inf."""
        return bool(self.nans or self.infs)

    @property
    def rms(self) -> float:
        """The root of the mean square of the finite elements; 0 where there are none."""
        finite = self.size - self.nans - self.infs
        return self.norm / math.sqrt(finite) if finite else 0.0


@dataclass(frozen=True, slots=True)
class Leaf:
    """One named array that was not computed: a parameter, an input, a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    size: int = 0
    value: Stats | None = None
    gradient: Stats | None = None
    missing: bool = False  # its gradient was asked for, and none arrived


@dataclass(frozen=True, slots=True)
class Item:
    """One thing drawn. `kind` is op, module, layer, parameter, input, constant, saved or more.

    `macs`, `flops` and `parameters` are numbers, `kept` is in bytes; for an item that stands for several they are sums.
    """

    key: str
    kind: str
    title: str
    family: str = "other"
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"
    settings: str = ""
    path: Path = ()
    owner: str = ""  # an operation's module where no frame says it; a leaf's where it goes without saying
    macs: int = 0
    flops: int = 0
    parameters: int = 0
    kept: int = 0
    keeps: tuple[str, ...] = ()
    count: int = 1  # how many operations it stands for
    times: int = 1  # how often it is repeated; its numbers are those of one
    kept_in_all: int | None = None  # over all repeats, where that is known to be other than `kept` times `times`
    leaves: tuple[Leaf, ...] = ()
    columns: int = 1  # groups of channels that don't see each other
    value: Stats | None = None
    gradient: Stats | None = None
    result: str = ""  # what its output is, where that has a name: a parameter's gradient
    notes: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()  # Graphviz attributes from the user's style callback

    @property
    def is_leaf(self) -> bool:
        """Whether it was given and not computed."""
        return self.kind in ("parameter", "input", "constant", "saved")

    def whole(self, what: str) -> int:
        """`macs`, `flops`, `parameters` or `kept` over all repeats."""
        if what == "kept" and self.kept_in_all is not None:
            return self.kept_in_all
        return int(getattr(self, what)) * self.times

    @property
    def broken(self) -> bool:
        """Whether a NaN or an Inf is known in a value or a gradient."""
        numbers = (self.value, self.gradient, *(s for leaf in self.leaves for s in (leaf.value, leaf.gradient)))
        return any(stats is not None and stats.broken for stats in numbers)

    def gradients(self) -> Iterator[Stats | None]:
        """The gradients that are known: its own and its leaves'."""
        yield self.gradient
        for leaf in self.leaves:
            yield leaf.gradient


@dataclass(frozen=True, slots=True)
class Edge:
    """From what was computed first to what uses it. `kind` is data, across (to what stands beside), again (from the step
    before), saved, gradient, or row (invisible: stand level).
    """

    source: str
    target: str
    kind: str = "data"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A frame around items: a module with its name and settings, or a repeated block with its `times`."""

    name: str
    settings: str = ""
    times: int = 1


@dataclass(frozen=True)
class Picture:
    """Items in execution order, edges, and the boxes by path."""

    items: dict[str, Item]
    edges: tuple[Edge, ...] = ()
    boxes: dict[Path, Box] = field(default_factory=dict)
    title: str = ""
    notes: tuple[str, ...] = ()
    stands: Mapping[str, str] = field(default_factory=dict)  # items that were folded away -> the item that stands for them
    tight: bool = False  # small nodes, close together
    scale: bool = False  # gradients are coloured by their size

    def with_items(self, items: Iterable[Item]) -> Picture:
        """The same picture with these items instead; edges that lost an end go."""
        kept = {item.key: item for item in items}
        edges = tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept)
        return replace(self, items=kept, edges=edges)

    def mapped(self, change: Callable[[Item], Item]) -> Picture:
        """The picture with every item changed; keys must stay."""
        return replace(self, items={key: change(item) for key, item in self.items.items()})

    def standing(self, groups: Mapping[str, str]) -> dict[str, str]:
        """`stands` after the items in `groups` are gone, each for the item that it names."""
        return {key: groups.get(item, item) for key, item in self.stands.items()} | {
            key: item for key, item in groups.items() if key != item
        }

    def noted(self, note: str) -> Picture:
        """The picture with one more line under its title."""
        return replace(self, notes=(*self.notes, note))

    @property
    def operations(self) -> int:
        """How many operations the picture stands for."""
        return sum(item.count * item.times for item in self.items.values() if not item.is_leaf)

    def total(self, what: str) -> int:
        """The sum of `macs`, `flops`, `parameters` or `kept` over all items."""
        return sum(item.whole(what) for item in self.items.values())


def prefixes(path: Path) -> Iterator[Path]:
    """The paths of the boxes around an item, outermost first: ``(a,)``, ``(a, b)``, ..."""
    return (path[: i + 1] for i in range(len(path)))
