"""Sums that leave one stretch of neighbouring axes, as the derivatives by biases are: (A, C, B) -> (C)."""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["sum_lines", "sum_rows"]

#: So many numbers are summed in their own type before they are added in float64.
_CHUNK = 256


@kernel(parallel=True, work=1)
def sum_lines(out, x):  # type: ignore[no-untyped-def]
    """``out[c] = sum over a, b of x[a, c, b]``."""
    for c in prange(x.shape[1]):
        total = np.float64(0)  # in plain Python, too
        for a in range(x.shape[0]):
            line = x[a, c]
            for start in range(0, len(line), _CHUNK):
                piece, part = line[start : start + _CHUNK], x.dtype.type(0)
                for i in range(len(piece)):
                    part += piece[i]
                total += part
        out[c] = total


@kernel(parallel=True, work=1)
def sum_rows(out, x):  # type: ignore[no-untyped-def]
    """``out[c] = sum over a of x[a, c]``."""
    columns = x.shape[1]
    for part in prange((columns + 63) // 64):
        here = slice(part * 64, min((part + 1) * 64, columns))
        to, totals = out[here], np.zeros(64)
        for start in range(0, len(x), 32):
            _add_rows(totals, x[start : start + 32, here])
        for i in range(len(to)):
            to[i] = totals[i]


@kernel
def _add_rows(to, rows):  # type: ignore[no-untyped-def]
    """A few rows are summed by themselves, in their own type, and added in float64, so that the many do not swallow them."""
    part = rows[0].copy()
    for a in range(1, len(rows)):
        row = rows[a]
        for i in range(len(row)):
            part[i] += row[i]
    for i in range(len(part)):
        to[i] += part[i]
