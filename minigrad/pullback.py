"""The backward pass through one application of an operation: its formulas run on what it kept.

A formula gives a graph where the backward pass is recorded, and is then given tensors. Elsewhere one that does for arrays
(`plans.arrays_too`) is given arrays, so that the operations in it cost no more than their forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.anomaly import finite
from minigrad.core import TensorBase, make_tensor
from minigrad.errors import AnomalyError, GradientError
from minigrad.graph import OWN, Node, Saved
from minigrad.kernels.memory import shares
from minigrad.modes import modes, within_operation
from minigrad.plans import Formula

if TYPE_CHECKING:
    from minigrad.op import Op
    from minigrad.tensor import Tensor

__all__ = ["pull"]


def pull(op: Op, node: Node, g: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    """The cotangents of the inputs that need one, from the output's; checked against each input's shape and dtype."""
    now = modes.now
    if now.anomaly:
        return _pull_and_look(op, node, g, needs)
    saved = node.unfreed()
    # Half precision is widened operation by operation, and who calls from within one can't enter its context again.
    bare = not now.grad and g.array.dtype.char != "e" and not within_operation()
    parts: list[Tensor | None] = [None] * len(needs)
    plan = node.plan if needs is node.plan.needs else op.plan(needs)
    for formula in plan.formulas:
        targets, function, arrays, settings, joint, arrays_too = formula
        given = {}
        for name in settings:  # loops, since a comprehension costs a call
            given[name] = _setting(node, name, needs)
        result = _on_arrays(op, node, saved, g, formula, given) if arrays_too and bare else None
        if result is None:
            kept = []
            for name in arrays:
                kept.append(_restored(op, node, saved[name]) if name in saved else None)
            result = function(g, *kept, **given)
        if not joint:
            parts[targets[0]] = result if result is None else _fitted(op, node, targets[0], result)
            continue
        for target, part in zip(targets, result, strict=True):
            if needs[target] and part is not None:
                parts[target] = _fitted(op, node, target, part)
    return parts


def _on_arrays(
    op: Op, node: Node, saved: dict[str, Saved], g: Tensor, formula: Formula, given: dict[str, Any]
) -> Tensor | None:
    """The same numbers without a tensor for each step on the way; None where arrays won't do."""
    kept: list[Any] = []
    for name in formula.arrays:
        if name not in saved:
            kept.append(None)
            continue
        array, _, cell, version = saved[name]
        if cell[0] != version:
            raise _changed(op, node, saved[name])
        if array.dtype.char == "e":
            return None
        kept.append(array)
    now, source = modes.now, g.array
    now.on_arrays = True
    try:
        result = now.quietly(formula.function, source, *kept, **given)
    finally:
        now.on_arrays = False
    if type(result) is np.ndarray:
        return make_tensor(result, cell=g.cell if shares(result, source) else None)
    if result is None or isinstance(result, np.generic):  # numpy makes numbers of arrays without axes
        return result if result is None else make_tensor(np.asarray(result))
    raise TypeError(f"derivative of {op.name}: a formula marked arrays_too gave a {type(result).__name__} for arrays")


def _setting(node: Node, name: str, needs: tuple[bool, ...]) -> Any:
    if name == "shapes":
        return node.shapes
    if name == "params":
        return node.params
    return needs if name == "needs" else node.params[name]


def _restored(op: Op, node: Node, kept: Saved) -> Tensor:
    array, edge, cell, version = kept
    if cell[0] != version:
        raise _changed(op, node, kept)
    if isinstance(edge, TensorBase):
        return edge._self()
    return make_tensor(array, node if edge is OWN else edge)


def _changed(op: Op, node: Node, kept: Saved) -> GradientError:
    return GradientError(
        f"backward of {op.name}: an array of shape {kept.array.shape} that it kept was changed in place after "
        f"the forward pass (version {kept.cell[0]}, kept at {kept.version}); change a clone() instead"
        + (f"; recorded at {node.where}" if node.where else "")
    )


def _fitted(op: Op, node: Node, target: int, part: Tensor) -> Tensor:
    """Sum over broadcast axes, return to the input's dtype, and hold the formula to the input's shape."""
    shape, dtype, array = node.shapes[target], node.dtypes[target], part.array
    if array.shape == shape and array.dtype is dtype:
        return part
    if op.broadcasts and part.array.shape != shape:
        part = part.sum_to(shape)
    if part.array.dtype != dtype:
        part = part.to(dtype)
    if part.array.shape != shape:
        raise GradientError(
            f"derivative of {op.name} for input {target}: a cotangent of shape {part.shape} for an input of shape {shape}"
        )
    return part


def _pull_and_look(op: Op, node: Node, g: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    now = modes.now
    now.anomaly = False  # what goes wrong in a formula is the formula's operation's fault, not its parts'
    try:
        parts = pull(op, node, g, needs)
    finally:
        now.anomaly = True
    if finite(g.array):
        _look_back(op, node, parts)
    return parts


def _look_back(op: Op, node: Node, parts: list[Tensor | None]) -> None:
    for name, part in zip(op.slots(len(parts)), parts, strict=True):
        if part is not None and not finite(part.array):
            kind = "NaN" if np.isnan(part.array).any() else "Inf"
            raise AnomalyError(
                f"{op.name}: the first {kind} of the backward pass appears in its gradient for '{name}'; "
                f"the forward pass called it at {node.where or '(recorded outside detect_anomaly)'}"
            )
