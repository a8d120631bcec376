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
from minigrad.errors import AnomalyError, ShapeError
from minigrad.graph import OWN, Node, Saved, Shape, keep
from minigrad.kernels.memory import shares
from minigrad.modes import modes, within_operation
from minigrad.plans import Plan, arrays_too, formula, plan_for
from minigrad.pullback import pull

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["REGISTRY", "Op", "Sample", "arrays_too", "register"]


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

#: Every operation asks for it: one look instead of two.
_ARRAY: Any = np.ndarray

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
        if inputs and type(inputs[0]) is _ARRAY and modes.now.on_arrays:
            result = self.forward(*inputs, **params)
            return result[0] if type(result) is tuple else result  # type: ignore[no-any-return]
        made = self._applied(inputs, params)
        return made[0] if isinstance(made, tuple) else made

    def apply(self, *inputs: TensorBase | None, **params: Any) -> tuple[Tensor, ...]:
        """Apply to tensors and give every output: the first is in the graph, by-products are constants."""
        made = self._applied(inputs, params)
        return made if isinstance(made, tuple) else (made,)

    def _applied(self, inputs: tuple[TensorBase | None, ...], params: dict[str, Any]) -> Tensor | tuple[Tensor, ...]:
        now = modes.now
        recording = now.grad and self.vjp
        arrays: list[Array | None] = []
        edges: list[Any] = []
        shapes: list[Shape] = []
        dtypes: list[Any] = []
        half = stale = wanted = False
        for x in inputs:  # one plain loop, calling nothing: every small operation pays for it
            array: Array | None = None
            edge: Any = None
            if x is not None:
                try:
                    array = x.array
                except AttributeError:
                    raise self._no_tensor(inputs) from None
                dtype = array.dtype
                if dtype.char == "e":
                    half = self.family not in _MOVING
                if recording:
                    edge = x.node
                    if edge is not None:
                        wanted = True
                    elif x._leaf_requires_grad:
                        edge, wanted = x, True
                    if x.recorded != x.cell[0]:
                        stale = True
                    shapes.append(array.shape)
                    dtypes.append(dtype)
            elif recording:
                shapes.append(())
                dtypes.append(None)
            arrays.append(array)
            edges.append(edge)
        if stale:
            for x in inputs:
                if x is not None:
                    check_current(x)
        forward = self._widened if half else self.forward
        try:
            result = now.quietly(forward, *arrays, **params)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            result = self._after(error, forward, arrays, params)
        if type(result) is tuple:
            results = result
            out = result[0]
        else:
            out = result if type(result) is np.ndarray else np.asarray(result)  # numpy turns 0-d arrays into scalars
            results = (out,)
        cell = [0, 0]
        if self.view and (first := inputs[0]) is not None and shares(out, first.array):
            cell = first.cell
        node = None
        if wanted and out.dtype.kind in "fc":  # integers have no derivative
            node = self._record(inputs, edges, shapes, dtypes, params, results, cell, now.scope)
        if now.observed:
            self._observe(arrays, results, node)
        made = make_tensor(out, node, cell)
        return made if len(results) == 1 else (made, *[make_tensor(extra) for extra in results[1:]])

    def _after(self, error: Exception, forward: Any, arrays: list[Array | None], params: dict[str, Any]) -> Any:
        """What comes of a forward that raised: a better error, or the result of a second try."""
        if not isinstance(error, RuntimeError):
            raise self._explained(error, arrays, params) from error
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

    def _record(
        self,
        inputs: tuple[TensorBase | None, ...],
        edges: list[Any],
        shapes: list[Shape],
        dtypes: list[Any],
        params: dict[str, Any],
        results: tuple[Any, ...],
        cell: list[int],
        scope: str | None,
    ) -> Node | None:
        needs = tuple([edge is not None for edge in edges])
        plan = self._plans.get(needs) or self.plan(needs)
        if not plan.formulas:
            return None
        saved: dict[str, Saved] = {}
        for name, at in plan.inputs:
            x = inputs[at]
            if x is not None:
                saved[name] = keep((x.array, edges[at], x.cell, x.cell[0]))
        for name, at in plan.outputs:
            saved[name] = keep((results[at], OWN, cell, cell[0]) if at == 0 else (results[at], None, [0, 0], 0))
        return Node(self, params, edges, plan, shapes, dtypes, results[0], saved, scope)

    def _observe(self, arrays: list[Array | None], results: tuple[Any, ...], node: Node | None) -> None:
        """Show the application to whom it concerns: anomaly detection, and who watches."""
        now = modes.now
        if now.anomaly:
            if node is not None:
                node.where = user_line()
            self._look(arrays, results, node)
        if node is not None and now.watcher is not None:
            now.watcher(node, arrays, results[0])

    #: ``pull(node, g, needs)``: the cotangents of the inputs that need one, from the output's.
    pull = pull

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
            self._plans[needs] = plan
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
        wrong = next((name, x) for name, x in names if x is not None and not isinstance(x, TensorBase))
        return TypeError(
            f"{self.name}: '{wrong[0]}' is a {type(wrong[1]).__name__}; expected a tensor (minigrad.tensor makes one)"
        )

    def _explained(self, error: Exception, arrays: list[Array | None], params: dict[str, Any]) -> Exception:
        """The shape rule's own message where it has one: it names what would fit."""
        try:
            self.shape(*(() if a is None else a.shape for a in arrays), **params)
        except ShapeError as better:
            return better
        if isinstance(error, ShapeError):
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


def register(op: Op) -> Op:
    """Enter an operation in the REGISTRY, where the tests, the pictures and the compiler find it."""
    if op.name in REGISTRY:
        raise ValueError(f"an operation named {op.name!r} is registered already")
    known = {*op.inputs, *op.outputs}
    if len(known) < len(op.inputs) + len(op.outputs):
        raise ValueError(f"{op.name}: an input and an output share a name: {op.inputs}, {op.outputs}")
    for key, function in op.vjp.items():
        for name in (key,) if isinstance(key, str) else key:
            if name not in op.inputs:
                raise ValueError(f"{op.name}: a derivative for {name!r}, but the inputs are {op.inputs}")
        for name in formula((), function, False).arrays:
            if name not in known and not op.variadic:
                raise ValueError(f"{op.name}: a derivative asks for {name!r}, which is neither input nor output")
    REGISTRY[op.name] = op
    return op
