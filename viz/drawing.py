"""A drawing: a picture with ways to see it: DOT, SVG, PNG, PDF, HTML, in a file or in a notebook."""

from __future__ import annotations

import functools
import html
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from minigrad.io.atomic import write_bytes
from minigrad.viz.dot import dot_text
from minigrad.viz.page import page
from minigrad.viz.picture import Picture, PictureError
from minigrad.viz.render import FORMATS, LayoutTimeout, RenderError, can_render, rendered
from minigrad.viz.steps import Step
from minigrad.viz.svg import THEMES, darkened, themed

__all__ = ["Drawing"]

Coarser = Callable[[Picture], Picture | None]


class Drawing:
    """What `viz.graph` gives back: `dot`, `svg`, `save(path)`; a notebook shows it by itself.

    The layout runs when it is first asked for, at most `limit` seconds in all; when the time is over, the picture is folded
    by one level, its heading says so, and the layout is tried again.
    """

    def __init__(
        self,
        picture: Picture,
        *,
        direction: str = "TB",
        theme: str = "auto",
        limit: float = 20.0,
        coarser: Coarser | None = None,
        whole: Picture | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        """Hold a picture; `coarser` gives the next smaller one, or None where there is none.

        `whole` is what the HTML page holds, where modules fold by a click, and `steps` what its slider walks through.
        """
        if theme not in THEMES:
            raise PictureError(f"theme={theme!r}; there are {', '.join(THEMES)}")
        if direction not in ("TB", "LR"):
            raise PictureError(f"direction={direction!r}; there are TB (top to bottom) and LR (left to right)")
        self.picture = picture
        self.direction, self.theme, self.limit = direction, theme, limit
        self._coarser = coarser
        self._whole = picture if whole is None else whole
        self._steps = steps

    def __repr__(self) -> str:
        return f"<Drawing of {self.picture.operations} operations as {len(self.picture.items)} items>"

    @property
    def dot(self) -> str:
        """The picture in the DOT language."""
        return dot_text(self.picture, direction=self.direction)

    @functools.cached_property
    def svg(self) -> str:
        """The picture as SVG."""
        return themed(self._drawn("svg").decode("utf-8"), self.theme)

    @functools.cached_property
    def html(self) -> str:
        """A page of its own that moves: pan, zoom, search, fold, and step through a training step; no network, no Graphviz."""
        return page(self._whole, self._steps, self.theme)

    def _drawn(self, format: str) -> bytes:
        """Rendered within the time limit, the picture folded further where it must be."""
        share = self.limit * (0.5 if self._coarser else 1.0)  # the first try may take half the time, the next half of the rest
        end = time.monotonic() + self.limit
        while True:
            try:
                dot = darkened(self.dot) if self.theme == "dark" and format != "svg" else self.dot
                return rendered(dot, format, timeout=share)
            except LayoutTimeout as error:
                smaller = self._coarser(self.picture) if self._coarser else None
                if smaller is None:
                    raise LayoutTimeout(
                        f"the layout took longer than its limit of {self.limit:g} s, and can't be folded further; "
                        "expected a higher limit, or less to draw (depth, focus)"
                    ) from error
                self.picture = smaller.noted(f"folded by one level: the layout took too long for a limit of {self.limit:g} s")
                share = max((end - time.monotonic()) / 2, self.limit / 4)

    def save(self, path: str | Path) -> Path:
        """Write the picture to `path`, whose ending says how: .svg, .png, .pdf, .html, .dot. Gives the path written.

        Without Graphviz and pygraphviz the DOT text is written beside it instead, and a warning says what to install.
        Raises PictureError for another ending and OSError where the file can't be written.
        """
        path = Path(path)
        format = path.suffix.lower().lstrip(".")
        if format not in (*FORMATS, "html", "dot"):
            asked = path.suffix or "file without an ending"
            raise PictureError(f"{path}: can't draw a {asked}; .svg, .png, .pdf, .html or .dot")
        if format in FORMATS and not can_render():
            return self._unrendered(path)
        if format == "dot":
            data = self.dot.encode("utf-8")
        elif format == "html":
            data = self.html.encode("utf-8")
        elif format == "svg":
            data = self.svg.encode("utf-8")
        else:
            data = self._drawn(format)
        write_bytes(path, data)
        return path

    def _unrendered(self, path: Path) -> Path:
        other = path.with_suffix(".dot")
        write_bytes(other, self.dot.encode("utf-8"))
        try:
            rendered("", path.suffix[1:])
        except RenderError as error:
            warnings.warn(f"{error}; the DOT text is in {other}", stacklevel=3)
        return other

    def _repr_svg_(self) -> str | None:
        return self.svg if can_render() else None

    def _repr_html_(self) -> str | None:
        return None if can_render() else f"<pre>{html.escape(self.dot)}</pre>"
