"""Pictures of graphs, filters and curves. Reads graphs and models; nothing below knows of it."""

from minigrad.viz.draw import graph
from minigrad.viz.drawing import Drawing
from minigrad.viz.render import RenderError

__all__ = ["Drawing", "RenderError", "graph"]
