"""`minigrad summary MODEL`: its layers, output shapes, parameters, MACs and activation memory."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from minigrad.cli.modelspec import add_model, input_shape, model_of, said_in_one_line
from minigrad.cli.streams import print_document
from minigrad.viz import summary

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("summary", help="layers, shapes, parameters, MACs and memory of a model")
    add_model(parser)
    parser.add_argument("--format", choices=("text", "html"), default="text", help="a table, or a page on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    with said_in_one_line(args):
        counted = summary(model_of(args, weights=False), input_shape(args))
    if args.format == "html":
        print_document(counted.html())
        return 0
    console = Console(highlight=False)
    if console.is_terminal:
        counted.print(console, console.width)
    else:
        print(counted.text())
    return 0
