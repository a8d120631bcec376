"""What is asked of every operation on every sample. Each check raises AssertionError with the operation and the sample.

`test_registry` runs them over the REGISTRY; `test_registry_mutants` breaks operations and sees each check go red.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import jit
from minigrad.core import make_tensor
from minigrad.jit import python_mode
from minigrad.op import Op, Sample

Array = np.ndarray[Any, Any]
STEP = 1e-6


def outputs(op: Op, arrays: Any, params: Any) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        result = op.forward(*arrays, **params)
    return result if type(result) is tuple else (result,)


def close(actual: Array, expected: Array, what: str, rtol: float = 1e-9, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


def label(op: Op, sample: Sample, what: str) -> str:
    shapes = [None if a is None else a.shape for a in sample.inputs]
    return f"{op.name} on {shapes} {dict(sample.params)} ({sample.why}): {what}"


def check_reference(op: Op, sample: Sample) -> None:
    """Jitted, it agrees with plain numpy."""
    expected = op.reference(*sample.inputs, **sample.params)
    expected = expected if type(expected) is tuple else (expected,)
    actual = outputs(op, sample.inputs, sample.params)
    assert len(actual) == len(expected) == len(op.outputs)
    for name, a, e in zip(op.outputs, actual, expected, strict=True):
        assert a.shape == np.shape(e), label(op, sample, f"{name}: shape {a.shape}, reference {np.shape(e)}")
        close(a, e, label(op, sample, f"{name} against the reference"))


def check_unjitted(op: Op, sample: Sample) -> None:
    """Un-jitted, jitted on one thread and jitted on all of them, it gives the same."""
    jitted = outputs(op, sample.inputs, sample.params)
    with python_mode():
        plain = outputs(op, sample.inputs, sample.params)
    before, jit._SERIAL_BELOW = jit._SERIAL_BELOW, 0
    try:
        threaded = outputs(op, sample.inputs, sample.params)
    finally:
        jit._SERIAL_BELOW = before
    for j, t, p in zip(jitted, threaded, plain, strict=True):
        assert j.dtype == p.dtype
        close(j, p, label(op, sample, "jitted against plain Python"), rtol=1e-12, atol=1e-13)
        close(j, t, label(op, sample, "one thread against all"), rtol=1e-12, atol=1e-13)


def check_shape(op: Op, sample: Sample) -> None:
    """The shape rule tells the real output's shape."""
    told = op.shape(*(() if a is None else a.shape for a in sample.inputs), **sample.params)
    real = outputs(op, sample.inputs, sample.params)[0].shape
    assert tuple(told) == real, label(op, sample, f"the shape rule says {told}, it is {real}")


def check_not_mutated(op: Op, sample: Sample) -> None:
    """Neither forward nor backward changes an input."""
    before = [None if a is None else a.copy() for a in sample.inputs]
    run = Run(op, sample)
    if run.wanted:
        run.gradients(run.cotangent)
    for a, b in zip(sample.inputs, before, strict=True):
        assert a is None or np.array_equal(a, b, equal_nan=True), label(op, sample, "an input was changed")


def check_noncontiguous(op: Op, sample: Sample) -> None:
    """Inputs that lie backwards and with gaps in memory give the same, forward and backward."""
    scattered = tuple(None if a is None else _scattered(a) for a in sample.inputs)
    for a, b in zip(outputs(op, scattered, sample.params), outputs(op, sample.inputs, sample.params), strict=True):
        close(a, b, label(op, sample, "inputs with gaps in memory"))
    run, other = Run(op, sample), Run(op, Sample(scattered, sample.params))
    if run.wanted:
        gaps = make_tensor(_scattered(run.cotangent.array))
        for a, b in zip(run.gradients(run.cotangent), other.gradients(gaps), strict=True):
            close(a.array, b.array, label(op, sample, "backward over memory with gaps"))


def _scattered(a: Array) -> Array:
    if not a.ndim:
        return a
    wide = np.zeros([2 * n + 1 for n in a.shape], a.dtype)
    view = wide[tuple(slice(2 * n - 1, None, -2) if n else slice(0, 0) for n in a.shape)]
    view[...] = a
    return view


def check_float32(op: Op, sample: Sample) -> None:
    """float32 stays float32, forward and backward, and close to float64."""
    if "dtype" in sample.params:
        return  # cast: the type is the point
    narrow = tuple(a.astype(np.float32) if a is not None and a.dtype.kind == "f" else a for a in sample.inputs)
    if not any(a is not None and a.dtype.kind == "f" for a in narrow):
        return
    run, wide = Run(op, Sample(narrow, sample.params)), Run(op, sample)
    if wide.out.dtype.kind == "f":
        assert run.out.dtype == np.float32, label(op, sample, f"float32 became {run.out.dtype}")
        close(run.out.array, wide.out.array, label(op, sample, "float32 against float64"), 1e-4, 1e-4)
    if run.wanted:
        for g in run.gradients(make_tensor(run.cotangent.array.astype(np.float32))):
            assert g.dtype == np.float32, label(op, sample, f"a gradient of float32 became {g.dtype}")


class Run:
    """One recorded application: its tensors, its output, a random cotangent for it."""

    def __init__(self, op: Op, sample: Sample, arrays: Any = None) -> None:
        self.op, self.sample = op, sample
        self.arrays = list(sample.inputs if arrays is None else arrays)
        named = {name for key in op.vjp for name in ((key,) if isinstance(key, str) else key)}
        names = op.slots(len(self.arrays))
        self.wanted = [
            i
            for i, a in enumerate(self.arrays)
            if a is not None and a.dtype.kind == "f" and (names[i] in named or (op.variadic and named))
        ]
        self.tensors = [None if a is None else mg.Tensor(a, i in self.wanted) for i, a in enumerate(self.arrays)]
        self.out = op(*self.tensors, **sample.params)
        if not self.out.requires_grad:
            self.wanted = []
        self.cotangent = make_tensor(np.asarray(np.random.default_rng(5).normal(size=self.out.shape)))

    def gradients(self, g: mg.Tensor, create_graph: bool = False) -> tuple[mg.Tensor, ...]:
        leaves = [self.tensors[i] for i in self.wanted]
        found = mg.grad(self.out, leaves, g, create_graph=create_graph)
        return tuple(t for t in found if t is not None)

    def moved(self, i: int, place: tuple[int, ...], step: float) -> Run:
        """The same with one element of one input changed."""
        arrays = list(self.arrays)
        arrays[i] = arrays[i].copy()
        arrays[i][place] += step
        return Run(self.op, self.sample, arrays)


def check_first_derivative(op: Op, sample: Sample) -> None:
    """Every element of every input against central differences, under a random cotangent."""
    run = Run(op, sample)
    if not run.wanted:
        return
    if sample.kink is not None:
        _check_kink(run, sample)
        return
    gradients = run.gradients(run.cotangent)
    for i, g in zip(run.wanted, gradients, strict=True):
        numeric = np.zeros(run.arrays[i].shape)
        for place in np.ndindex(numeric.shape):
            up, down = (run.moved(i, place, s).out.array for s in (STEP, -STEP))
            numeric[place] = ((up - down) * run.cotangent.array).sum() / (2 * STEP)
        close(g.array, numeric, label(op, sample, f"first derivative by input {i}"), rtol=1e-6, atol=1e-7)


def _check_kink(run: Run, sample: Sample) -> None:
    """At a kink there is no difference quotient to ask: the value is the one that PyTorch gives."""
    names = run.op.slots(len(run.arrays))
    gradients = run.gradients(make_tensor(np.ones(run.out.shape)))
    for i, g in zip(run.wanted, gradients, strict=True):
        close(g.array, sample.kink[names[i]], label(run.op, sample, f"at the kink, by input {i}"))


def check_second_derivative(op: Op, sample: Sample) -> None:
    """The gradient's own derivative, by every input and by the cotangent, against central differences."""
    run = Run(op, sample)
    if not run.wanted or sample.kink is not None:
        return
    rng = np.random.default_rng(6)
    run.cotangent.requires_grad = True
    gradients = run.gradients(run.cotangent, create_graph=True)
    weights = [np.asarray(rng.normal(size=g.shape)) for g in gradients]
    total = sum(((g * make_tensor(w)).sum() for g, w in zip(gradients, weights, strict=True)), make_tensor(np.zeros(())))

    def contracted(other: Run, cotangent: Array) -> float:
        parts = other.gradients(make_tensor(cotangent))
        return float(sum((p.array * w).sum() for p, w in zip(parts, weights, strict=True)))

    leaves = [run.tensors[i] for i in run.wanted] + [run.cotangent]
    second = mg.grad(total, leaves, allow_unused=True) if total.requires_grad else (None,) * len(leaves)
    base = run.cotangent.array
    run = Run(op, sample)  # the other's graph has been walked
    for i, found in zip([*run.wanted, None], second, strict=True):
        shape = base.shape if i is None else run.arrays[i].shape
        numeric = np.zeros(shape)
        for place in np.ndindex(shape):
            sides = []
            for step in (STEP, -STEP):
                g = base.copy()
                if i is None:
                    g[place] += step
                sides.append(contracted(run if i is None else run.moved(i, place, step), g))
                if i is None:
                    run = Run(op, sample)  # its graph is walked only once
            numeric[place] = (sides[0] - sides[1]) / (2 * STEP)
        analytic = np.zeros(shape) if found is None else found.array
        close(analytic, numeric, label(op, sample, f"second derivative by {'the cotangent' if i is None else i}"), 1e-5, 1e-6)


def check_formulas_on_arrays(op: Op, sample: Sample) -> None:
    """A formula that is said to do for arrays does, and gives the same bits as on tensors, where a graph is recorded."""
    run = Run(op, sample)
    if not run.wanted or not all(formula.arrays_too for formula in run.out.node.plan.formulas):
        return
    given: list[type] = []

    def spied(formula: Any) -> Any:
        @functools.wraps(formula)
        def spying(g: Any, *args: Any, **settings: Any) -> Any:
            given.append(type(g))
            return formula(g, *args, **settings)

        return spying

    spying = dataclasses.replace(op, vjp={name: spied(formula) for name, formula in op.vjp.items()})
    narrow = [a if a is None or a.dtype.kind != "f" else a.astype(np.float32) for a in run.arrays]
    for arrays in (run.arrays, narrow):
        first, second = Run(op, sample, arrays), Run(spying, sample, arrays)
        g = make_tensor(run.cotangent.array.astype(first.out.dtype))
        expected = first.gradients(g, create_graph=True)
        given.clear()
        try:
            found = second.gradients(g)
        except (AttributeError, TypeError) as error:
            raise AssertionError(label(op, sample, f"a formula said to do for arrays: {error}")) from error
        assert set(given) == {np.ndarray}, label(op, sample, "formulas said to do for arrays were given something else")
        for f, e in zip(found, expected, strict=True):
            same = f.dtype == e.dtype and np.array_equal(f.array, e.array, equal_nan=True)
            assert same, label(op, sample, "not the bits that tensors give")


CHECKS = (
    check_reference,
    check_unjitted,
    check_shape,
    check_not_mutated,
    check_noncontiguous,
    check_float32,
    check_first_derivative,
    check_second_derivative,
    check_formulas_on_arrays,
)
