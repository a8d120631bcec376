"""What Graphviz's SVG lacks: dark colours for readers who prefer them, and a font that is there."""

from __future__ import annotations

import re

from minigrad.viz.palette import DARK

__all__ = ["THEMES", "darkened", "themed"]

THEMES = ("auto", "light", "dark")

_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"


def themed(svg: str, theme: str = "auto") -> str:
    """The SVG with its colours as they are, in dark, or following the reader's setting."""
    svg = re.sub(r'font-family="[^"]*"', "", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    rules = "\n".join(
        f'[{name}="{light}"]{{{name}:{dark}}}' for light, dark in DARK.items() for name in ("fill", "stroke") if light in svg
    )
    style = f"text{{font-family:{_FONT}}}\n"
    style += f"text:not([fill]){{fill:{DARK_TEXT}}}\n" if theme == "dark" else ""
    if theme == "dark":
        style += rules
    elif theme == "auto":
        style += f"@media (prefers-color-scheme:dark){{text:not([fill]){{fill:{DARK_TEXT}}}\n{rules}}}"
    at = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:at]}\n<style>{style}</style>{svg[at:]}"


def darkened(dot: str) -> str:
    """DOT text with its colours in dark, for formats that hold no style sheet."""
    return re.sub(r'(?<=[":])#[0-9a-f]{6}(?=[":])', lambda found: DARK.get(found.group(), found.group()), dot)


DARK_TEXT = "#e8ebef"
