"""`minigrad draw MODEL`: pictures of it; `--what` says which, a file's ending in which format."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minigrad import viz
from minigrad.cli.features import add_options, draw_features
from minigrad.cli.modelspec import add_model, input_shape, model_of, said_in_one_line
from minigrad.cli.parsing import positive_number, whole_number

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("draw", help="a picture of a model's graph")
    add_model(parser)
    parser.add_argument("--what", choices=tuple(PICTURES), default="graph", help="; ".join(_HELP))
    parser.add_argument("--out", metavar="FILE", type=Path, help="ends in .svg, .png, .pdf, .html or .dot (default: MODEL.svg)")
    parser.add_argument("--depth", metavar="N", type=whole_number(1), help="draw modules that lie deeper as one node")
    parser.add_argument(
        "--collapse",
        metavar="auto|all|none|MODULE,...",
        default="auto",
        help="repeated blocks drawn once where that saves much (auto), always or never, or these modules as one node each",
    )
    parser.add_argument("--focus", metavar="MODULE", help="only this module and what is next to it")
    parser.add_argument(
        "--include", metavar="PATTERN,...", type=_words, help="only operations, families or modules such as conv*"
    )
    parser.add_argument("--exclude", metavar="PATTERN,...", type=_words, help="all but these")
    parser.add_argument("--direction", choices=("TB", "LR"), default="TB", help="top to bottom, or left to right")
    parser.add_argument("--theme", choices=("auto", "light", "dark"), default="auto", help="auto follows the reader's setting")
    parser.add_argument("--limit", metavar="SECONDS", type=positive_number, default=20.0, help="time for the layout")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw, and say where the picture is."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with said_in_one_line(args):
            path = PICTURES[args.what](args)
    for warning in told:
        print(f"minigrad draw: {warning.message}", file=sys.stderr)
    print(path)
    return 0


def _graph(args: argparse.Namespace) -> Path:
    drawing = viz.graph(
        model_of(args, weights=False),
        input_shape(args),
        what=args.what,
        depth=args.depth,
        collapse=_collapse(args.collapse),
        focus=args.focus,
        include=args.include,
        exclude=args.exclude,
        direction=args.direction,
        theme=args.theme,
        limit=args.limit,
    )
    return drawing.save(args.out or Path(f"{Path(args.model.partition(':')[0]).stem}.svg"))


#: What can be drawn: each takes the command line, writes a file and gives its path.
PICTURES: Mapping[str, Callable[[argparse.Namespace], Path]] = {
    "graph": _graph,
    "modules": _graph,
    "backward": _graph,
    "both": _graph,
    "features": draw_features,
}

_HELP = (
    "graph: the operations in their modules",
    "modules: one node each",
    "backward: the graph of gradients",
    "both: forward and backward side by side",
    "features: what a trained model looks for, a folder of pictures",
)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


_COLLAPSE: Mapping[str, bool | str] = {"auto": "auto", "all": True, "none": False}


def _collapse(text: str) -> bool | str | list[str]:
    return _COLLAPSE[text] if text in _COLLAPSE else _words(text)
