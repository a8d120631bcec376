"""Helpers around parameters: clipping gradients, one vector of all numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.ops.join import cat
from minigrad.ops.movement import reshape
from minigrad.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]

Tensors = TensorBase | Iterable[TensorBase]


def clip_grad_norm_(parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients together so that their common norm is at most `max_norm`; gives the norm that they had.

    Raises ValueError for a norm of NaN or Inf if `error_if_nonfinite`.
    """
    grads = _grads(parameters)
    norms = np.array([np.linalg.norm(grad.array.ravel(), norm_type) for _, grad in grads])
    total = float(np.linalg.norm(norms, norm_type)) if grads else 0.0
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"clip_grad_norm_: the {norm_type}-norm of the gradients is {total}")
    scale = max_norm / (total + 1e-6)
    if not scale >= 1:  # NaN scales too, so that it shows
        for owner, grad in grads:
            _replace(owner, grad, grad.array * grad.dtype.type(scale))
    return make_tensor(np.asarray(total, grads[0][1].dtype if grads else np.float32))


def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]."""
    for owner, grad in _grads(parameters):
        _replace(owner, grad, np.clip(grad.array, -clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[TensorBase]) -> Tensor:
    """All numbers of all parameters as one vector, in the graph."""
    return cat([reshape(parameter, (-1,)) for parameter in parameters])


def vector_to_parameters(vec: TensorBase, parameters: Iterable[TensorBase]) -> None:
    """Write one vector back into the parameters, the inverse of `parameters_to_vector`.

    Raises ShapeError, before anything is written, unless the lengths agree.
    """
    targets = list(parameters)
    wanted = sum(target.numel() for target in targets)
    if vec.shape != (wanted,):
        raise ShapeError(f"vector_to_parameters: a vector of shape {list(vec.shape)} for {wanted} numbers")
    start = 0
    for target in targets:
        target.array[...] = vec.array[start : start + target.numel()].reshape(target.shape)
        target.touched()
        start += target.numel()


def _grads(parameters: Tensors) -> list[tuple[TensorBase, Tensor]]:
    owners = [parameters] if isinstance(parameters, TensorBase) else parameters
    return [(owner, owner.grad) for owner in owners if owner.grad is not None]


def _replace(owner: TensorBase, grad: Tensor, array: Array) -> None:
    """Change a gradient in place; one that is itself in a graph gives way to a constant."""
    if grad.node is None:
        grad.array[...] = array
        grad.touched()
    else:
        owner.grad = make_tensor(array)
