"""Pictures of graphs, filters, features and training. Reads graphs and models; nothing below knows of it."""

from minigrad.viz.count import summary
from minigrad.viz.draw import graph
from minigrad.viz.drawing import Drawing
from minigrad.viz.features import Top, backprop, deconvnet, guided_backprop, occlusion, probabilities, saliency, top_images
from minigrad.viz.histograms import Histograms, histograms
from minigrad.viz.layers import LayerError, activations, feature_layers, filters
from minigrad.viz.observe import watch
from minigrad.viz.picture import PictureError
from minigrad.viz.render import RenderError
from minigrad.viz.table import Summary

__all__ = [
    "Drawing",
    "Histograms",
    "LayerError",
    "PictureError",
    "RenderError",
    "Summary",
    "Top",
    "activations",
    "backprop",
    "deconvnet",
    "feature_layers",
    "filters",
    "graph",
    "guided_backprop",
    "histograms",
    "occlusion",
    "probabilities",
    "saliency",
    "summary",
    "top_images",
    "watch",
]
