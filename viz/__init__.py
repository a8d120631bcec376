"""Pictures of graphs, filters and curves. Reads graphs and models; nothing below knows of it."""

from minigrad.viz.count import summary
from minigrad.viz.draw import graph
from minigrad.viz.drawing import Drawing
from minigrad.viz.observe import watch
from minigrad.viz.picture import PictureError
from minigrad.viz.render import RenderError
from minigrad.viz.table import Summary

__all__ = ["Drawing", "PictureError", "RenderError", "Summary", "graph", "summary", "watch"]
