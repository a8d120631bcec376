"""What things are called: parameters, modules and inputs, as the model names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.graph import Node
from minigrad.modes import modes
from minigrad.viz.labels import compact, shortened

__all__ = ["Names", "owner_of"]


def owner_of(array: Array) -> Any:
    """The array that owns the memory of a view."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


class Names:
    """Looks up the names of parameters, the descriptions of modules, and which arrays were given as inputs."""

    def __init__(self, model: Any = None, inputs: Sequence[TensorBase] = ()) -> None:
        """Take the names from a module (or None) and from the tensors that it was called with."""
        self.model = model
        self._parameters: dict[int, str] = {}
        self._modules: dict[str, Any] = {}
        if model is not None:
            self._parameters = {id(p): name for name, p in model.named_parameters()}
            self._modules = dict(model.named_modules(remove_duplicate=False))
        #: The memory of parameters and buffers, which is there anyway and not kept for a backward pass.
        self.memory = {id(owner_of(tensor.array)) for tensor in _owned(model)}
        self._inputs = list(inputs)
        self._buffers = [] if model is None else list(model.named_buffers())
        self._taken: dict[tuple[int, str], TensorBase] = {}  # (node, slot) -> the input that it took and did not keep

    def parameters(self) -> Iterator[tuple[str, TensorBase]]:
        """The model's parameters with their names."""
        return iter(()) if self.model is None else self.model.named_parameters()

    def is_parameter(self, leaf: TensorBase) -> bool:
        """Whether a leaf is a parameter: of the model, or by its class."""
        return id(leaf) in self._parameters or any(c.__name__ == "Parameter" for c in type(leaf).__mro__)

    def of(self, leaf: TensorBase) -> str:
        """A leaf's name: the model's, its own, or nothing."""
        if id(leaf) in self._parameters:
            return self._parameters[id(leaf)]
        if leaf.name:
            return leaf.name
        return self._input_at(lambda given: given is leaf)

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Inside the block, notice which nodes take inputs and buffers: what they don't keep could not be told afterwards."""
        given = [*(tensor for _, tensor in self._buffers), *self._inputs]
        owners = {id(owner_of(tensor.array)): tensor for tensor in given if isinstance(tensor, TensorBase)}

        def look(node: Node, arrays: Sequence[Array | None], out: Array) -> None:
            if before is not None:
                before(node, arrays, out)
            slots = node.op.slots(len(arrays))
            for slot, array, edge in zip(slots, arrays, node.edges, strict=True):
                if edge is None and array is not None and id(owner_of(array)) in owners:
                    self._taken[node.number, slot] = owners[id(owner_of(array))]

        before, modes.now.watcher = modes.now.watcher, look
        try:
            yield
        finally:
            modes.now.watcher = before

    def taken_at(self, node: Node, slot: str) -> Array | None:
        """The input's or buffer's array that a node was noticed to take."""
        given = self._taken.get((node.number, slot))
        return given.array if given is not None else None

    def buffer_name(self, array: Array) -> str:
        """What the buffer is called that holds this array, or nothing."""
        return next((name for name, tensor in self._buffers if owner_of(tensor.array) is owner_of(array)), "")

    def input_name(self, array: Array) -> str:
        """What the input is called that holds this array, or nothing."""
        return self._input_at(lambda given: np.may_share_memory(given.array, array))

    def _input_at(self, fits: Any) -> str:
        for i, given in enumerate(self._inputs):
            if fits(given):
                return given.name or ("input" if len(self._inputs) == 1 else f"input {i}")
        return ""

    def module(self, path: str) -> Any:
        """The module at a dotted path, or None."""
        return self._modules.get(path)

    def describe(self, path: str, limit: int = 60) -> str:
        """A module's class and, where it is no container, its settings: ``Conv2d(3, 64, kernel_size=11)``."""
        module = self._modules.get(path)
        if module is None:
            return ""
        settings = module.extra_repr() if hasattr(module, "extra_repr") else ""
        if next(iter(module.children()), None) is not None:
            return type(module).__name__
        return shortened(f"{type(module).__name__}({compact(settings)})" if settings else type(module).__name__, limit)


def _owned(model: Any) -> list[TensorBase]:
    return [] if model is None else [*model.parameters(), *model.buffers()]
