"""A training run that can stop after any batch and go on later, to the bit as if it had never stopped.

Nothing random depends on what happened before: an epoch's order is drawn from (seed, epoch), a batch's distortions from
(seed, epoch, batch). So the state of a run is the model's, the optimiser's, the schedule's and the process generator's
(from which dropout draws), the place within the epoch, and the sums over the epoch so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minigrad import optim
from minigrad.core import make_tensor
from minigrad.errors import FileFormatError, MinigradError
from minigrad.modes import no_grad
from minigrad.random import get_rng_state, manual_seed, set_rng_state
from minigrad.tensor import Tensor
from minigrad.utils.data import DataLoader, TensorDataset
from minigrad.zoo.data import CLASSES, ImageData
from minigrad.zoo.recipes import Settings, recipe_for

__all__ = ["Evaluation", "Progress", "Training"]

Array = np.ndarray[Any, Any]

#: Images in one forward pass where no gradient is wanted.
_EVALUATED = 500
#: What a generator is seeded with beside seed and epoch: 0 for the order, from 1 on for a batch's distortions.
_ORDER, _FIRST_BATCH = 0, 1


class Evaluation(NamedTuple):
    """How a model does on images that it has not learned from; `confusion[truth, answer]` counts them."""

    loss: float
    confusion: Array

    @property
    def accuracy(self) -> float:
        """The fraction answered rightly."""
        return float(np.trace(self.confusion) / self.confusion.sum())


@dataclass
class _Sums:
    """Over the epoch so far."""

    loss: float = 0.0
    right: int = 0
    seen: int = 0


@dataclass(frozen=True)
class Progress:
    """What is told after each batch: how far the run is and how the epoch has gone so far."""

    epoch: int
    step: int
    images: int
    loss: float
    accuracy: float
    #: Filled in after an epoch's last batch: loss and accuracy of both parts.
    record: dict[str, Any] | None = field(default=None)


class Training:
    """A model in training: `steps()` goes on from wherever it stands; `state_dict()` says where that is.

    `history` holds a record for each finished epoch: its number from 1, ``train_loss`` and ``train_accuracy`` (means over the
    epoch's batches, as the model was at each), ``test_loss`` and ``test_accuracy`` (held-out part, after the epoch).
    """

    def __init__(self, settings: Settings, data: ImageData) -> None:
        """Build the model from the settings' seed; nothing is computed yet."""
        self.settings = settings
        self.recipe = recipe_for(settings.model)
        self.fingerprint = data.fingerprint()
        self.mean, self.std = _brightness(data.train_images)
        self.images, self.labels = self.normalized(data.train_images), data.train_labels
        self.test_images, self.test_labels = self.normalized(data.test_images), data.test_labels
        manual_seed(settings.seed)
        self.model = self.recipe.build()
        choice = self.recipe.optimizers[settings.optimizer]
        self.optimizer = choice.build(self.model.parameters(), lr=settings.lr, weight_decay=choice.weight_decay)
        self.batches = -(-len(self.labels) // settings.batch_size)
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=settings.lr, total_steps=settings.epochs * self.batches, pct_start=self.recipe.rise
        )
        self.epoch = self.batch = 0  # the next to come
        self.sums = _Sums()
        self.history: list[dict[str, Any]] = []
        self.result: Evaluation | None = None  # after the last finished epoch

    # -------------------------------------------------------------------------------------------- going on

    @property
    def total_steps(self) -> int:
        """Batches in the whole run."""
        return self.settings.epochs * self.batches

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.settings.epochs

    def steps(self) -> Iterator[Progress]:
        """Train to the end, pausing after each batch: a run may be left at any of these pauses, and its state saved.

        Raises MinigradError when the loss is no longer a number.
        """
        self.model.train()
        while not self.finished:
            for images, labels in self._rest_of_epoch():
                self._learn(self._distorted(images.array), labels)
                self.batch += 1
                loss, accuracy = self.sums.loss / self.sums.seen, self.sums.right / self.sums.seen
                record = self._end_epoch(loss, accuracy) if self.batch == self.batches else None
                step = self.epoch * self.batches + self.batch
                epoch = self.epoch if record else self.epoch + 1
                yield Progress(epoch, step, len(labels.array), loss, accuracy, record)

    def _rest_of_epoch(self) -> DataLoader:
        order = self._generator(_ORDER).permutation(len(self.labels))
        size = self.settings.batch_size
        parts = [order[at : at + size].tolist() for at in range(self.batch * size, len(order), size)]
        return DataLoader(TensorDataset(make_tensor(self.images), make_tensor(self.labels)), batch_sampler=parts)

    def _distorted(self, images: Array) -> Tensor:
        if not self.settings.augment:
            return make_tensor(images)
        background = float((0 - self.mean) / self.std)
        return make_tensor(self.recipe.augment(images, self._generator(_FIRST_BATCH + self.batch), fill=background))

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.epoch, purpose])

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        answers = self.model(images)
        loss = self.recipe.loss(answers, labels)
        self._check(loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.sums.loss += loss.item() * len(labels.array)
        self.sums.right += int((answers.array.argmax(1) == labels.array).sum())
        self.sums.seen += len(labels.array)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise MinigradError(
                f"the loss became {loss} in epoch {self.epoch + 1}: the training has diverged; "
                f"a lower rate than {self.settings.lr:g} may help"
            )

    def _end_epoch(self, loss: float, accuracy: float) -> dict[str, Any]:
        self.result = self.evaluate()
        self._check(self.result.loss)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, _Sums()
        record = {
            "epoch": self.epoch,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_loss": self.result.loss,
            "test_accuracy": self.result.accuracy,
        }
        self.history.append(record)
        return record

    def evaluate(self) -> Evaluation:
        """The held-out part, as the model is now."""
        confusion = np.zeros((CLASSES, CLASSES), np.int64)
        loss = 0.0
        self.model.eval()
        with no_grad():
            for start in range(0, len(self.test_labels), _EVALUATED):
                labels = self.test_labels[start : start + _EVALUATED]
                answers = self.model(make_tensor(self.test_images[start : start + _EVALUATED]))
                loss += self.recipe.loss(answers, make_tensor(labels), reduction="sum").item()
                np.add.at(confusion, (labels, answers.array.argmax(1)), 1)
        self.model.train()
        return Evaluation(loss / len(self.test_labels), confusion)

    def one_step_loss(self) -> Tensor:
        """The loss of the run's first batch under the model as it is, with its graph: what one step records."""
        size = self.settings.batch_size
        loss: Tensor = self.recipe.loss(self.model(make_tensor(self.images[:size])), make_tensor(self.labels[:size]))
        return loss

    def normalized(self, pixels: Array) -> Array:
        """Pixels from 0 to 255 as the model takes them: float32, mean 0 and deviation 1 over the training part, framed."""
        border = ((0, 0), (0, 0), *((self.recipe.border,) * 2,) * 2)
        return ((np.pad(pixels, border) / np.float32(255) - self.mean) / self.std).astype(np.float32)

    # -------------------------------------------------------------------------------------------- where it stands

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on: see the head of this file."""
        return {
            "settings": self.settings.asdict(),
            "data": self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": get_rng_state(),
            "place": {"epoch": self.epoch, "batch": self.batch},
            "sums": vars(self.sums),
            "history": self.history,
            "result": None if self.result is None else self.result._asdict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another run with the same settings stood.

        Raises MinigradError when that run had other settings or other data,
        FileFormatError when something is missing.
        """
        try:
            other = {**state["settings"], "data": self.settings.data}  # what matters of the data is compared below
            if other != self.settings.asdict():
                raise MinigradError(f"a state of other settings: {other}, not {self.settings.asdict()}")
            if state["data"] != self.fingerprint:
                raise MinigradError("the data are not those that the run was started with")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            set_rng_state(state["generator"])
            self.epoch, self.batch = int(state["place"]["epoch"]), int(state["place"]["batch"])
            self.sums = _Sums(**state["sums"])
            self.history = list(state["history"])
            self.result = None if state["result"] is None else Evaluation(**state["result"])
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"not the state of a training run ({error!r})") from error


def _brightness(pixels: Array) -> tuple[np.float32, np.float32]:
    """Mean and deviation of pixels as fractions of full brightness; a deviation of 1 where all are alike."""
    fractions = pixels / np.float32(255)
    return np.float32(fractions.mean(dtype=np.float64)), np.float32(fractions.std(dtype=np.float64) or 1)
