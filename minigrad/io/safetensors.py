"""Arrays by name in one file, in the safetensors format: a JSON header and the numbers, nothing that could be executed.

Thin over the package of that name; what is added here: whole files or none, and errors that say which file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from minigrad.core import TensorBase
from minigrad.errors import FileFormatError
from minigrad.io.atomic import write_bytes

__all__ = ["load_file", "load_metadata", "save_file"]

Array = np.ndarray[Any, Any]


def save_file(
    tensors: Mapping[str, Array | TensorBase], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors or arrays (and a dictionary of strings) to `path`, whole or not at all: ``model.state_dict()``, say.

    Raises TypeError for what is neither, OSError when the file can't be written.
    """
    fits = "expected tensors or arrays by name, as model.state_dict() gives them"
    if not isinstance(tensors, Mapping):
        raise TypeError(f"save_file: tensors is a {type(tensors).__name__}; {fits}")
    if not all(isinstance(name, str) for name in tensors):
        raise TypeError(f"save_file: the names are {[*tensors]!r:.60}; {fits}")
    arrays = {name: value.array if isinstance(value, TensorBase) else value for name, value in tensors.items()}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"save_file: {name!r} is a {type(array).__name__}, expected a tensor or a numpy array")
    for key, value in (metadata or {}).items():
        if not isinstance(value, str):
            raise TypeError(f"save_file: metadata[{key!r}] is a {type(value).__name__}, expected a string")
    packed = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    write_bytes(path, _in_order(safetensors.numpy.save(packed, dict(metadata) if metadata else None)))


def load_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a file by name, each in memory of its own.

    Raises FileFormatError when the file is not safetensors or is cut off, OSError when it can't be read.
    """
    with _open(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The dictionary of strings in the header, empty if there is none. Raises as `load_file`."""
    with _open(path) as file:
        return dict(file.metadata() or {})


def _in_order(data: bytes) -> bytes:
    """The same file with its header in alphabetical order: the package orders metadata anew each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[start:]


def _open(path: str | os.PathLike[str]) -> Any:
    with Path(path).open("rb"):  # the package reports a missing or unreadable file less clearly than Python
        pass
    try:
        return safetensors.safe_open(os.fspath(path), framework="np")
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise FileFormatError(
            f"{os.fspath(path)}: not a safetensors file, or damaged ({error}); expected a whole one"
        ) from error
