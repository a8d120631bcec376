"""What schedulers of the learning rate share."""

from __future__ import annotations

from typing import Any

from minigrad.optim.optimizer import Optimizer

__all__ = ["LRScheduler"]


class LRScheduler:
    """Sets each group's 'lr'; a subclass says to what in `get_lr`, from `last_epoch`, the number of steps so far.

    Most rates are given as a change of the rate before, so that schedulers of one optimiser can act together.
    The settings and `last_epoch` are the whole state; with the optimiser's own state training resumes where it was.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        """Begin (``last_epoch=-1``), or go on after that many steps with an optimiser whose groups know 'initial_lr'."""
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: a {type(optimizer).__name__} is no optimizer")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group["initial_lr"] = group.get("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: last_epoch {last_epoch}, but group {i} has no 'initial_lr' to resume")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`; a subclass says."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, one a group."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go on by one and set the rates."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr: list[float] = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Settings and progress, in plain Python."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; the optimiser's rates come with the optimiser's own state."""
        self.__dict__.update(state_dict)

    def _scaled(self, factor: float) -> list[float]:
        """The present rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]
