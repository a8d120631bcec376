"""`viz.graph`: the recorded graph of a tensor or of a model's run, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.core import TensorBase
from minigrad.errors import GradientError
from minigrad.viz.drawing import Drawing
from minigrad.viz.fold import deepest, folded_to_depth, unboxed
from minigrad.viz.labels import amount, byte_size, exact
from minigrad.viz.names import Names
from minigrad.viz.picture import Picture
from minigrad.viz.record import Recorded, record
from minigrad.viz.run import run

__all__ = ["graph"]


def graph(
    tensor: Any,
    model: Any = None,
    inputs: TensorBase | Sequence[TensorBase] | None = None,
    *,
    depth: int | None = None,
    direction: str = "TB",
    theme: str = "auto",
    limit: float = 20.0,
    title: str | None = None,
) -> Drawing:
    """Draw what `tensor` was computed from: operations in their modules, parameters, inputs, shapes, what is kept.

    ``viz.graph(loss, model)`` draws a training step before its `backward()`, with the names that the model gives;
    ``viz.graph(model, inputs)`` runs the model once on `inputs` (tensors, or a shape of zeros) and draws that.
    `depth` draws modules that lie deeper as one node each. `direction` is TB or LR; `theme` is auto (follows the reader's
    setting), light or dark; `limit` is the time for the layout, in seconds, after which the picture is folded by a level.
    Raises GradientError for a tensor without a graph.
    """
    if not isinstance(tensor, TensorBase):
        outputs, given = run(tensor, model if inputs is None else inputs)
        model, roots = tensor, outputs
    else:
        given = _listed(inputs)
        roots = [tensor]
    names = Names(model, given)
    recorded = record(_edges(roots), names, title=_title(title, model))
    picture = _summarised(recorded)
    if depth is not None:
        picture = folded_to_depth(picture, depth)
    return Drawing(unboxed(picture), direction=direction, theme=theme, limit=limit, coarser=_coarser)


def _listed(inputs: Any) -> list[TensorBase]:
    if inputs is None:
        return []
    return [inputs] if isinstance(inputs, TensorBase) else list(inputs)


def _edges(tensors: Sequence[TensorBase]) -> list[Any]:
    edges = [tensor.edge for tensor in tensors if tensor.edge is not None]
    if not edges:
        raise GradientError(
            "graph: there is nothing to draw, since this tensor does not require a gradient; "
            "compute it from parameters, outside no_grad()"
        )
    return edges


def _title(title: str | None, model: Any) -> str:
    if title is not None:
        return title
    return type(model).__name__ if model is not None else "recorded graph"


def _summarised(recorded: Recorded) -> Picture:
    """The picture with its totals under the title."""
    picture = recorded.picture
    words = [f"{exact(picture.operations)} operations"]
    if picture.total("parameters"):
        words.append(f"{exact(picture.total('parameters'))} parameters")
    if picture.total("macs"):
        words.append(f"{amount(picture.total('macs'))} MACs")
    if any(node.saved is None for node in recorded.nodes.values()):
        words.append("walked by backward(): what was kept is freed")
    else:
        words.append(f"{byte_size(picture.total('kept'))} kept for the backward pass")
    return picture.noted(" · ".join(words))


def _coarser(picture: Picture) -> Picture | None:
    depth = deepest(picture)
    return unboxed(folded_to_depth(picture, depth)) if depth else None
