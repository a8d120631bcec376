"""Running a model once to see what it does, and leaving no trace: buffers, mode and random numbers are put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minigrad.core import TensorBase, make_tensor
from minigrad.modes import enable_grad
from minigrad.random import get_rng_state, set_rng_state

__all__ = ["as_inputs", "run", "tensors_in", "untouched"]


def as_inputs(inputs: Any) -> list[Any]:
    """A list of tensors from one, from several, or from a shape (zeros of float32)."""
    if isinstance(inputs, TensorBase):
        return [inputs]
    if isinstance(inputs, str):
        raise TypeError(f"inputs: tensors or a shape such as (1, 3, 227, 227) expected, got {inputs!r}")
    if isinstance(inputs, Sequence) and inputs and all(isinstance(n, (int, np.integer)) for n in inputs):
        return [make_tensor(np.zeros([int(n) for n in inputs], np.float32))]
    if isinstance(inputs, Sequence) and inputs:
        return [value for given in inputs for value in (as_inputs(given) if isinstance(given, (tuple, list)) else [given])]
    raise TypeError(f"inputs: tensors or a shape such as (1, 3, 227, 227) expected, got {inputs!r}")


def run(model: Any, inputs: Any) -> tuple[list[TensorBase], list[Any]]:
    """Call `model` on `inputs` with recording on; give the tensors among its outputs, and the inputs."""
    given = as_inputs(inputs)
    with untouched(model), enable_grad():
        outputs = model(*given)
    return list(tensors_in(outputs)), given


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Put buffers (running statistics) and the random generator back after the block."""
    state = get_rng_state()
    kept = [
        (module._buffers, name, buffer, buffer.array.copy())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        set_rng_state(state)
        for room, name, buffer, numbers in kept:
            room[name] = buffer
            if not np.array_equal(buffer.array, numbers, equal_nan=buffer.array.dtype.kind == "f"):
                buffer.array[...] = numbers
                buffer.touched()


def tensors_in(value: Any) -> Iterator[TensorBase]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, TensorBase):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
