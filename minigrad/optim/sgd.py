"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core import Array
from minigrad.kernels import optim as kernels
from minigrad.optim.optimizer import Optimizer, Params, check_settings

__all__ = ["SGD"]


class SGD(Optimizer):
    """``param -= lr * v`` with ``v = momentum * v + (1 - dampening) * (grad + weight_decay * param)``.

    Momentum after Sutskever et al. 2013, in the form in which `lr` may change between steps: it scales the step and
    not what is remembered. `nesterov` looks ahead by ``grad + momentum * v``. `maximize` goes up instead of down.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        """Raises ValueError for negative settings, and for `nesterov` without momentum or with dampening."""
        settings = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, settings)

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for settings that make no sense."""
        check_settings("SGD", group, positive=("lr", "momentum", "weight_decay"))
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    def update_all(self, steps: list[tuple[Array, Array, dict[str, Any]]], group: dict[str, Any]) -> None:
        """Small parameters that have a momentum already go together, which costs less than one by one."""
        together, gathers = [], group["momentum"] != 0
        for param, grad, state in steps:
            buffer = state.get("momentum_buffer")
            if buffer is None and gathers and group["dampening"] == 0:  # zeros make the first step like all others
                buffer = state["momentum_buffer"] = np.zeros(param.shape, param.dtype)
            if gathers and buffer is not None and kernels.is_small(param, grad, buffer):
                together.append((param, grad, buffer))
            else:
                self.update(param, grad, state, group)
        kernels.sgd_together(together, *self._settings(group, group["dampening"]))

    def update(self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        buffer, dampening = None, group["dampening"]
        if group["momentum"] != 0:
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = np.zeros(param.shape, param.dtype)
                dampening = 0.0  # the first gradient enters whole
            buffer = state["momentum_buffer"]
        kernels.sgd(param, grad, buffer, *self._settings(group, dampening))

    @staticmethod
    def _settings(group: dict[str, Any], dampening: float) -> tuple[float, float, float, float, float, bool]:
        """As kernels take them; without momentum only rate, decay and sign count."""
        rate, momentum, decay = float(group["lr"]), float(group["momentum"]), float(group["weight_decay"])
        return rate, momentum, 1.0 - dampening, decay, -1.0 if group["maximize"] else 1.0, bool(group["nesterov"])
