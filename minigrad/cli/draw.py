"""`minigrad draw MODEL`: its graph as SVG, PNG, PDF or DOT."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from minigrad import viz
from minigrad.cli.modelspec import add_model, input_shape, model_of
from minigrad.cli.parsing import positive_number, whole_number

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("draw", help="a picture of a model's graph")
    add_model(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, help="ends in .svg, .png, .pdf or .dot (default: MODEL.svg)")
    parser.add_argument("--depth", metavar="N", type=whole_number(1), help="draw modules that lie deeper as one node")
    parser.add_argument("--direction", choices=("TB", "LR"), default="TB", help="top to bottom, or left to right")
    parser.add_argument("--theme", choices=("auto", "light", "dark"), default="auto", help="auto follows the reader's setting")
    parser.add_argument("--limit", metavar="SECONDS", type=positive_number, default=20.0, help="time for the layout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw, and say where the picture is."""
    model = model_of(args)
    drawing = viz.graph(
        model, input_shape(args), depth=args.depth, direction=args.direction, theme=args.theme, limit=args.limit
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        path = drawing.save(args.out or Path(f"{Path(args.model.partition(':')[0]).stem}.svg"))
    for warning in told:
        print(f"minigrad draw: {warning.message}", file=sys.stderr)
    print(path)
    return 0
