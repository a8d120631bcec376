"""How numbers, shapes and settings are written in pictures and tables: one way everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = [
    "TIMES",
    "amount",
    "byte_size",
    "compact",
    "dtype_name",
    "exact",
    "number",
    "setting_words",
    "shape_text",
    "shortened",
]

TIMES = "\N{MULTIPLICATION SIGN}"
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

#: Settings that say nothing when they have this value.
_SILENT: Mapping[str, tuple[Any, ...]] = {
    "stride": (1, (1, 1)),
    "padding": (0, (0, 0)),
    "dilation": (1, (1, 1)),
    "groups": (1,),
    "ceil_mode": (False,),
    "eps": (1e-5,),
    "keepdim": (False,),
    "keepdims": (False,),
    "label_smoothing": (0.0,),
    "ignore_index": (-100,),
    "count_include_pad": (True,),
    "divisor_override": (None,),
}
_SILENT_WORDS = {
    "stride=(1, 1)",
    "stride=1",
    "padding=(0, 0)",
    "padding=0",
    "dilation=(1, 1)",
    "dilation=1",
    "groups=1",
    "ceil_mode=False",
    "bias=True",
    "affine=True",
    "eps=1e-05",
    "momentum=0.1",
    "track_running_stats=True",
    "inplace=False",
    "start_dim=1",
    "end_dim=-1",
}
_BOTH_AXES = ("stride", "padding", "dilation")
_SHORT = {"kernel_size": "window", "padding": "pad"}


def shape_text(shape: Iterable[int]) -> str:
    """``64×6×28×28``; a shape without axes is called scalar."""
    return TIMES.join(str(n) for n in shape) or "scalar"


def amount(value: float) -> str:
    """A count with a unit prefix and one or two decimals: 724.41 M, 61.7 k, 950."""
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale:
            scaled = value / scale
            digits = 1 if scale == 1e3 and scaled >= 10 else 2
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:g}"


def byte_size(count: int) -> str:
    """Bytes with a decimal prefix: 1.2 MB."""
    return f"{amount(count)}B" if count >= 1000 else f"{count} B"


def exact(count: int) -> str:
    """All digits, in groups of three."""
    return f"{count:,}"


def number(value: float) -> str:
    """A measured number in few characters: 0.0123, 1.2e-07, NaN."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Inf" if value > 0 else "-Inf"
    return f"{value + 0.0:.3g}"  # no -0


def dtype_name(dtype: Any) -> str:
    """``float32``, ``int64``."""
    return str(np.dtype(dtype))


def shortened(text: str, limit: int) -> str:
    """The text, its tail replaced by an ellipsis where it is longer than `limit`; signs that can't be drawn made visible."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip(" ,(") + "…"


def setting_words(params: Mapping[str, Any], hidden: Iterable[str] = ()) -> str:
    """An operation's settings without those that say nothing: ``stride 2, pad 1``. Of a group of settings, each for itself."""
    words = []
    groups = [value._asdict() if hasattr(value, "_asdict") else {name: value} for name, value in params.items()]
    for name, value in (setting for group in groups for setting in group.items()):
        if name in hidden or value is None or any(_equal(value, silent) for silent in _SILENT.get(name, ())):
            continue
        if name in _BOTH_AXES and isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        words.append(_value(value) if name == "index" else f"{_SHORT.get(name, name)} {_value(value)}")
    return ", ".join(words)


def compact(extra_repr: str) -> str:
    """A module's settings without those that say nothing: ``3, 96, kernel_size=(11, 11), bias=True`` -> ``3, 96, 11×11``."""
    words = []
    for word in re.split(r", (?![^(]*\))", extra_repr):
        if word not in _SILENT_WORDS:
            plain = re.sub(r"(?<=[gnes]=)\((\d+), \1\)", r"\1", word)  # the same number for both axes
            plain = re.sub(r"\((\d+), (\d+)\)", rf"\1{TIMES}\2", plain)
            words.append(re.sub(r"^(in_features|out_features|kernel_size)=", "", plain).replace("=", " "))
    return ", ".join(words)


def _equal(value: Any, other: Any) -> bool:
    return type(value) in (int, float, bool, tuple) and bool(value == other)


def _index(value: Any) -> str:
    """As it is written in brackets: ``[:, 0:8]``."""

    def part(one: Any) -> str:
        if not isinstance(one, slice):
            return "…" if one is Ellipsis else _value(one)
        ends = ["" if end is None else str(end) for end in (one.start, one.stop)]
        return ":".join(ends if one.step in (None, 1) else [*ends, str(one.step)])

    return f"[{', '.join(map(part, value if isinstance(value, tuple) else (value,)))}]"


def _value(value: Any) -> str:
    if isinstance(value, np.dtype):
        return dtype_name(value)
    if isinstance(value, np.ndarray):
        return f"array {shape_text(value.shape)}"
    if isinstance(value, (tuple, list)) and value and all(isinstance(n, (int, np.integer)) for n in value):
        return TIMES.join(str(n) for n in value) if len(value) > 1 else str(value[0])
    if isinstance(value, slice) or (isinstance(value, tuple) and any(isinstance(part, slice) for part in value)):
        return _index(value)
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    if isinstance(value, (tuple, list)) and any(isinstance(part, np.ndarray) for part in value):
        return ", ".join(map(_value, value))
    return shortened(value if isinstance(value, str) else repr(value), 24)
