"""A training run's folder: what is in it, how a run is begun there, saved, taken up again, and brought to its results.

config.json             settings, seed, versions, threads; written when the run begins
checkpoint.safetensors  the whole state of the training; replaced after each epoch
model.safetensors       the trained model
metrics.json            accuracy, seconds, and each epoch's loss and accuracy; written last: it marks a finished run
curves.png, confusion.png, graph.svg
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import platform
import shlex
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import minigrad
from minigrad import viz
from minigrad.errors import FileFormatError, MinigradError
from minigrad.io import atomic
from minigrad.io.checkpoint import load_state, save_state
from minigrad.io.safetensors import save_file
from minigrad.jit import get_num_threads
from minigrad.random import get_rng_state, set_rng_state
from minigrad.viz import curves
from minigrad.zoo.data import ImageData
from minigrad.zoo.recipes import Settings, recipe_for
from minigrad.zoo.training import Training

__all__ = ["CHECKPOINT", "Saved", "begin", "environment", "read_checkpoint", "resume", "save_checkpoint", "write_results"]

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.json"
#: What a finished run adds.
RESULTS = ("model.safetensors", "curves.png", "confusion.png", "graph.svg", METRICS)
FILES = (METRICS, *RESULTS[:-1], "config.json", CHECKPOINT)


class Saved(NamedTuple):
    """A checkpoint as it was read."""

    folder: Path
    settings: Settings
    state: dict[str, Any]
    seconds: float
    environment: dict[str, Any]


@functools.cache
def environment() -> dict[str, Any]:
    """What beside the settings decides the numbers to the bit: versions, threads, the machine."""
    return {
        "versions": {
            "minigrad": minigrad.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba", "scipy")},
        },
        "threads": get_num_threads(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def begin(out: str | Path | None, training: Training, overwrite: bool = False) -> Path:
    """Make the folder of a new run, with its first checkpoint and ``config.json``; give its path.

    `out` is `runs/<model>-<time>` unless given. What an earlier run left there is replaced if `overwrite`. Raises
    MinigradError when there is something and it isn't to be replaced, OSError when it can't be written.
    """
    folder = Path(out) if out is not None else _fresh(Path("runs"), training.settings.model)
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        unfinished = CHECKPOINT in there and METRICS not in there
        goes_on = f"--resume {shlex.quote(str(folder))} goes on with it, " if unfinished else ""
        what = (
            f"a run that is {'not ' if unfinished else ''}finished" if CHECKPOINT in there else f"{there[0]} of an earlier run"
        )
        raise MinigradError(f"{folder} holds {what}: {goes_on}--overwrite replaces it, or choose another --out")
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.sweep(folder)
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        save_checkpoint(folder, training, 0.0)
        _write_json(folder / "config.json", _config(training))
    except BaseException:
        with contextlib.suppress(OSError):  # empty folders, if this call made them, go again
            for parent in made:
                parent.rmdir()
        raise
    return folder


def save_checkpoint(folder: Path, training: Training, seconds: float) -> None:
    """Replace the run's checkpoint by the training's state; `seconds` have gone into the run so far."""
    state = {"kind": "training", "seconds": seconds, "environment": environment(), "training": training.state_dict()}
    save_state(state, folder / CHECKPOINT)


def read_checkpoint(run: str | Path) -> Saved:
    """The checkpoint of a run, given by its folder or by the file.

    Raises MinigradError when there is none, FileFormatError when the file is damaged or something else, or of a model that
    has no recipe, OSError when it can't be read.
    """
    path = Path(run)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.exists():
        raise MinigradError(f"{run}: there is no run to resume; expected its folder, with {CHECKPOINT} in it")
    saved = load_state(path)
    try:
        if saved["kind"] != "training":
            raise KeyError("kind")
        settings = Settings(**saved["training"]["settings"])
        recipe_for(settings.model)
        return Saved(path.parent, settings, saved["training"], float(saved["seconds"]), saved["environment"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: not the checkpoint of a training run ({error!r})") from error


def resume(saved: Saved, data: ImageData) -> Training:
    """The training as it stood at a checkpoint. Raises as `Training.load_state_dict`, with the run's name."""
    training = Training(saved.settings, data)
    try:
        training.load_state_dict(saved.state)
    except MinigradError as error:
        raise type(error)(f"{saved.folder}: {error}") from error
    atomic.sweep(saved.folder)
    return training


def write_results(folder: Path, training: Training, seconds: Callable[[], float]) -> None:
    """Write everything that a finished run leaves, ``metrics.json`` last, with the `seconds()` that the run has taken by then.

    Raises OSError when the folder can't be written.
    """
    result = training.result
    assert result is not None, "write_results: the training has not finished an epoch"
    metadata = {"model": training.settings.model, "mean": repr(float(training.mean)), "std": repr(float(training.std))}
    save_file({name: part.array for name, part in training.model.state_dict().items()}, folder / "model.safetensors", metadata)
    title = f"{training.settings.model} on {Path(training.settings.data).name}"
    curves.curves(training.history, folder / "curves.png", title=title)
    right = f"{result.accuracy:.2%} of the held-out images are right"
    curves.confusion(result.confusion, folder / "confusion.png", title=f"{title}: {right}")
    _draw_step(training, folder / "graph.svg")
    metrics = {
        "test_accuracy": result.accuracy,
        "seconds": round(seconds(), 3),
        "test_loss": result.loss,
        "model": training.settings.model,
        "data": training.settings.data,
        "seed": training.settings.seed,
        "train_images": len(training.labels),
        "test_images": len(training.test_labels),
        "epochs": training.history,
        "confusion": result.confusion.tolist(),
    }
    _write_json(folder / METRICS, metrics)


def _draw_step(training: Training, path: Path) -> None:
    """The graph of one step; the forward pass that it takes leaves no trace in the training."""
    generator = get_rng_state()
    buffers = {name: buffer.array.copy() for name, buffer in training.model.named_buffers()}
    viz.graph(training.one_step_loss(), training.model).save(path)
    set_rng_state(generator)
    for name, buffer in training.model.named_buffers():
        buffer.array[...] = buffers[name]


def _config(training: Training) -> dict[str, Any]:
    return {
        **training.settings.asdict(),
        **environment(),
        "weight_decay": training.recipe.optimizers[training.settings.optimizer].weight_decay,
        "rise": training.recipe.rise,
        "distortions": dataclasses.asdict(training.recipe.augment) if training.settings.augment else None,
        "mean": float(training.mean),
        "std": float(training.std),
        "data_sha256": training.fingerprint,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _fresh(runs: Path, model: str) -> Path:
    """A folder named after the time that is not there yet."""
    stem = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    tries = (runs / (stem if i == 0 else f"{stem}-{i}") for i in range(1000))
    return next(folder for folder in tries if not folder.exists())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic.write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
