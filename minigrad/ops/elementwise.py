"""What all elementwise operations share: shapes that broadcast, samples, references made of scalar functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.op import Op, Sample, register

__all__ = ["broadcast_shape", "elementwise", "predicate"]

_UNARY_SHAPES: tuple[tuple[Shape, ...], ...] = (((3, 4),), ((),), ((0, 3),))
_BINARY_SHAPES: tuple[tuple[Shape, ...], ...] = (
    ((3, 4), (3, 4)),
    ((3, 1), (2, 1, 4)),
    ((), (2, 3)),
    ((2, 3), (1,)),
    ((0, 3), (1, 3)),
)
_TERNARY_SHAPES: tuple[tuple[Shape, ...], ...] = (((3, 4), (3, 4), (3, 4)), ((4,), (3, 1), ()))


def broadcast_shape(name: str, *shapes: Shape) -> Shape:
    """The shape that all of these broadcast to, by numpy's rule, or a ShapeError that lists them and the axis."""
    ndim = max(len(shape) for shape in shapes)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    result = []
    for axis, lengths in enumerate(zip(*padded, strict=True)):
        long = {n for n in lengths if n != 1}
        if len(long) > 1:
            listed = " and ".join(str(list(shape)) for shape in shapes)
            raise ShapeError(
                f"{name}: shapes {listed} do not broadcast: along axis {axis - ndim} there are "
                f"{' and '.join(str(n) for n in lengths)}, which must be equal or 1"
            )
        result.append(long.pop() if long else 1)
    return tuple(result)


def elementwise(
    name: str,
    forward: Callable[..., Any],
    scalar: Callable[..., Any],
    vjp: Mapping[str | tuple[str, ...], Callable[..., Any]] | None = None,
    *,
    domain: tuple[float, float] = (-2.0, 2.0),
    kinks: Mapping[float, float] | None = None,
    params: tuple[Mapping[str, Any], ...] = ({},),
    flops: int = 1,
    samples: Callable[[np.random.Generator], Iterator[Sample]] | None = None,
    family: str = "elementwise",
    onnx: str | None = None,
    doc: str = "",
) -> Op:
    """Register an elementwise operation.

    `scalar` says the same for single Python numbers (it becomes the reference); samples are drawn from `domain`, one set
    for each of `params`. `kinks` maps a point at which the derivative jumps to the value that PyTorch gives there;
    samples keep away from it and one sits on it.
    """

    def shape(*shapes: Shape, **_: Any) -> Shape:
        return broadcast_shape(name, *shapes)

    def reference(*arrays: Any, **settings: Any) -> Any:
        spread = np.broadcast_arrays(*arrays)
        values = [scalar(*numbers, **settings) for numbers in zip(*(a.ravel().tolist() for a in spread), strict=True)]
        return np.array(values).reshape(spread[0].shape)

    def drawn(rng: np.random.Generator) -> Iterator[Sample]:
        every = {1: _UNARY_SHAPES, 2: _BINARY_SHAPES, 3: _TERNARY_SHAPES}[len(op.inputs)]
        for settings in params:
            for shapes in every:
                yield Sample(tuple(_away(rng, s, domain, kinks or {}) for s in shapes), settings, why=f"{shapes}")
            for at, slope in (kinks or {}).items():
                yield Sample((np.array([at]),), settings, kink={"x": np.array([slope])}, why=f"the kink at {at}")

    op = Op(
        name,
        forward,
        shape,
        vjp or {},
        reference,
        samples or drawn,
        flops=lambda out, *shapes, **_: flops * int(np.prod(out)),
        family=family,
        broadcasts=True,
        onnx=onnx,
        doc=doc,
    )
    return register(op)


def predicate(name: str, forward: Callable[..., Any], scalar: Callable[..., Any], onnx: str | None = None) -> Op:
    """Register an elementwise operation that has no derivative anywhere that matters."""
    return elementwise(name, forward, scalar, family="comparison", onnx=onnx)


def _away(rng: np.random.Generator, shape: Shape, domain: tuple[float, float], kinks: Mapping[float, float]) -> Any:
    x = rng.uniform(*domain, size=shape)
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.1, kink + 0.3, x)
    return x
