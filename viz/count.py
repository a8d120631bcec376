"""`viz.summary`: a model's layers in the order in which they run, with shapes, parameters, MACs and memory.

The model runs once on zeros, in training mode, and what it recorded is counted: operations belong to the call of the module
that made them, an array kept by several operations and a parameter used by several modules count once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from minigrad.core import TensorBase
from minigrad.graph import Node
from minigrad.modes import modes
from minigrad.viz.names import Names
from minigrad.viz.record import Recorded, kept_by, record
from minigrad.viz.run import as_inputs, run, tensors_in
from minigrad.viz.table import Row, Summary

__all__ = ["summary"]


@dataclass
class _Call:
    """One call of a module: where it is in the model, what came out, and which operations it made itself."""

    path: str
    module: Any
    outputs: list[TensorBase]
    last: int  # number of the newest node when it returned
    keys: list[str] = field(default_factory=list)


def summary(model: Any, input_shape: Any) -> Summary:
    """Count a model's layers on an input of this shape (or on given tensors): `Summary` prints and shows itself.

    MACs and bytes are those of the whole batch. Parameters that no operation used are counted in the total all the same.
    Mode, running statistics and random numbers are left as they were.
    """
    inputs = [_watched(tensor) for tensor in as_inputs(input_shape)]
    calls: list[_Call] = []
    with _training(model), _hooked(model, calls):
        outputs, given = run(model, inputs)
    names = Names(model, given)
    recorded = record([tensor.edge for tensor in outputs], names)
    _assign(calls, recorded)
    parameters = _once(model.parameters())
    return Summary(
        type(model).__name__,
        tuple(tensor.shape for tensor in given),
        tuple(_rows(_in_order(calls, recorded), recorded, names)),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(parameter.array.nbytes for parameter in parameters),
    )


def _watched(tensor: Any) -> Any:
    """The same numbers, requiring a gradient, so that what precedes the first trainable parameter is recorded too."""
    if not isinstance(tensor, TensorBase) or tensor.dtype.kind != "f":
        return tensor
    return tensor.detach().requires_grad_()


@contextlib.contextmanager
def _training(model: Any) -> Iterator[None]:
    """Training mode for the block, then each module's own mode again."""
    evaluating = [module for module in model.modules() if not module.training]
    model.train()
    try:
        yield
    finally:
        for module in evaluating:
            module.training = False


@contextlib.contextmanager
def _hooked(model: Any, calls: list[_Call]) -> Iterator[None]:
    """Write down every call of a module within the block, in the order in which they return."""

    def returned(module: Any, _args: Any, output: Any) -> None:
        outputs = list(tensors_in(output))
        last = max((t.node.number for t in outputs if t.node is not None), default=-1)
        calls.append(_Call(modes.now.scope or "", module, outputs, last))

    handles = [module.register_forward_hook(returned) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _assign(calls: list[_Call], recorded: Recorded) -> None:
    """Give each operation to the call that made it: the first of its module that returned after it."""
    by_path: dict[str, list[_Call]] = {}
    for call in calls:
        by_path.setdefault(call.path, []).append(call)
    for key, node in recorded.nodes.items():
        candidates = by_path.get(node.scope or "", calls[-1:])
        next((call for call in candidates if call.last >= node.number), candidates[-1]).keys.append(key)


def _in_order(calls: list[_Call], recorded: Recorded) -> list[_Call]:
    """Calls by their first operation, those that made none behind the call that returned before them.

    What a container computes between its modules' calls is split up, so that each part stands where it happens.
    """
    order = {key: i for i, key in enumerate(recorded.nodes)}
    owner = {order[key]: at for at, call in enumerate(calls) for key in call.keys}
    placed: list[tuple[int, int, _Call]] = []
    latest = -1
    for at, call in enumerate(calls):
        container = next(iter(call.module.children()), None) is not None
        starts = [order[key] for key in call.keys if owner.get(order[key] - 1) != at]
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=False):
            part = [key for key in call.keys if start <= order[key] < stop] if container else call.keys
            placed.append((start, at, replace(call, keys=part)))
            if not container:
                break
        if starts:
            latest = starts[0]
        elif not container:
            placed.append((latest, at, call))
    return [call for _, _, call in sorted(placed, key=lambda entry: entry[:2])]


def _rows(calls: list[_Call], recorded: Recorded, names: Names) -> Iterator[Row]:
    counted: set[int] = set()
    kept = _kept(recorded, names)
    for call in calls:
        own = _once(call.module.parameters(recurse=False))
        fresh = [parameter for parameter in own if id(parameter) not in counted]
        counted.update(id(parameter) for parameter in own)
        items = [recorded.picture.items[key] for key in call.keys]
        container = next(iter(call.module.children()), None) is not None
        nodes = [recorded.nodes[key] for key in call.keys[-1:]] if container else []
        shapes = [node.shape for node in nodes] or [tensor.shape for tensor in call.outputs]
        size = sum(node.dtype.itemsize * math.prod(node.shape) for node in nodes)
        yield Row(
            call.path,
            ", ".join(dict.fromkeys(item.title for item in items)) if container else type(call.module).__name__,
            "" if container else call.module.extra_repr(),
            shapes[0] if shapes else (),
            sum(parameter.numel() for parameter in fresh),
            sum(item.macs for item in items),
            sum(item.flops for item in items),
            size or (sum(tensor.array.nbytes for tensor in call.outputs) if items else 0),
            sum(kept.get(key, 0) for key in call.keys),
            shared=bool(own) and not fresh,
        )


def _kept(recorded: Recorded, names: Names) -> dict[str, int]:
    """Bytes that each operation is the first to keep in a training step: only if it leads from a parameter."""
    trained: set[int] = set()
    seen: set[int] = set()
    kept: dict[str, int] = {}
    for key, node in recorded.nodes.items():  # oldest first
        if any(id(edge) in trained or _is_parameter(edge, names) for edge in node.edges):
            trained.add(id(node))
            kept[key] = kept_by(node, names, seen)[0]
    return kept


def _is_parameter(edge: Node | TensorBase | None, names: Names) -> bool:
    return isinstance(edge, TensorBase) and names.is_parameter(edge)


def _once(tensors: Iterable[TensorBase]) -> list[TensorBase]:
    return list({id(tensor): tensor for tensor in tensors}.values())
