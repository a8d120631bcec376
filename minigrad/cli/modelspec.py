"""Which model a command is about: one of the zoo by name, or ``FILE.py:NAME`` from a file of the user's."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigrad import zoo
from minigrad.errors import MinigradError
from minigrad.nn import Module
from minigrad.nn.init import skip

__all__ = ["ModelError", "add_model", "input_shape", "model_of", "said_in_one_line"]


class ModelError(MinigradError, ValueError):
    """The model that was asked for can't be had."""


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which model, and on which input."""
    parser.add_argument("model", metavar="MODEL", help=f"{', '.join(zoo.MODELS)}, or FILE.py:NAME, a module or what makes one")
    parser.add_argument("--input", metavar="N,C,H,W", type=_shape, help="the input's shape (default: one image)")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an argument of the model, such as groups=1",
    )


def model_of(args: argparse.Namespace, weights: bool = True) -> Module:
    """The model that the command line names. Raises ModelError, in one line, where there is none.

    Without `weights`, for pictures and tables that show no values, the zoo's models are made without drawing any.
    """
    settings = dict(_setting(text) for text in args.set)
    if args.model in zoo.MODELS:
        with contextlib.nullcontext() if weights else skip():
            return _made(zoo.MODELS[args.model].build, settings, args.model)
    path, colon, name = args.model.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise ModelError(f"no model {args.model!r}; there are {', '.join(zoo.MODELS)}, and FILE.py:NAME")
    found = _from_file(Path(path), name)
    return found if isinstance(found, Module) else _made(found, settings, args.model)


def input_shape(args: argparse.Namespace) -> tuple[int, ...]:
    """The shape given, or one input of the zoo's model."""
    if args.input:
        return tuple(args.input)
    if args.model in zoo.MODELS:
        return (1, *zoo.MODELS[args.model].input_shape)
    raise ModelError(f"{args.model}: say what the input's shape is, such as --input 1,3,32,32")


@contextlib.contextmanager
def said_in_one_line(args: argparse.Namespace) -> Iterator[None]:
    """Make a ModelError of what a user's own forward raises, with its line; an error of minigrad's passes as it is."""
    try:
        yield
    except (MinigradError, OSError):
        raise
    except (Exception, SystemExit) as error:
        own = Path(args.model.rpartition(":")[0]).resolve()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
        # Called from __call__, forward's own parameters don't fit; and where there is none of the model's own, nn's says so.
        if not lines and frames[-1].name not in ("__call__", "forward"):
            raise
        where = f" ({own.name}, line {lines[-1]})" if lines else ""
        shape = ",".join(map(str, input_shape(args)))
        raise ModelError(f"{args.model} does not run on {shape}: {type(error).__name__}: {error}{where}") from error


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 1,3,227,227")
    return shape


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ModelError(f"--set {text!r}: expected NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _made(make: Any, settings: dict[str, Any], called: str) -> Module:
    if not callable(make):
        raise ModelError(f"{called} is a {type(make).__name__}, neither a module nor something that makes one")
    try:
        made = make(**settings)
    except Exception as error:  # whatever a user's own class raises
        raise ModelError(f"{called} can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, Module):
        raise ModelError(f"{called} makes a {type(made).__name__}, not a module")
    return made


def _from_file(path: Path, name: str) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # its neighbours, as when it is run
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's own file raises
        raise ModelError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    if not hasattr(module, name):
        raise ModelError(f"{path} has no {name!r}")
    return getattr(module, name)
