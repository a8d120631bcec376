"""`minigrad train`: a model of the zoo learns, and leaves its results in a folder."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigrad.cli.codes import INTERRUPTED
from minigrad.cli.parsing import positive_number, whole_number
from minigrad.cli.show import Show
from minigrad.errors import MinigradError
from minigrad.jit import on_compile
from minigrad.zoo import runs
from minigrad.zoo.data import NAMES, load
from minigrad.zoo.recipes import RECIPES, Settings, recipe_for, settings_for
from minigrad.zoo.training import Training

__all__ = ["add_parser", "run"]

_DESCRIPTION = """Train a model of the zoo on handwritten digits and tell its accuracy on those held out. Ctrl-C saves the
state; a resumed run gives the same numbers as one that was never interrupted."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("train", help="train a model of the zoo", description=_DESCRIPTION)
    parser.add_argument("model", help=f"what to train: {', '.join(RECIPES)}")
    parser.add_argument("--data", metavar="SET", help=f"{', '.join(NAMES)}, or a folder of IDX files (default: mnist5k)")
    parser.add_argument("--epochs", type=whole_number(1), metavar="N", help="passes over the training images")
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", help="images a step")
    parser.add_argument("--lr", type=positive_number, metavar="RATE", help="the highest rate of the one-cycle schedule")
    parser.add_argument("--seed", type=whole_number(0), metavar="N", help="what all random numbers start from (default: 0)")
    parser.add_argument("--optimizer", metavar="NAME", help="adamw, adam or sgd (default: the recipe's)")
    parser.add_argument(
        "--no-augment", dest="augment", action="store_const", const=False, help="show the training images undistorted"
    )
    parser.add_argument("--out", metavar="DIR", help="where the results go (default: runs/MODEL-TIME)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that --out holds already")
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted run: its folder or its checkpoint")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say, and give the exit code: 0, or 130 after Ctrl-C."""
    started = time.perf_counter()
    recipe_for(args.model)
    show = Show(quiet=args.quiet)
    if args.resume is None:
        settings = _settings(args)
        training = Training(settings, load(settings.data, settings.seed))
        folder, before = runs.begin(args.out, training, args.overwrite), 0.0
    else:
        saved = runs.read_checkpoint(args.resume)
        _refuse_contradictions(args, saved)
        training = runs.resume(saved, load(args.data or saved.settings.data, saved.settings.seed))
        folder, before = saved.folder, saved.seconds
        if saved.environment != runs.environment():
            show.note(
                "this run was begun with other versions or threads (config.json has them): its numbers may differ a little"
            )
    return _train(training, folder, started - before, show)


def _train(training: Training, folder: Path, started: float, show: Show) -> int:
    try:
        with show.training(training), on_compile(show.compiling), _interrupts(show) as interrupted:
            for progress in training.steps():
                show.batch(progress)
                if progress.record is not None or interrupted:
                    runs.save_checkpoint(folder, training, time.perf_counter() - started)
                if interrupted:
                    raise KeyboardInterrupt
        for said in _written(training, folder, started):
            show.note(said)
    except KeyboardInterrupt:
        print(
            f"interrupted; minigrad train {training.settings.model} --resume {shlex.quote(str(folder))} goes on",
            file=sys.stderr,
        )
        return INTERRUPTED
    show.results(training, folder, time.perf_counter() - started)
    return 0


def _written(training: Training, folder: Path, started: float) -> list[str]:
    """Write the results; give what warnings said meanwhile (a picture that could only be written in another format)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        runs.write_results(folder, training, lambda: time.perf_counter() - started)
    return [str(warning.message) for warning in caught]


@contextlib.contextmanager
def _interrupts(show: Show) -> Iterator[list[int]]:
    """A list that Ctrl-C puts something into, so that the batch can be finished; a second Ctrl-C stops at once."""
    seen: list[int] = []

    def remember(number: int, _: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        show.stopping()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _settings(args: argparse.Namespace) -> Settings:
    data = args.data or "mnist5k"
    return settings_for(
        args.model,
        data=data if data in NAMES else str(Path(data).resolve()),
        seed=args.seed or 0,
        **{name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "optimizer", "augment")},
    )


def _refuse_contradictions(args: argparse.Namespace, saved: runs.Saved) -> None:
    """Options may be given again with --resume, but only as the run has them. (Whether the data are the same is seen later.)"""
    for name in ("model", "epochs", "batch_size", "lr", "seed", "optimizer", "augment"):
        given, own = getattr(args, name), getattr(saved.settings, name)
        if given is not None and given != own:
            option = (
                "--no-augment" if name == "augment" else f"{'' if name == 'model' else '--'}{name.replace('_', '-')} {given}"
            )
            raise MinigradError(f"{option} contradicts the run {saved.folder}, which has {name.replace('_', ' ')} {own}")
    if args.overwrite:
        raise MinigradError("--overwrite contradicts --resume, which goes on with the run that there is")
    if args.out is not None and Path(args.out).resolve() != saved.folder.resolve():
        raise MinigradError(f"--out {args.out} contradicts --resume: the run goes on in its own folder, {saved.folder}")
