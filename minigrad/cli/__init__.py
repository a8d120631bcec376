"""The command `minigrad`. Each subcommand is a module here with `add_parser(commands)` and `run(args)`; see COMMANDS.

A request that can't be met (bad input, a full disk) ends with one line on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import minigrad
from minigrad.cli import bench, draw, gradcheck, summary, train, warmup
from minigrad.cli.codes import BAD_REQUEST, INTERRUPTED, NO_READER
from minigrad.cli.parsing import Parser
from minigrad.cli.streams import abandoned, any_encoding
from minigrad.errors import MinigradError

__all__ = ["main"]

#: The subcommands, in the order in which the help lists them.
COMMANDS = (train, draw, summary, gradcheck, bench, warmup)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and give the exit code; `argv` is the command line's own unless given."""
    parser = Parser(prog="minigrad", description="Automatic differentiation that can be seen through.")
    parser.add_argument("--version", action="version", version=f"minigrad {minigrad.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    with any_encoding():
        args = parser.parse_args(argv)
        try:
            code = int(args.run(args))
            print(end="", flush=True)
            return code
        except BrokenPipeError:
            abandoned()
            return NO_READER
        except (MinigradError, OSError) as error:
            print(f"minigrad {args.command}: {_in_one_line(error)}", file=sys.stderr)
            return BAD_REQUEST
        except KeyboardInterrupt:
            print(f"minigrad {args.command}: interrupted", file=sys.stderr)
            return INTERRUPTED


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, MinigradError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return where + error.strerror
    return " ".join(str(error).split()) or type(error).__name__
