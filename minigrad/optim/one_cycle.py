"""The one-cycle policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minigrad.optim.optimizer import Optimizer
from minigrad.optim.scheduler import LRScheduler

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """Up from ``max_lr / div_factor`` to `max_lr` in the first `pct_start` of the steps, then down to nearly nothing.

    The last rate is the first over `final_div_factor`. Momentum (or Adam's first beta) goes the other way, between
    `max_momentum` and `base_momentum`. With `three_phase` the way down first mirrors the way up. Smith and Topin 2019.
    `step()` is called after every batch, `total_steps` (or ``epochs * steps_per_epoch``) times at most.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        """Set the first rates. Raises ValueError for settings that make no sense."""
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start = {pct_start} must lie from 0 to 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy {anneal_strategy!r}; there are 'cos' and 'linear'")
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("OneCycleLR: cycle_momentum needs an optimiser with momentum or betas")
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        self.phases = _phases(self.total_steps, pct_start, three_phase)
        if last_epoch == -1:
            groups = optimizer.param_groups
            tops, lows, highs = (
                _each(len(groups), n, v)
                for n, v in (("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum))
            )
            for group, top, low, high in zip(groups, tops, lows, highs, strict=True):
                group.update(max_lr=top, initial_lr=top / div_factor, min_lr=top / div_factor / final_div_factor)
                if cycle_momentum:
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`; sets the momentum too. Raises ValueError past the last step."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch}, but the cycle has {self.total_steps} steps")
        share, lr_from, lr_to, momentum_from, momentum_to = self._place()
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                _set_momentum(group, self._between(group[momentum_from], group[momentum_to], share))
        return [self._between(group[lr_from], group[lr_to], share) for group in groups]

    def _place(self) -> tuple[float, str, str, str, str]:
        """How much of the present phase is over, and which settings it leads from and to."""
        start, at = 0.0, 0
        while at < len(self.phases) - 1 and self.last_epoch > self.phases[at][0]:
            start, at = self.phases[at][0], at + 1
        end, lr_from, lr_to, momentum_from, momentum_to = self.phases[at]
        share = (self.last_epoch - start) / (end - start) if end > start else 1.0  # a phase may have no length
        return share, lr_from, lr_to, momentum_from, momentum_to

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        total_steps = epochs * steps_per_epoch
    if total_steps < 1:
        raise ValueError(f"OneCycleLR: {total_steps} steps; at least 1 is needed")
    return total_steps


def _phases(total: int, pct_start: float, three_phase: bool) -> list[tuple[float, str, str, str, str]]:
    """The last step of each phase, and between which of the group's settings rate and momentum go in it."""
    up = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three_phase:
        return [(pct_start * total - 1, *up), (total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    return [
        (pct_start * total - 1, *up),
        (2 * pct_start * total - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        (total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]


def _each(groups: int, name: str, value: float | Sequence[float]) -> list[float]:
    if isinstance(value, (int, float)):
        return [float(value)] * groups
    if len(value) != groups:
        raise ValueError(f"OneCycleLR: {len(value)} values of {name} for {groups} groups")
    return [float(v) for v in value]


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum
