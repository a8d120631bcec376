"""The recorded graph: nodes and the backward walk.

A `Node` is one application of an operation. Its edges lead to where each input came from: the node that made it, a leaf
tensor that wants a gradient, or None for a constant. Edges hold nodes, not tensors, so an array lives only as long as
somebody needs it. Nodes are numbered as they are made; an input is always older than what is computed from it, so
walking by falling number is walking in reverse topological order, without recursion and at any depth.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minigrad.errors import FreedGraphError, ShapeError

if TYPE_CHECKING:
    from minigrad.op import Op
    from minigrad.plans import Plan
    from minigrad.tensor import Tensor

__all__ = ["OWN", "Hook", "Node", "RemovableHandle", "Saved", "Shape", "after_hooks", "backward_walk", "keep", "reachable"]

Shape = tuple[int, ...]
Hook = Callable[["Tensor"], "Tensor | None"]

#: The edge of a node's own output among its saved arrays; the node itself would make a reference cycle.
OWN: Any = object()

_numbers = itertools.count()
_number = operator.attrgetter("number")


class Saved(NamedTuple):
    """An array kept for the backward pass, with its place in the graph and the version it had when it was kept."""

    array: np.ndarray[Any, Any]
    edge: Any
    cell: list[int]
    version: int


#: A `Saved` of four things in a tuple; its class's own constructor takes twice as long.
keep = functools.partial(tuple.__new__, Saved)


class Node:
    """One application of an operation: what it was, where its inputs came from, what its backward needs."""

    __slots__ = (
        "__weakref__",
        "dtype",
        "dtypes",
        "edges",
        "hooks",
        "number",
        "op",
        "params",
        "plan",
        "retain",
        "saved",
        "scope",
        "shape",
        "shapes",
        "where",
    )

    def __init__(
        self,
        op: Op,
        params: dict[str, Any],
        edges: Sequence[Any],
        plan: Plan,
        shapes: Sequence[Shape],
        dtypes: Sequence[np.dtype[Any] | None],
        out: np.ndarray[Any, Any],
        saved: dict[str, Saved],
        scope: str | None,
    ) -> None:
        """Record an application."""
        self.op = op
        self.params = params
        self.edges = edges
        self.shape = out.shape
        self.dtype = out.dtype
        #: Of the inputs; () and None for one that is absent.
        self.shapes = shapes
        self.dtypes = dtypes
        #: What the backward pass does, and which inputs want a gradient, edge by edge.
        self.plan = plan
        self.number = next(_numbers)
        self.saved: dict[str, Saved] | None = saved
        self.hooks: list[Hook] | None = None
        self.retain: weakref.ref[Tensor] | None = None
        self.where: str | None = None
        self.scope = scope

    def __repr__(self) -> str:
        return f"<{self.op.name} {list(self.shape)}>"

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    @property
    def parents(self) -> Iterator[Node]:
        """The nodes that made the inputs, in the inputs' order, repeated where an input is."""
        return (edge for edge in self.edges if isinstance(edge, Node))

    def free(self) -> None:
        """Let the saved arrays go; a later backward pass through this node raises."""
        self.saved = None

    def unfreed(self) -> dict[str, Saved]:
        """The saved arrays, or an error that says why there are none."""
        if self.saved is None:
            raise FreedGraphError(
                f"backward: the graph has been walked before and its saved arrays are freed (met at {self!r}); "
                "pass retain_graph=True to the earlier backward() or grad() to walk it again"
            )
        return self.saved


def reachable(roots: Iterable[Any]) -> list[Node]:
    """All nodes that the roots were computed from, newest first: reverse topological order."""
    seen: set[int] = set()
    found: list[Node] = []
    stack = [root for root in roots if isinstance(root, Node)]
    while stack:
        node = stack.pop()
        if node.number not in seen:
            seen.add(node.number)
            found.append(node)
            stack += [edge for edge in node.edges if isinstance(edge, Node)]
    found.sort(key=_number, reverse=True)
    return found


def backward_walk(
    roots: Sequence[tuple[Any, Tensor]],
    *,
    targets: Sequence[Any] | None = None,
    retain_graph: bool = False,
) -> list[tuple[Any, Tensor]]:
    """Pull cotangents from the roots to the leaves, or only to `targets` (edges), and return what arrived.

    Of all nodes that a cotangent has reached the newest is next: nothing older can add to what it was given. So every node
    is visited once, and its cotangent is dropped as soon as it has been pulled through. Without `retain_graph` the saved
    arrays go at the same moment.
    """
    wanted = set(targets) if targets is not None else None  # tensors, like nodes, are hashed and found by identity
    useful = _leading_to(wanted, reachable(edge for edge, _ in roots)) if wanted is not None else None
    pending: dict[Any, Tensor] = {}  # edges, which are told apart by identity, and what they were given
    ahead: list[tuple[int, Node]] = []  # a heap of the nodes among them, the newest first
    arrived: list[tuple[Any, Tensor]] = []
    given: Iterable[tuple[Any, Tensor | None]] = roots
    while True:
        for edge, part in given:
            if part is None or edge is None:
                continue
            if edge in pending:
                part = pending[edge] + part
            elif type(edge) is Node:
                heapq.heappush(ahead, (-edge.number, edge))
            pending[edge] = part
        if not ahead:
            break
        node = heapq.heappop(ahead)[1]
        g = pending.pop(node)
        if node.hooks is not None or node.retain is not None:
            g = _passed(node, g)
        if wanted is not None and node in wanted:
            arrived.append((node, g))
        plan = node.plan
        if useful is not None:
            plan = node.op.plan(tuple([edge in useful for edge in node.edges]))
        given = ()
        if True in plan.needs:
            given = zip(node.edges, plan.pull(node, g), strict=True)
            if not retain_graph:  # a node that is only reached, not walked through, can still be
                node.free()
    arrived.extend(pending.items())  # what is left belongs to leaves
    return arrived


class RemovableHandle:
    """What `register_hook` gives back: `remove()` takes the hook away again.

    It stands among the hooks in its function's place, so that one function added twice can be taken away once.
    """

    def __init__(self, hooks: list[Hook], hook: Hook) -> None:
        """Add the hook to the others."""
        self._hooks, self._hook = hooks, hook
        hooks.append(self)

    def __call__(self, gradient: Tensor) -> Tensor | None:
        """Call the hook."""
        return self._hook(gradient)

    def remove(self) -> None:
        """Take the hook away; doing so twice does no harm."""
        if self in self._hooks:
            self._hooks.remove(self)


def after_hooks(hooks: Iterable[Hook] | None, g: Tensor) -> Tensor:
    """The gradient as the hooks leave it. Raises TypeError or ShapeError for a hook that gives back what does not fit."""
    for hook in tuple(hooks or ()):  # a hook may take itself away
        changed = hook(g)
        if changed is None:
            continue
        if not hasattr(changed, "edge"):
            raise TypeError(f"hook: a {type(changed).__name__} given back for a gradient; give a tensor, or None to keep it")
        if changed.dtype != g.dtype:
            raise TypeError(f"hook: a gradient of {changed.dtype} given back for one of {g.dtype}; bring it there with .to()")
        if changed.shape != g.shape:
            raise ShapeError(f"hook: a tensor of shape {list(changed.shape)} given back for a gradient of {list(g.shape)}")
        g = changed
    return g


def _passed(node: Node, g: Tensor) -> Tensor:
    if node.hooks:
        g = after_hooks(node.hooks, g)
        if not g.requires_grad:  # or it is part of a graph, of which a copy would be one more
            g = g.apart()  # since a hook may keep what it saw
    kept = node.retain() if node.retain is not None else None
    if kept is not None:
        kept.collect(g)
    return g


def _leading_to(wanted: set[Any], nodes: Sequence[Node]) -> set[Any]:
    """The edges through which a wanted one is reached, themselves included."""
    useful = set(wanted)
    for node in reversed(nodes):  # oldest first: inputs are settled before what was computed from them
        if not useful.isdisjoint(node.edges):
            useful.add(node)
    return useful
