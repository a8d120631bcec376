"""TensorBase: an array, its gradient, its place in the graph. What a tensor is before it can calculate.

The calculating methods stand beside their operations in `ops/`, as mixins; `tensor.py` puts the two together and binds
the finished class here (`bind`), so that operations can make tensors without importing what is built on top of them.
That is the one dependency turned round in the engine, and this is its place.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from minigrad.errors import GradientError, ShapeError
from minigrad.graph import Hook, Node, RemovableHandle, Shape, after_hooks, backward_walk
from minigrad.kernels.memory import empty, owns_memory
from minigrad.modes import modes

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["Array", "TensorBase", "bind", "check_current", "grad", "make_tensor"]

Array = npt.NDArray[Any]

#: `recorded` of a detached tensor: it has no place in the graph, whatever becomes of its memory.
_OUTSIDE = sys.maxsize

_accumulating = threading.RLock()  # a signal's handler may collect, too, on the thread that it interrupts


def _forked() -> None:
    global _accumulating
    _accumulating = threading.RLock()  # another thread of the parent may have had it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

_tensor_class: type[Tensor]


def bind(cls: type[Tensor]) -> None:
    """Say which class results are made of. Called once, by `minigrad.tensor`."""
    global _tensor_class
    _tensor_class = cls


def make_tensor(array: Array, node: Node | None = None, cell: list[int] | None = None) -> Tensor:
    """A tensor around an array as it is: no copy, no conversion, at this place in the graph, counting changes in `cell`."""
    made = _tensor_class.__new__(_tensor_class)  # as __init__ does, without the price of calling it
    made.array = array
    made.node = node
    made._grad = made.name = made._hooks = None
    made.cell = cell = [0, 0] if cell is None else cell
    made.recorded = cell[0]
    made._leaf_requires_grad = False
    return made


class TensorBase:
    """An array with a gradient and a place in the graph.

    A tensor without `node` that requires a gradient is a leaf: `backward()` adds to its `grad`. Views share `cell`, the
    version counter of their memory: the number of changes in place, and how many there were after the last one that was
    recorded. `recorded` is the version at which this tensor's `node` was true of it.
    """

    __slots__ = ("__weakref__", "_grad", "_hooks", "_leaf_requires_grad", "array", "cell", "name", "node", "recorded")

    def __init__(
        self, array: Array, requires_grad: bool = False, *, node: Node | None = None, cell: list[int] | None = None
    ) -> None:
        """Wrap an array as it is; use `minigrad.tensor` to make a tensor from anything else."""
        self.array = array
        self.node = node
        self._grad: Tensor | None = None
        self.cell = [0, 0] if cell is None else cell
        self.recorded = self.cell[0]
        self.name: str | None = None
        self._hooks: list[Hook] | None = None
        self._leaf_requires_grad = False
        if requires_grad:
            self.requires_grad = True

    # -------------------------------------------------------------------------------------------- what it is

    @property
    def shape(self) -> Shape:
        """The lengths of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, a numpy dtype."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    def dim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to or through this tensor."""
        return self.node is not None or self._leaf_requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            if value:
                return
            raise GradientError("requires_grad: only leaves can be switched off; use detach() for a result")
        if value and self.array.dtype.kind != "f":
            raise GradientError(
                f"requires_grad: only tensors of real floating point can require a gradient, this one is {self.dtype}"
            )
        self._leaf_requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self._self()

    @property
    def is_leaf(self) -> bool:
        """Whether no operation made this tensor (or none that was recorded)."""
        return self.node is None

    @property
    def grad_fn(self) -> Node | None:
        """The node that made this tensor, by PyTorch's name."""
        return self.node

    @property
    def edge(self) -> Any:
        """Where a gradient for this tensor goes: its node, itself if it is a leaf that wants one, or None."""
        if self.node is not None:
            return self.node
        return self if self._leaf_requires_grad else None

    # -------------------------------------------------------------------------------------------- its numbers

    def numpy(self) -> Array:
        """The numbers as a numpy array that shares their memory.

        Raises GradientError for a tensor that requires a gradient: writing into the array would go unseen.
        """
        if self.requires_grad:
            raise GradientError("numpy: this tensor requires a gradient; use tensor.detach().numpy()")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The one element as a Python number."""
        if self.array.size != 1:
            raise ShapeError(f"item: a tensor of shape {self.shape} has {self.array.size} elements, not one")
        return self.array.item()

    def tolist(self) -> Any:
        """The numbers as nested lists."""
        return self.array.tolist()

    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        cut = _tensor_class(self.array, cell=self.cell)
        cut.recorded = _OUTSIDE
        return cut

    @property
    def data(self) -> Tensor:
        """The same memory outside the graph; assigning replaces the numbers (shape and dtype stay)."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if value.shape != self.shape or value.dtype != self.dtype:
            raise ShapeError(f"data: {value.dtype}{value.shape} assigned to a tensor of {self.dtype}{self.shape}")
        self.array = value.array
        self.touched()

    def touched(self) -> None:
        """Count a change in place, so that a backward pass which kept the old numbers raises instead of lying."""
        cell = self.cell
        # One that did not know of an earlier change knows of it no better after this one.
        current = self.recorded == cell[0] if self.node is not None else cell[1] <= self.recorded != _OUTSIDE
        cell[0] += 1
        if self.node is not None:
            cell[1] = cell[0]
        if current:
            self.recorded = cell[0]

    # -------------------------------------------------------------------------------------------- gradients

    @property
    def grad(self) -> Tensor | None:
        """What backward passes have added up, or None. Assigned ones must have this tensor's shape: optimisers rely on it."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and not isinstance(value, TensorBase):
            raise TypeError(f"grad: a {type(value).__name__} assigned; give a tensor or None")
        if value is not None and value.shape != self.shape:
            raise ShapeError(f"grad: a gradient of shape {list(value.shape)} for a tensor of shape {list(self.shape)}")
        self._grad = value

    def backward(
        self,
        gradient: Tensor | npt.ArrayLike | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """Add the gradient of this tensor to the `grad` of every leaf it was computed from (or only of `inputs`,
        which may be results too).

        `gradient` is the cotangent, of this tensor's shape; it may be left out for a single element. `create_graph`
        records the backward pass itself, so that it can be differentiated again.
        Raises GradientError without a graph, FreedGraphError on a second walk, ShapeError for a wrong cotangent.
        """
        owners = None if inputs is None else {_edge_of(tensor): tensor for tensor in inputs}
        targets = None if inputs is None else [tensor.edge for tensor in inputs]
        seed = _seed(self._self(), gradient)
        taken = {id(seed.array)}
        keep = create_graph if retain_graph is None else retain_graph
        now = modes.now
        before, now.grad = now.grad, create_graph
        try:
            for edge, g in backward_walk([(self.edge, seed)], targets=targets, retain_graph=keep):
                leaf, array = edge if owners is None else owners[edge], g.array
                if leaf.node is not None and leaf.node.retain is not None and leaf.node.retain() is leaf:
                    continue  # it has collected already
                # Two leaves may be handed one array (a + b passes its cotangent to both): each keeps its own.
                leaf.collect(g, shared=not owns_memory(array) or id(array) in taken)
                taken.add(id(array))
        finally:
            now.grad = before

    def collect(self, g: Tensor, shared: bool = True) -> None:
        """Add an arriving gradient to `grad`, never in place; keep a copy where others hold the same memory."""
        if self._hooks and self.node is None:
            g, shared = after_hooks(self._hooks, g), True  # a hook may keep what it saw
        with _accumulating:  # two threads may walk two graphs down to one leaf
            while True:
                before = self._grad
                total = before + g if before is not None else g.apart() if shared else g
                if self._grad is before:  # and no signal's handler has added something meanwhile
                    self._grad = total  # of the right shape: formulas and hooks are held to it
                    return

    def apart(self) -> Tensor:
        """The same numbers and place in the graph, in memory that nobody else holds."""
        if self.node is not None:
            return self._self().clone()
        kept = empty(self.shape, self.dtype)
        kept[...] = self.array
        return make_tensor(kept)

    def retain_grad(self) -> None:
        """Keep `grad` although this tensor is not a leaf."""
        if self.node is not None:
            self.node.retain = weakref.ref(self._self())
        elif not self.requires_grad:
            raise GradientError("retain_grad: this tensor does not require a gradient")

    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(gradient)`` when this tensor's gradient is complete; what it returns, if anything, replaces it."""
        if not self.requires_grad:
            raise GradientError("register_hook: this tensor does not require a gradient")
        if self.node is not None:
            self.node.hooks = hooks = self.node.hooks or []
        else:
            self._hooks = hooks = self._hooks or []
        return RemovableHandle(hooks, hook)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """How deepcopy takes a tensor apart. Raises GradientError for a result: its graph can't be copied."""
        if self.node is not None:
            raise GradientError(f"copy: only leaves can be copied whole, this is a result of {self.node.name}; use detach()")
        made: Any = super().__reduce_ex__(protocol)
        if isinstance(made[2], tuple) and made[2][1]:  # hooks stay with the tensor to which they were given
            made = (*made[:2], (made[2][0], {**made[2][1], "_hooks": None}), *made[3:])
        return made

    def _self(self) -> Tensor:
        return cast("Tensor", self)

    __hash__ = object.__hash__  # identity, although == compares elements


def grad(
    outputs: TensorBase | Sequence[TensorBase],
    inputs: TensorBase | Sequence[TensorBase],
    grad_outputs: Tensor | npt.ArrayLike | Sequence[Tensor | npt.ArrayLike | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs` (leaves or results), leaving every `.grad` alone.

    Only the part of the graph between them is walked. Raises GradientError when an input was not used and
    `allow_unused` is not set; with it, that input's gradient is None.
    """
    roots = [outputs] if isinstance(outputs, TensorBase) else list(outputs)
    leaves = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
    if grad_outputs is None:
        seeds: list[Any] = [None] * len(roots)
    elif isinstance(grad_outputs, (list, tuple)):
        seeds = list(grad_outputs)
    else:
        seeds = [grad_outputs]
    if len(seeds) != len(roots):
        raise ShapeError(f"grad: {len(seeds)} grad_outputs for {len(roots)} outputs")
    cotangents = [(root.edge, _seed(root, seed)) for root, seed in zip(roots, seeds, strict=True)]
    targets = [_edge_of(leaf) for leaf in leaves]
    keep = create_graph if retain_graph is None else retain_graph
    now = modes.now
    before, now.grad = now.grad, create_graph
    try:
        walked = backward_walk(cotangents, targets=targets, retain_graph=keep)
    finally:
        now.grad = before
    found = {edge: _hooked(edge, g) for edge, g in walked}
    gradients = tuple([found.get(target) for target in targets])
    for position, g in enumerate(gradients):
        if g is None and not allow_unused:
            raise GradientError(
                f"grad: input {position} was not used in computing the outputs; pass allow_unused=True to get None"
            )
    return gradients


def _hooked(edge: Any, g: Tensor) -> Tensor:
    """A leaf's hooks see its gradient here too; those of a node were run in the walk."""
    return after_hooks(edge._hooks, g) if isinstance(edge, TensorBase) else g


def _seed(root: TensorBase, gradient: Any) -> Tensor:
    if not root.requires_grad:
        raise GradientError("backward: this tensor does not require a gradient and no operation on it was recorded")
    check_current(root)
    if gradient is None:
        if root.array.size != 1:
            raise GradientError(
                f"backward: a gradient can be left out for one element only; this tensor has shape {root.shape}, "
                "pass a gradient of that shape"
            )
        one = empty(root.shape, root.dtype)
        one.fill(1)
        return make_tensor(one)
    seed = gradient._self() if isinstance(gradient, TensorBase) else make_tensor(np.asarray(gradient))
    if seed.shape != root.shape:
        raise ShapeError(f"backward: gradient of shape {seed.shape} for a tensor of shape {root.shape}")
    return seed if seed.array.dtype is root.array.dtype else seed.to(root.dtype)  # kernels take it as it is


def _edge_of(tensor: TensorBase) -> Any:
    if tensor.edge is None:
        raise GradientError("grad: one of the inputs does not require a gradient")
    return tensor.edge


def check_current(tensor: TensorBase) -> None:
    """Raise if the memory was changed through another view so that this tensor's place in the graph is no longer true."""
    if tensor.node is not None and tensor.recorded != tensor.cell[0]:
        raise GradientError(
            f"{tensor.node!r}: its memory was changed in place through another view since it was recorded, so its "
            "place in the graph is no longer true; take the view again after the change, or clone() before it"
        )
    if tensor.node is None and tensor.recorded < tensor.cell[1]:
        raise GradientError(
            f"a tensor of shape {list(tensor.shape)}: its memory was changed in place, by something that requires a "
            "gradient, through another view, and this tensor does not know it; assign through it instead "
            "(x[i, j] = y, not x[i][j] = y), or take the view after the change"
        )
