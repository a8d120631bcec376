"""What passes between the checker and a student's process: JSON and the raw bytes of arrays, nothing that can run.

A frame is two lengths, a JSON header and the arrays' bytes. `read` believes nothing: lengths, types, shapes and nesting are
checked before an array is made, because the other side may be a student's code that writes what it likes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Other", "WireError", "frame", "read"]

_LENGTHS = struct.Struct("<II")
_MOST_HEADER, _MOST_BODY, _MOST_AXES, _LONGEST_AXIS = 1 << 20, 1 << 26, 16, 1 << 31
_TYPES = {"?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "F", "D"}


class WireError(Exception):
    """What came is no frame."""


class Other:
    """Stands for a value that can't be sent: only the name of its type arrives."""

    def __init__(self, name: str) -> None:
        """Of a type with this name."""
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


def frame(message: dict[str, Any]) -> bytes:
    """A message as bytes: dicts, lists, tuples, arrays, numbers, text, booleans, None; anything else goes as `Other`."""
    arrays: list[np.ndarray[Any, Any]] = []
    content = _plain(message, arrays)
    header = {"arrays": [[x.dtype.char, list(x.shape)] for x in arrays], "content": content}
    head, size = json.dumps(header).encode(), sum(x.nbytes for x in arrays)
    if len(head) > _MOST_HEADER or size > _MOST_BODY:
        raise WireError(f"a message of {(len(head) + size) / 1e6:.0f} MB is too large")
    return _LENGTHS.pack(len(head), size) + head + b"".join(x.tobytes() for x in arrays)


def read(receive: Callable[[int], bytes]) -> dict[str, Any]:
    """The next message; `receive(n)` gives exactly n bytes. Raises WireError for whatever is no message."""
    head_size, body_size = _LENGTHS.unpack(receive(_LENGTHS.size))
    if head_size > _MOST_HEADER or body_size > _MOST_BODY:
        raise WireError("what came is no message")
    head, body = receive(head_size), receive(body_size)
    try:
        header = json.loads(head)
        arrays, at = [], 0
        for char, shape in header["arrays"]:
            array, at = _array(char, shape, body, at)
            arrays.append(array)
        content = _rebuilt(header["content"], arrays)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, OverflowError) as error:
        raise WireError("what came is no message") from error
    if not isinstance(content, dict):
        raise WireError("what came is no message")
    return content


def _array(char: Any, shape: Any, body: bytes, at: int) -> tuple[np.ndarray[Any, Any], int]:
    whole = isinstance(shape, list) and all(type(n) is int and 0 <= n < _LONGEST_AXIS for n in shape)
    if char not in _TYPES or not whole or len(shape) > _MOST_AXES:
        raise WireError("an array of no known type or shape")
    end = at + math.prod(shape) * np.dtype(char).itemsize
    if end > len(body):
        raise WireError("an array's bytes are missing")
    return np.frombuffer(body[at:end], char).reshape(shape).copy(), end


def _plain(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.char in "gG":  # long doubles have no common form
            array = array.astype(complex if array.dtype.char == "G" else float)
        if array.dtype.char not in _TYPES:
            return {"other": f"array of {array.dtype}"[:80]}
        if array.ndim > _MOST_AXES or max(array.shape, default=0) >= _LONGEST_AXIS:
            return {"other": f"array of shape {array.shape}"[:80]}
        arrays.append(array)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": [[_plain(k, arrays), _plain(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": [_plain(v, arrays) for v in value]}
    return {"other": type(value).__name__[:80]}


def _rebuilt(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise WireError("a list without its mark")
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return arrays[inner]
    if kind == "dict":
        return {_rebuilt(k, arrays): _rebuilt(v, arrays) for k, v in inner}
    if kind in ("list", "tuple"):
        parts = [_rebuilt(v, arrays) for v in inner]
        return parts if kind == "list" else tuple(parts)
    if kind == "other" and isinstance(inner, str):
        return Other(inner[:80])
    raise WireError(f"a value of unknown kind {str(kind)[:20]!r}")
