"""How tensors and models show themselves in a notebook. The facade tells IPython to ask here; see `minigrad/__init__.py`."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from typing import Any

from minigrad.core import TensorBase
from minigrad.nn import Module
from minigrad.viz.draw import graph
from minigrad.viz.labels import byte_size, compact, exact, shape_text
from minigrad.viz.observe import stats_of
from minigrad.viz.render import RenderError, can_render

__all__ = ["html_of"]

_PATIENCE = 5.0  # seconds for a layout that nobody asked for by name
_ROWS = 200  # modules listed


def html_of(value: TensorBase | Module) -> str:
    """A tensor's numbers and graph, or a model's modules and parameters, as a piece of HTML."""
    return "".join(_module(value) if isinstance(value, Module) else _tensor(value))


def _tensor(tensor: TensorBase) -> Iterator[str]:
    about = [f"{shape_text(tensor.shape)} {tensor.dtype}", byte_size(tensor.array.nbytes)]
    if tensor.array.size > 1 and tensor.dtype.kind in "fiu":
        stats = stats_of(tensor.array)
        about.append(f"from {stats.minimum:.4g} to {stats.maximum:.4g}, mean {stats.mean:.4g}")
        about += [f"{exact(count)} {name}" for count, name in ((stats.nans, "NaN"), (stats.infs, "Inf")) if count]
    yield f"<pre>{html.escape(repr(tensor))}</pre><p>{html.escape(' · '.join(about))}</p>"
    if tensor.node is not None and can_render():
        yield from _picture(tensor)


def _picture(tensor: TensorBase) -> Iterator[str]:
    try:
        drawing = graph(tensor, limit=_PATIENCE)
        data = base64.b64encode(drawing.svg.encode("utf-8")).decode("ascii")
    except RenderError as error:  # the numbers are worth showing all the same
        yield f"<p>{html.escape(str(error))}</p>"
        return
    # As an image: a style sheet in the SVG would reach the whole notebook.
    yield f'<img alt="the graph of this tensor" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def _module(module: Module) -> Iterator[str]:
    rows = list(module.named_modules())
    total = sum(parameter.numel() for parameter in module.parameters())
    size = sum(parameter.array.nbytes for parameter in module.parameters())
    yield f"<p><b>{html.escape(type(module).__name__)}</b> {exact(total)} parameters, {byte_size(size)}"
    yield "; <code>viz.summary(model, shape)</code> and <code>viz.graph(model, shape)</code> show it at work</p><table>"
    yield "<tr><th>module</th><th></th><th>parameters</th></tr>"
    for path, part in rows[1 : _ROWS + 1]:
        yield from _row(path, part)
    yield "</table>" + (f"<p>and {exact(len(rows) - 1 - _ROWS)} more</p>" if len(rows) > _ROWS + 1 else "")


def _row(path: str, module: Any) -> Iterator[str]:
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    settings = compact(module.extra_repr())
    kind = f"{type(module).__name__}({settings})" if settings else type(module).__name__
    indent = "\N{NO-BREAK SPACE}" * 3 * path.count(".")
    cells = indent + path, kind, exact(own) if own else ""
    yield "<tr>" + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells) + "</tr>"
