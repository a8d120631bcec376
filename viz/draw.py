"""`viz.graph`: the recorded graph of a tensor or of a model's run, drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from minigrad.core import TensorBase
from minigrad.errors import GradientError
from minigrad.viz.drawing import Drawing
from minigrad.viz.fold import beside, coarser, folded, folded_to_depth, legible, unboxed
from minigrad.viz.gradients import backward_picture, both_picture, differentiate, served_by
from minigrad.viz.labels import amount, byte_size, exact
from minigrad.viz.measure import measured, was_walked
from minigrad.viz.modules import in_columns, modules_of
from minigrad.viz.names import Names
from minigrad.viz.observe import watch
from minigrad.viz.picture import Item, Picture, PictureError
from minigrad.viz.record import Recorded, record
from minigrad.viz.repeat import repeats_folded
from minigrad.viz.run import as_inputs, run
from minigrad.viz.select import Patterns, chosen, focused, styled
from minigrad.viz.steps import Step, steps_of

__all__ = ["VIEWS", "graph"]

_TITLES = {"backward": "backward pass", "both": "forward and backward"}
VIEWS = ("graph", "modules", "backward", "both")

_LEGIBLE = 300  # items; more are folded before the layout is tried
_FOLDABLE = 4000  # in a page in which modules fold by a click


def graph(
    tensor: Any,
    model: Any = None,
    inputs: TensorBase | Sequence[TensorBase] | None = None,
    *,
    what: str = "graph",
    depth: int | None = None,
    collapse: bool | str | Iterable[str] = "auto",
    focus: str | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    stats: bool | str = "auto",
    style: Callable[[Item], Mapping[str, Any] | None] | None = None,
    direction: str = "TB",
    theme: str = "auto",
    limit: float = 20.0,
    title: str | None = None,
) -> Drawing:
    """Draw what `tensor` was computed from: operations in their modules, parameters, inputs, shapes, what is kept.

    ``viz.graph(loss, model)`` draws a training step before its `backward()`, with the names that the model gives;
    ``viz.graph(model, inputs)`` runs the model once on `inputs` (tensors, or a shape of zeros) and draws that.

    `what`: graph (the operations), modules (one node each), backward (the graph of gradients), both (side by side).
    `collapse`: blocks repeated three times or more are drawn once where that saves a dozen operations ('auto'), always (True),
    never (False); or the names of modules to draw as one node (patterns such as ``features.*``).
    `depth` draws modules that lie deeper as one node each, `focus` only one module and what is next to it; `include` and
    `exclude` take patterns of operations, families or modules. `style(item)` may return Graphviz attributes.
    `stats` writes values and gradients into the nodes: minimum, mean, maximum, norm; NaN and Inf in red, gradients coloured
    from vanishing to exploding, dead ReLUs, parameters that got no gradient. 'auto': after a `backward()`. Run the step inside
    `viz.watch()` to have the numbers in between too, which the engine does not keep.
    `direction` is TB or LR; `theme` is auto (follows the reader's setting), light or dark; `limit` is the time for the layout,
    in seconds, after which the picture is folded by a level.
    Raises GradientError for a tensor without a graph, PictureError for a view, module or pattern that is not there.
    """
    if what not in VIEWS:
        raise PictureError(f"what={what!r}; there are {', '.join(VIEWS)}")
    if not isinstance(tensor, TensorBase):
        given = as_inputs(model if inputs is None else inputs)
        model = tensor
        names = Names(model, given)
        with names.noticing(), watch() if stats is True else contextlib.nullcontext():
            roots, _ = run(model, given)
    else:
        roots, names = [tensor], Names(model, _listed(inputs))
    picture, steps = _viewed(what, roots, names, _title(title, model), stats)
    picture = _collapsed(picture, collapse)
    if depth is not None:
        picture = folded_to_depth(picture, depth)
    if focus is not None:
        picture = focused(picture, focus)
    picture = chosen(picture, include, exclude)
    whole = unboxed(legible(picture, _FOLDABLE))
    if collapse is not False:
        picture = legible(picture, _LEGIBLE)
    picture = unboxed(picture)
    if what == "graph":
        picture = beside(picture)
    if style is not None:
        picture = styled(picture, style)
    return Drawing(picture, direction=direction, theme=theme, limit=limit, coarser=_next, whole=whole, steps=steps)


def _viewed(
    what: str, roots: Sequence[TensorBase], names: Names, title: str, stats: bool | str
) -> tuple[Picture, Sequence[Step]]:
    """The picture of what was asked for, and the training step that it can be walked through in."""
    edges = _edges(roots)
    if what in ("backward", "both"):
        passed = differentiate([tensor for tensor in roots if tensor.edge is not None])
        make = backward_picture if what == "backward" else both_picture
        recorded = make(passed, names, f"{title}: {_TITLES[what]}")
        return _with_totals(recorded), steps_of(passed.forward[::-1], _keys(recorded), served_by(passed, recorded), names)
    recorded = record(edges, names, title=title)
    picture = _with_totals(recorded)
    if stats is True or (stats == "auto" and was_walked(recorded)):
        picture = measured(replace(recorded, picture=picture), names)
    steps = steps_of(list(recorded.nodes.values()), _keys(recorded), _keys(recorded), names)
    return in_columns(modules_of(picture, names)) if what == "modules" else picture, steps


def _keys(recorded: Recorded) -> dict[int, tuple[str, ...]]:
    return {node.number: (key,) for key, node in recorded.nodes.items()}


def _collapsed(picture: Picture, collapse: bool | str | Iterable[str]) -> Picture:
    if collapse is False:
        return picture
    if collapse is True:
        return repeats_folded(picture)
    if collapse == "auto":
        return repeats_folded(picture, least_times=3, least_saved=12)
    patterns = [collapse] if isinstance(collapse, str) else list(collapse)
    return folded(picture, modules_named(picture, patterns))


def modules_named(picture: Picture, patterns: Iterable[str]) -> set[tuple[str, ...]]:
    """The frames whose module's name fits one of the patterns; PictureError for one that fits none."""
    found: set[tuple[str, ...]] = set()
    for pattern in patterns:
        fitting = {path for path in picture.boxes if fnmatchcase(path[-1].partition("#")[0], pattern)}
        if not fitting:
            known = ", ".join(sorted({path[-1] for path in picture.boxes}))
            raise PictureError(f"collapse={pattern!r}: no module of that name was recorded; there are {known}")
        found |= fitting
    return found


def _next(picture: Picture) -> Picture | None:
    smaller = coarser(picture)
    return unboxed(smaller) if smaller is not None else None


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


def _with_totals(recorded: Recorded) -> Picture:
    """The picture with its totals under the title."""
    picture = recorded.picture
    words = [f"{exact(picture.operations)} operations"]
    if picture.total("parameters"):
        words.append(f"{exact(picture.total('parameters'))} parameters")
    if picture.total("macs"):
        words.append(f"{amount(picture.total('macs'))} MACs")
    if any(node.saved is None for node in recorded.nodes.values()):
        words.append("walked by backward(): what was kept is freed")
    elif picture.total("kept"):
        words.append(f"{byte_size(picture.total('kept'))} kept for the backward pass")
    return replace(picture, notes=(" · ".join(words), *picture.notes))
