"""The Op record: everything that is known of one operation, in one place, and how it is applied and pulled back.

    exp = Op("exp", forward=np.exp, vjp={"x": lambda g, out: g * out}, ...)

``forward(*arrays, **params)`` takes arrays by position and settings by keyword; the names of its positional parameters
are the names of the inputs. ``vjp`` holds one formula for each input that has a derivative (or for a tuple of inputs that
share the work). A formula takes the cotangent first and then, *by the names of its own parameters*, whatever it needs:
inputs, ``out``, further outputs, and, keyword-only, settings (or ``params``, all of them), ``shapes`` (of the inputs),
``needs``. So the formulas are also the declaration of what the backward pass keeps: the engine saves an array if and
only if a formula that will be asked for names it. Formulas are written in operations on Tensors, so that a gradient is
a graph too; one that is marked with `arrays_too` does for plain arrays as well, which is quicker where none is wanted.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.anomaly import finite, user_line
from minigrad.core import Array, TensorBase, check_current, make_tensor
from minigrad.errors import AnomalyError, SettingError, ShapeError
from minigrad.graph import OWN, Node, Shape, keep
from minigrad.kernels.memory import shares
from minigrad.modes import modes, within_operation
from minigrad.plans import Plan, arrays_too, formula, plan_for
from minigrad.pullback import puller
from minigrad.unrolled import function, looped, unrolled

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["REGISTRY", "Op", "Sample", "arrays_too", "no_tensor", "register"]


@dataclass(frozen=True)
class Sample:
    """Inputs on which an operation is tested.

    Floating-point arrays are given in float64. `kink` marks inputs at which the derivative is one-sided, so that it is
    compared with PyTorch's choice (`expected`, by input) and not with finite differences. `why` says which branch it is for.
    """

    inputs: tuple[Any, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    kink: Mapping[str, Any] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        """Numbers that numpy drew without axes become arrays again."""
        object.__setattr__(self, "inputs", tuple(None if x is None else np.asarray(x) for x in self.inputs))


#: Families that change no number, and so need no wider type for half precision.
_MOVING = frozenset({"movement", "indexing", "comparison"})

#: An operation's application, on tensors ``x0, x1, ...``: of each its array `a`, the array's dtype `d` and shape `s`, the edge
#: `e` that leads to it, and `n`, whether it needs a gradient. See `unrolled` for the signs; ~ is for absent inputs, $ for those
#: that may be. Every small operation pays for every line.
_APPLY = """
def apply(x* **params):
    now = modes.now
    if type(x0) is ndarray and now.on_arrays:  #: some
        return forward(x* **params)  #: some
    if x and type(x[0]) is ndarray and now.on_arrays:  #: any
        return forward(x* **params)  #: any
    if x$ is None:
        return without[$](x* **params)
    a~ = d~ = e~ = None
    n~, s~ = False, ()
    try:
        a@ = x@.array
    except AttributeError:
        raise op._no_tensor((x*)) from None
    chosen = forward
    d@ = a@.dtype
    chosen = widened if d@.char == "e" else chosen
    plan = None
    if now.grad and differentiable:
        e@ = x@.node
        if e@ is None and x@._leaf_requires_grad:
            e@ = x@
        n@ = e@ is not None
        if x@.recorded != x@.cell[0]:
            check_current(x@)
        plan = plans[n*]
    try:
        result = now.quietly(chosen, a* **params)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        result = op._after(error, chosen, [a*], params)
    out = result if type(result) is ndarray else asarray(result)  #: one
    out = result[0]  #: many
    cell = [0, 0]
    if shares(out, (a*)[0]):  #: view
        cell = (x*)[0].cell  #: view
    node = None
    if plan is not None and out.dtype.kind == "f":
        tensors, edges, saved = (x*), (e*), {}
        for name, at in plan.inputs:
            tensor = tensors[at]
            if tensor is not None:
                saved[name] = keep((tensor.array, edges[at], tensor.cell, tensor.cell[0]))
        for name, at in plan.outputs:
            saved[name] = keep((out, OWN, cell, cell[0]))  #: one
            saved[name] = keep((result[at], None, [0, 0], 0) if at else (out, OWN, cell, cell[0]))  #: many
        s@ = a@.shape
        node = Node(op, params, edges, plan, (s*), (d*), out, saved, now.scope)
    if now.observed:
        op._observe([a*], (out,), node)  #: one
        op._observe([a*], result, node)  #: many
    return make_tensor(out, node, cell)  #: one
    return (make_tensor(out, node, cell), *[make_tensor(extra) for extra in result[1:]])  #: many
"""

#: What it sees beside the operation's own.
_KNOWN = {
    "modes": modes,
    "ndarray": np.ndarray,
    "asarray": np.asarray,
    "shares": shares,
    "check_current": check_current,
    "keep": keep,
    "OWN": OWN,
    "Node": Node,
    "make_tensor": make_tensor,
}


class _Made(dict[Any, Any]):
    """What is made when it is first asked for."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __missing__(self, key: Any) -> Any:
        self[key] = made = self._make(key)
        return made


#: All operations by name.
REGISTRY: dict[str, Op] = {}


@dataclass(frozen=True, eq=False)
class Op:
    """One operation; see the head of this file for `forward` and `vjp`.

    `shape(*shapes, **params)` gives the output's shape from shapes alone and raises ShapeError with every dimension in
    the message. A forward that hands arrays to a kernel asks it first, since kernels check no bounds.
    `reference(*arrays, **params)` is plain numpy, obviously right, written another way than the forward.
    `samples(rng)` yields small inputs that reach every branch. `flops` and `macs` (out shape, input shapes, params) count
    from shapes alone. `outputs` names what forward returns: the first has the derivative, the others are by-products.
    `broadcasts`: input shapes may be narrower than the output; cotangents are summed back here, once for all.
    `view`: the output may share the first input's memory. `family` groups operations for pictures and tests.
    """

    name: str
    forward: Callable[..., Any]
    shape: Callable[..., Shape]
    vjp: Mapping[str | tuple[str, ...], Callable[..., Any]] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    samples: Callable[[np.random.Generator], Iterable[Sample]] | None = None
    flops: Callable[..., int] = lambda out, *shapes, **params: 0
    macs: Callable[..., int] = lambda out, *shapes, **params: 0
    outputs: tuple[str, ...] = ("out",)
    family: str = "other"
    broadcasts: bool = False
    view: bool = False
    onnx: str | None = None
    doc: str = ""

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, as `forward` spells them; a starred one stands for any number."""
        return tuple(p.name for p in self._parameters if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD)

    @functools.cached_property
    def variadic(self) -> bool:
        """Whether `forward` takes any number of arrays."""
        return any(p.kind is p.VAR_POSITIONAL for p in self._parameters)

    @functools.cached_property
    def optional(self) -> frozenset[str]:
        """The inputs that may be absent, None in their place."""
        return frozenset(p.name for p in self._parameters if p.name in self.inputs and p.default is None)

    @property
    def differentiable(self) -> bool:
        """Whether any input has a derivative."""
        return bool(self.vjp)

    @property
    def saves(self) -> tuple[str, ...]:
        """What the backward pass keeps when every input needs its gradient."""
        plan = self.plan((True,) * len(self.inputs))
        return tuple(name for name, _ in (*plan.inputs, *plan.outputs))

    # -------------------------------------------------------------------------------------------- forward

    def __call__(self, *inputs: TensorBase | None, **params: Any) -> Tensor:
        """Apply to tensors and give the (first) output; in a formula that runs on arrays, apply to these."""
        made = self._appliers[len(inputs)](*inputs, **params)
        return made[0] if type(made) is tuple else made  # type: ignore[no-any-return]

    def apply(self, *inputs: TensorBase | None, **params: Any) -> tuple[Tensor, ...]:
        """Apply to tensors and give every output: the first is in the graph, by-products are constants."""
        made = self._appliers[len(inputs)](*inputs, **params)
        return made if type(made) is tuple else (made,)

    @functools.cached_property
    def _appliers(self) -> _Made:
        """`_APPLY` for each number of inputs; an operation that takes any number has one for all."""
        looping = self._applier(None) if self.variadic else None
        return _Made(lambda count: looping or self._applier(count))

    def _applier(self, count: int | None, absent: frozenset[int] = frozenset()) -> Any:
        """`_APPLY` for so many inputs, of which some are `absent`, which is to say None; or for any number."""
        if count == 0:
            raise TypeError(f"{self.name}: no inputs; expected {', '.join(self.inputs)}")
        conditions = {"many" if len(self.outputs) > 1 else "one", "any" if count is None else "some"}
        if self.view:
            conditions.add("view")
        known = {
            "op": self,
            "forward": self.forward,
            "differentiable": self.differentiable,
            "widened": self.forward if self.family in _MOVING else self._widened,
            "without": _Made(lambda i: self._applier(count, absent | {i})),
            "plans": _Made(self._recorded),
        }
        if count is None:
            source = looped(_APPLY, conditions)
        else:
            optional = [i for i, name in enumerate(self.inputs[:count]) if name in self.optional and i not in absent]
            signs = {"@": sorted({*range(count)} - absent), "~": sorted(absent), "$": optional}
            source = unrolled(_APPLY, count, signs, conditions)
        return function("apply", source, _KNOWN | known, self.name)

    def _recorded(self, needs: tuple[bool, ...]) -> Plan | None:
        """The plan, if there is anything to do in the backward pass."""
        plan = self.plan(needs)
        return plan if plan.formulas else None

    def _after(self, error: Exception, forward: Any, arrays: list[Array | None], params: dict[str, Any]) -> Any:
        """What comes of a forward that raised: a better error, or the result of a second try."""
        if not isinstance(error, RuntimeError):
            better = self._explained(error, arrays, params)
            raise better from None if isinstance(better, ShapeError) else error  # that says all; one traceback is enough
        if not within_operation():
            raise error
        return forward(*arrays, **params)  # it was called while another's forward runs, by a signal handler for example

    def _widened(self, *arrays: Array | None, **params: Any) -> Any:
        """Half precision is calculated in single and rounded at the end: no kernel has it, and sums would overflow."""
        wide = (a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in arrays)
        result = self.forward(*wide, **params)
        parts = result if type(result) is tuple else (np.asarray(result),)
        narrow = tuple(part.astype(np.float16) if part.dtype == np.float32 else part for part in parts)
        return narrow if type(result) is tuple else narrow[0]

    def _observe(self, arrays: list[Array | None], results: tuple[Any, ...], node: Node | None) -> None:
        """Show the application to whom it concerns: anomaly detection, and who watches."""
        now = modes.now
        if now.anomaly:
            if node is not None:
                node.where = user_line()
            self._look(arrays, results, node)
        if node is not None and now.watcher is not None:
            now.watcher(node, arrays, results[0])

    # -------------------------------------------------------------------------------------------- plans

    @functools.cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        try:
            return list(inspect.signature(self.forward).parameters.values())
        except ValueError as error:  # numpy's ufuncs tell their arity but not their names
            raise TypeError(f"{self.name}: forward must have a signature; wrap it in a lambda") from error

    def plan(self, needs: tuple[bool, ...]) -> Plan:
        """Which formulas to run and what they keep, for this pattern of wanted gradients."""
        plan = self._plans.get(needs)
        if plan is None:
            owners = [self.inputs[min(i, len(self.inputs) - 1)] for i in range(len(needs))]
            star = self.inputs[-1] if self.variadic else None
            plan = plan_for(needs, owners, self.slots(len(needs)), self.outputs, self.vjp, star)
            self._plans[needs] = plan = plan._replace(pull=puller(self, plan))
        return plan

    @functools.cached_property
    def _plans(self) -> dict[tuple[bool, ...], Plan]:
        return {}

    def slots(self, count: int) -> list[str]:
        """A name for each of `count` inputs: those of `forward`, a starred one numbered."""
        if not self.variadic:
            return list(self.inputs[:count])
        *fixed, star = self.inputs
        return fixed + [f"{star}{i}" for i in range(count - len(fixed))]

    # -------------------------------------------------------------------------------------------- messages

    def _no_tensor(self, inputs: tuple[Any, ...]) -> TypeError:
        names = zip(self.slots(len(inputs)), inputs, strict=True)
        return no_tensor(self.name, **{name: x for name, x in names if x is not None or name not in self.optional})

    def _explained(self, error: Exception, arrays: list[Array | None], params: dict[str, Any]) -> Exception:
        """The shape rule's own message where it has one: it names what would fit."""
        try:
            self.shape(*(() if a is None else a.shape for a in arrays), **params)
        except ShapeError as better:
            return better
        if isinstance(error, ShapeError | SettingError):
            return error
        shown = ", ".join("none" if a is None else f"{a.dtype}{list(a.shape)}" for a in arrays)
        return type(error)(f"{self.name}({shown}{''.join(f', {k}={v!r}' for k, v in params.items())}): {error}")

    def _look(self, arrays: list[Array | None], results: tuple[Any, ...], node: Node | None) -> None:
        out = results[0]
        if finite(out) or not all(a is None or finite(a) for a in arrays):
            return
        kind = "NaN" if np.isnan(out).any() else "Inf"
        where = node.where if node is not None and node.where else user_line()
        raise AnomalyError(f"{self.name}: the first {kind} appears in the forward pass, called at {where}")


def no_tensor(name: str, **given: object) -> TypeError:
    """What to raise where one of these arguments is no tensor: it names the first that is none."""
    key, x = next((key, x) for key, x in given.items() if not isinstance(x, TensorBase))
    shown = "None" if x is None else f"a {type(x).__name__}"
    return TypeError(f"{name}: {key} is {shown}; expected a tensor (minigrad.tensor makes one)")


def register(op: Op) -> Op:
    """Enter an operation in the REGISTRY, where the tests, the pictures and the compiler find it."""
    if op.name in REGISTRY:
        raise ValueError(f"an operation named {op.name!r} is registered already")
    known = {*op.inputs, *op.outputs}
    if len(known) < len(op.inputs) + len(op.outputs):
        raise ValueError(f"{op.name}: an input and an output share a name: {op.inputs}, {op.outputs}")
    for key, rule in op.vjp.items():
        for name in (key,) if isinstance(key, str) else key:
            if name not in op.inputs:
                raise ValueError(f"{op.name}: a derivative for {name!r}, but the inputs are {op.inputs}")
        for name in formula((), rule, False).arrays:
            if name not in known and not op.variadic:
                raise ValueError(f"{op.name}: a derivative asks for {name!r}, which is neither input nor output")
    REGISTRY[op.name] = op
    return op
