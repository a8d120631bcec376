"""The backward pass through one application of an operation: its formulas run on what it kept.

A formula gives a graph where the backward pass is recorded, and is then given tensors. Elsewhere one that does for arrays
(`plans.arrays_too`) is given arrays, so that the operations in it cost no more than their forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minigrad.anomaly import finite
from minigrad.core import TensorBase, make_tensor
from minigrad.errors import AnomalyError, GradientError
from minigrad.graph import OWN, Node, Saved
from minigrad.kernels.memory import shares
from minigrad.modes import modes, within_operation
from minigrad.plans import Formula, Plan
from minigrad.unrolled import function

if TYPE_CHECKING:
    from minigrad.op import Op
    from minigrad.tensor import Tensor

__all__ = ["puller"]


def puller(op: Op, plan: Plan) -> Any:
    """``pull(node, g)``: the cotangents of the inputs that need one, from the output's; None for the others.

    They are held to each input's shape and dtype. The function is written for this plan, formula by formula (see `unrolled`):
    every node of a backward pass pays for every line.
    """
    kept = {name: _Kept(f"k{i}", name in op.optional) for i, (name, _) in enumerate((*plan.inputs, *plan.outputs))}
    calls = [_Call(i, formula, kept) for i, formula in enumerate(plan.formulas)]
    known: dict[str, Any] = {each.__name__: each for each in (_changed, _fitted, _looked, _restored, _taken)}
    known |= {"modes": modes, "within_operation": within_operation, "make_tensor": make_tensor, "ndarray": np.ndarray}
    known |= {"op": op, "needs": plan.needs, **{f"f{call.at}": call.formula.function for call in calls}}
    return function("pull", "\n".join(_pull(len(plan.needs), kept, calls)), known, op.name)


# ------------------------------------------------------------------------------------------------ the lines of it


class _Kept(NamedTuple):
    """A variable that holds a `Saved`; of an input that may be absent, or None."""

    variable: str
    optional: bool

    def if_there(self, expression: str) -> str:
        """An expression of it, or what is false where it is not there."""
        return f"({self.variable} and {expression})" if self.optional else expression

    @property
    def array(self) -> str:
        return self.if_there(f"{self.variable}[0]")

    @property
    def half(self) -> str:
        return self.if_there(f"{self.variable}[0].dtype.char == 'e'")

    @property
    def changed(self) -> str:
        return self.if_there(f"{self.variable}[2][0] != {self.variable}[3]")

    @property
    def tensor(self) -> str:
        return self.if_there(f"_restored(node, {self.variable})")


class _Call(NamedTuple):
    """A formula's call: with arrays, or with tensors."""

    at: int
    formula: Formula
    kept: Mapping[str, _Kept]

    def given(self, what: str) -> str:
        """What follows the cotangent among its arguments; of each that was kept its `what`."""
        values = [getattr(self.kept[name], what) if name in self.kept else "None" for name in self.formula.arrays]
        known = {"shapes": "shapes", "params": "params", "needs": "needs"}
        values += [f"{name}={known.get(name, f'params[{name!r}]')}" for name in self.formula.settings]
        return "".join(f", {value}" for value in values)

    def on_tensors(self) -> Iterator[str]:
        call = f"f{self.at}(g{self.given('tensor')})"
        if not self.formula.joint:
            (target,) = self.formula.targets
            yield f"parts[{target}] = _fitted(op, node, {target}, {call})"
            return
        yield f"for target, part in zip({self.formula.targets}, {call}, strict=True):"
        yield "    if needs[target]:"
        yield "        parts[target] = _fitted(op, node, target, part)"


def _pull(count: int, kept: Mapping[str, _Kept], calls: Iterable[_Call]) -> Iterator[str]:
    yield "def pull(node, g):"
    yield "    now, saved = modes.now, node.saved"
    yield "    if saved is None or now.looking:"
    yield "        return _looked(op, pull, node, g)"
    yield f"    params, shapes, parts = node.params, node.shapes, [None] * {count}"
    for name, each in kept.items():
        yield f"    {each.variable} = saved.get({name!r})"
        yield f"    if {each.changed}:"
        yield f"        raise _changed(op, node, {each.variable})"
    either = [call for call in calls if call.formula.arrays_too]
    if either:
        yield "    source = g.array"
        # Half precision is widened operation by operation, and who calls from within one can't enter its context again.
        asked = ["now.grad", "source.dtype.char == 'e'", *(each.half for each in kept.values()), "within_operation()"]
        yield f"    if {' or '.join(asked)}:"
        yield from (f"        {line}" for call in either for line in call.on_tensors())
        yield "    else:"
        yield from (f"        {line}" for line in _on_arrays(either))
    for call in calls:
        if not call.formula.arrays_too:
            yield from (f"    {line}" for line in call.on_tensors())
    yield "    return parts"


def _on_arrays(calls: Iterable[_Call]) -> Iterator[str]:
    yield "dtypes, now.on_arrays = node.dtypes, True"
    yield "try:"
    for call in calls:
        yield f"    r{call.at} = now.quietly(f{call.at}, source{call.given('array')})"
    yield "finally:"
    yield "    now.on_arrays = False"
    for call in calls:
        r, (t,) = f"r{call.at}", call.formula.targets
        others = ("source", *(call.kept[name].array for name in call.formula.arrays if name in call.kept))
        own = "".join(f" and {r} is not {other}" for other in others)
        yield f"if type({r}) is ndarray and {r}.base is None and {r}.shape == shapes[{t}] and {r}.dtype is dtypes[{t}]{own}:"
        yield f"    parts[{t}] = make_tensor({r})"
        yield "else:"
        yield f"    parts[{t}] = _taken(op, node, {t}, {r}, g)"


# ------------------------------------------------------------------------------------------------ what it calls


def _restored(node: Node, kept: Saved) -> Tensor:
    array, edge, _, _ = kept
    if isinstance(edge, TensorBase):
        return edge._self()
    return make_tensor(array, node if edge is OWN else edge)


def _taken(op: Op, node: Node, target: int, result: Any, g: Tensor) -> Tensor | None:
    """A tensor of what a formula made of arrays."""
    if result is None:
        return None
    if isinstance(result, np.generic):  # numpy makes numbers of arrays without axes
        result = np.asarray(result)
    if type(result) is not np.ndarray:
        raise TypeError(f"derivative of {op.name}: a formula marked arrays_too gave a {type(result).__name__} for arrays")
    same = result is g.array or shares(result, g.array)
    return _fitted(op, node, target, make_tensor(result, cell=g.cell if same else None))


def _fitted(op: Op, node: Node, target: int, part: Tensor | None) -> Tensor | None:
    """Sum over broadcast axes, return to the input's dtype, and hold the formula to the input's shape."""
    if part is None:
        return None
    if any(part.array is kept.array for kept in (node.saved or {}).values()):
        part = part.apart()  # what was kept is somebody's, who may change it; a gradient is the leaf's own
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


def _changed(op: Op, node: Node, kept: Saved) -> GradientError:
    return GradientError(
        f"backward of {op.name}: an array of shape {kept.array.shape} that it kept was changed in place after "
        f"the forward pass (version {kept.cell[0]}, kept at {kept.version}); change a clone() instead"
        + (f"; recorded at {node.where}" if node.where else "")
    )


def _looked(op: Op, pull: Any, node: Node, g: Tensor) -> list[Tensor | None]:
    """Raise FreedGraphError if nothing is kept any more; else the same, under the eyes of anomaly detection."""
    node.unfreed()
    now = modes.now
    now.anomaly = False  # what goes wrong in a formula is the formula's operation's fault, not its parts'
    try:
        parts: list[Tensor | None] = pull(node, g)
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
