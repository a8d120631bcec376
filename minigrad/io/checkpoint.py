"""A state, such as optimisers and models give it, in one safetensors file.

A state is made of dictionaries, lists, tuples, numbers, strings, None, arrays and tensors, nested at will. Arrays become the
file's tensors; all else becomes JSON in the header, with the arrays' names in their places. Nothing in such a file is executed
when it is read, unlike in a pickle. A digest of the numbers is kept, so that a damaged file is refused.

    JSON: {"d": [[key, value], ...]} a dictionary, {"l": [...]} a list, {"u": [...]} a tuple, {"t": name} a tensor,
    {"a": name} an array, else the thing itself
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.core import TensorBase, make_tensor
from minigrad.errors import FileFormatError
from minigrad.io.safetensors import load_file, load_metadata, save_file

__all__ = ["load_state", "save_state"]

Array = np.ndarray[Any, Any]

_FORMAT = "minigrad state 1"


def save_state(state: Any, path: str | os.PathLike[str]) -> None:
    """Write a state to `path`, whole or not at all. Numbers come back to the bit, numpy's as Python's.

    Raises TypeError for what a state can't hold, OSError when the file can't be written.
    """
    arrays: dict[str, Array] = {}
    skeleton = json.dumps(_taken_apart(state, "state", arrays), separators=(",", ":"))
    metadata = {"format": _FORMAT, "digest": _digest(skeleton, arrays), "state": skeleton}
    save_file(arrays, path, metadata)


def load_state(path: str | os.PathLike[str]) -> Any:
    """The state in a file, arrays and tensors in memory of their own.

    Raises FileFormatError when the file is no such state or is damaged, OSError when it can't be read.
    """
    arrays, metadata = load_file(path), load_metadata(path)
    if metadata.get("format") != _FORMAT:
        raise FileFormatError(f"{os.fspath(path)}: no saved state; expected a file of format {_FORMAT!r}")
    skeleton = metadata.get("state", "")
    if metadata.get("digest") != _digest(skeleton, arrays):
        raise FileFormatError(f"{os.fspath(path)}: the state is damaged; its digest is not the one that was saved with it")
    try:
        return _put_together(json.loads(skeleton), arrays)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{os.fspath(path)}: the state can't be put together again ({error!r})") from error


def _taken_apart(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, (TensorBase, np.ndarray)):
        while name in arrays:  # {"a.b": x, "a": {"b": y}}
            name += "'"
        kind, arrays[name] = ("t", value.array) if isinstance(value, TensorBase) else ("a", value)
        return {kind: name}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                raise TypeError(f"save_state: {name} has the key {key!r}; keys must be strings or integers")
        return {"d": [[key, _taken_apart(part, f"{name}.{key}", arrays)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "l" if isinstance(value, list) else "u"
        return {kind: [_taken_apart(part, f"{name}.{i}", arrays) for i, part in enumerate(value)]}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save_state: {name} is a {type(value).__name__}, which a state can't hold")


def _put_together(skeleton: Any, arrays: dict[str, Array]) -> Any:
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "t":
        return make_tensor(arrays[content])
    if kind == "a":
        return arrays[content]
    if kind == "l":
        return [_put_together(part, arrays) for part in content]
    if kind == "u":
        return tuple(_put_together(part, arrays) for part in content)
    if kind == "d":
        return {key: _put_together(part, arrays) for key, part in content}
    raise ValueError(f"unknown kind {kind!r}")


def _digest(skeleton: str, arrays: dict[str, Array]) -> str:
    digest = hashlib.sha256(skeleton.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()
