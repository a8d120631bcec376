"""Loading a state dict: everything is compared first, all that does not fit is told at once, nothing is half loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minigrad.core import TensorBase
from minigrad.errors import StateDictError
from minigrad.tensor import Tensor

__all__ = ["IncompatibleKeys", "load_state"]


class IncompatibleKeys(NamedTuple):
    """What a loading that was not strict has left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(owner: str, own: dict[str, Tensor], given: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy the numbers in `given` into the tensors of `own`; see `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"load_state_dict: state_dict is a {type(given).__name__}; expected tensors or arrays by name, "
            "as state_dict() gives them and minigrad.io.safetensors.load_file(path) reads them"
        )
    arrays = {key: value.array if isinstance(value, TensorBase) else np.asarray(value) for key, value in given.items()}
    missing = [key for key in own if key not in arrays]
    unexpected = [key for key in arrays if key not in own]
    misfits = [
        f"{key} ({list(arrays[key].shape)} for {list(part.shape)})"
        for key, part in own.items()
        if key in arrays and arrays[key].shape != part.shape
    ]
    complaints = [("wrong shape", misfits)]
    if strict:
        complaints = [("missing", missing), ("unexpected", unexpected), *complaints]
    told = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in complaints if keys)
    if told:
        raise StateDictError(f"load_state_dict: the state does not fit {owner}. {told}")
    for key, part in own.items():
        if key in arrays:
            part.array[...] = arrays[key]
            part.touched()
    return IncompatibleKeys(missing, unexpected)
