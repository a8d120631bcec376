"""One palette for every picture: quiet tints of Paul Tol's "bright" scheme, which colour-blind readers can tell apart.

A family of operations has the same colour wherever it is drawn; no meaning hangs on colour alone, since each item also says
its name. Every light colour has a dark twin; an SVG holds both and follows the reader's setting.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["DARK", "FAMILIES", "INK", "KINDS", "LABELS", "SCALE", "Colour", "colour_of", "step_of"]


class Colour(NamedTuple):
    """Filling and outline, light and dark."""

    fill: str
    line: str
    dark_fill: str
    dark_line: str


_GREY = Colour("#f1f2f4", "#8a9099", "#2a2e35", "#838b96")

#: By `op.family`. What is not listed is a step in between and stays grey.
FAMILIES = {
    "conv": Colour("#dfe9f5", "#4477aa", "#1d3147", "#6fa3d6"),
    "linear": Colour("#f3e0ea", "#aa3377", "#43203a", "#d673ab"),
    "pool": Colour("#dcf0df", "#228833", "#1a3a22", "#5cb86c"),
    "activation": Colour("#f6f2d4", "#a3941f", "#3b3716", "#ccbb44"),
    "norm": Colour("#dcf3fa", "#2f93b5", "#15373f", "#66ccee"),
    "loss": Colour("#fbdfe2", "#d5495c", "#4a2027", "#ee6677"),
    "regularisation": Colour("#e9e5f3", "#7a68a6", "#2f2942", "#a394cc"),
    "other": _GREY,
}

#: By the kind of item, where that says more than the family.
KINDS = {
    "parameter": Colour("#ffffff", "#5b626d", "#15181d", "#9aa2ad"),
    "input": Colour("#ffffff", "#22272e", "#15181d", "#e6e9ed"),
    "constant": Colour("#ffffff", "#b3b9c2", "#15181d", "#5b626d"),
    "saved": Colour("#eefafd", "#2f93b5", "#10262c", "#66ccee"),
    "more": _GREY,
}

#: How the families are called in the legend.
LABELS = {
    "conv": "convolution",
    "linear": "linear",
    "pool": "pooling",
    "activation": "activation",
    "norm": "normalisation",
    "regularisation": "dropout",
    "loss": "loss",
    "other": "other",
}


#: From vanishing (blue) over ordinary (paper) to exploding (orange), with dark twins; told apart by colour-blind readers too.
SCALE = (
    ("#5b9bd5", "#1f5f9e"),
    ("#86b6e0", "#1c4f80"),
    ("#b0d0ec", "#1a3f63"),
    ("#d8e7f5", "#182f46"),
    ("#f4f5f6", "#20242a"),
    ("#fbe6cf", "#46331b"),
    ("#f8cc9c", "#66461a"),
    ("#f5b168", "#87591a"),
    ("#f09537", "#a86a12"),
)
_MIDDLE, _DECADES = -3.0, 1.5  # the exponent of an ordinary gradient, and how many powers of ten one step of the scale is


def step_of(rms: float) -> int:
    """Where on `SCALE` a gradient stands, by the root of its mean square."""
    if rms == 0:
        return 0
    middle = len(SCALE) // 2
    return min(max(middle + round((math.log10(rms) - _MIDDLE) / _DECADES), 0), len(SCALE) - 1)


class Ink(NamedTuple):
    """The colours of text, frames and edges."""

    paper: str = "#fefefe"
    text: str = "#1b1f24"
    soft: str = "#646c77"
    edge: str = "#6e7681"
    frame: str = "#c9ced6"
    panel: str = "#f8f9fa"
    alarm: str = "#c4122f"
    warm: str = "#b35900"
    hatch: str = "#e2e5ea"


INK = Ink()

#: Light colour -> dark twin, for everything that a picture may contain.
DARK = {
    INK.paper: "#0e1116",
    INK.text: "#e8ebef",
    INK.soft: "#9aa3ae",
    INK.edge: "#8d96a2",
    INK.frame: "#3a414b",
    INK.panel: "#14181e",
    INK.alarm: "#ff7b8a",
    INK.warm: "#ffb066",
    INK.hatch: "#2b3139",
    **dict(SCALE),
    **{colour.fill: colour.dark_fill for colour in (*FAMILIES.values(), *KINDS.values())},
    **{colour.line: colour.dark_line for colour in (*FAMILIES.values(), *KINDS.values())},
}


def colour_of(kind: str, family: str) -> Colour:
    """The colour of an item."""
    return KINDS.get(kind) or FAMILIES.get(family, _GREY)
