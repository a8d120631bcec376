"""IDX, the format in which MNIST and its kin come: a magic number, the axes' lengths, the numbers; gzipped or not.

    0 0 type axes | length, 4 bytes big-endian, for each axis | the numbers in row order, big-endian

(Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits, "File formats".) Reading is strict: a file
that is not exactly what its header says is refused with a message that names the file, what is wrong and what was
expected, and no memory is set aside on the word of a header.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minigrad.errors import FileFormatError
from minigrad.io.atomic import write_bytes

__all__ = ["read_idx", "write_idx"]

Array = np.ndarray[Any, Any]

_TYPES = {code: np.dtype(kind) for code, kind in ((8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8"))}
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, in the machine's byte order.

    Raises FileFormatError when the file is not IDX, is damaged, or holds more or less than its header says, and OSError when
    it can't be read.
    """
    path = Path(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            return _parsed(path, raw)
        try:
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _parsed(path, unzipped)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path}: the gzip data is damaged or cut off ({error}); expected a whole file") from error


def write_idx(path: str | os.PathLike[str], array: Array) -> None:
    """Write an array as IDX, gzipped if the name ends in ``.gz``; the same array gives the same bytes.

    Raises FileFormatError for a type that IDX has no code for (it has uint8, int8, int16, int32, float32, float64).
    """
    path, array = Path(path), np.asarray(array)
    code = next((code for code, kind in _TYPES.items() if kind.newbyteorder("=") == array.dtype.newbyteorder("=")), None)
    if code is None:
        known = ", ".join(kind.newbyteorder("=").name for kind in _TYPES.values())
        raise FileFormatError(f"{path}: IDX has no code for {array.dtype}; expected one of {known}")
    if array.ndim > 255:
        raise FileFormatError(f"{path}: IDX holds at most 255 axes, this array has {array.ndim}")
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(_TYPES[code]).tobytes()
    write_bytes(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _parsed(path: Path, file: BinaryIO | gzip.GzipFile) -> Array:
    kind, shape = _header(path, file)
    needed = math.prod(shape) * kind.itemsize
    data = _at_most(file, needed + 1)  # one more, to see whether the file ends where it should
    if len(data) != needed:
        found = "more" if len(data) > needed else f"{len(data):,}"
        raise FileFormatError(
            f"{path}: the header promises {_sizes(shape)} {kind.name}, expected {needed:,} bytes after it, found {found}"
        )
    try:
        array = np.frombuffer(data, kind).reshape(shape)
    except ValueError as error:  # more axes than numpy has, or lengths that overflow beside one of 0
        raise FileFormatError(f"{path}: the header promises {_sizes(shape)} {kind.name}: {error}") from error
    return array.astype(kind.newbyteorder("="), copy=False)


def _header(path: Path, file: BinaryIO | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if not magic:
        raise FileFormatError(f"{path}: the file is empty; expected IDX")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise FileFormatError(
            f"{path}: not an IDX file: it starts with {magic.hex(' ')}, expected 00 00, a type "
            f"({', '.join(f'{code:02x}' for code in _TYPES)}) and the number of axes"
        )
    axes = magic[3]
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise FileFormatError(f"{path}: cut off in the header: expected {axes} lengths of 4 bytes, found {len(lengths)} bytes")
    return _TYPES[magic[2]], struct.unpack(f">{axes}I", lengths)


def _at_most(file: BinaryIO | gzip.GzipFile, count: int) -> bytearray:
    """Up to `count` bytes, fewer if the file ends; memory grows with what is really there."""
    data = bytearray()
    while len(data) < count:
        piece = file.read(min(_PIECE, count - len(data)))
        if not piece:
            break
        data += piece
    return data


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape) or "one"
