"""Dropout: a mask drawn outside, applied by an operation that only knows arrays, so that it can be checked and replayed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.random import generator

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["dropout"]


def _shape(x: Shape, kept: Shape, *, scale: float) -> Shape:
    if x != kept:
        raise ShapeError(f"dropout: a mask of shape {list(kept)} for a tensor of shape {list(x)}")
    return x


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((3, 4), (), (0, 2)):
        yield Sample((rng.normal(size=shape), rng.random(shape) < 0.5), {"scale": 2.0})


def _forward(x: Array, kept: Array, *, scale: float) -> Array:
    return np.asarray(np.where(kept, x * x.dtype.type(scale), x.dtype.type(0)))


_dropout: Op = register(
    Op(
        "dropout",
        _forward,
        _shape,
        {"x": arrays_too(lambda g, kept, *, scale: _dropout(g, kept, scale=scale))},
        lambda x, kept, *, scale: x * kept * scale,
        _samples,
        flops=lambda out, *_, **__: 2 * math.prod(out),
        family="regularisation",
        onnx="Dropout",
        doc="x * scale where kept, else 0; the mask costs one byte an element.",
    )
)


def dropout(input: TensorBase, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element set to 0 with probability `p`, the others divided by ``1 - p``. Srivastava et al. 2014, inverted.

    `inplace` writes the result into the input as well. The mask is drawn from minigrad's generator (`manual_seed`).
    Raises ValueError unless ``0 <= p <= 1``.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p = {p} is not a probability")
    if not training or p == 0:
        return input._self()
    kept = generator().random(input.shape, dtype=np.float32) >= p
    out = _dropout(input, make_tensor(kept), scale=1 / (1 - p) if p < 1 else 0.0)
    return input._self().become(out) if inplace else out
