"""Adam and AdamW."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from minigrad.core import Array
from minigrad.kernels import optim as kernels
from minigrad.optim.optimizer import Optimizer, Params, check_settings

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Steps of about `lr` along the gradient's running mean over the root of its running square. Kingma and Ba 2015.

    Both means are corrected for their start at 0. `weight_decay` is added to the gradient; `amsgrad` divides by the
    largest mean square so far (Reddi et al. 2018); `maximize` goes up instead of down.
    """

    decoupled = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        """Raises ValueError for negative settings or betas outside [0, 1)."""
        settings = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, settings)

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for settings that make no sense."""
        check_settings(self._name, group, positive=("lr", "eps", "weight_decay"))
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(isinstance(beta, Real) for beta in betas):
            raise TypeError(f"{self._name}: betas = {betas!r}; expected two numbers")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas = {group['betas']} must lie from 0 to below 1")

    def update(self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        if not state:
            state.update(step=0, exp_avg=_zeros(param), exp_avg_sq=_zeros(param))
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = _zeros(param)
        state["step"] += 1
        kernels.adam(
            param,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
            step=state["step"],
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=self.decoupled,
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters directly, past the running means. Loshchilov and Hutter 2019."""

    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        """Raises ValueError for negative settings or betas outside [0, 1)."""
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


def _zeros(param: Array) -> Array:
    """State in row order, whatever the order of the parameter's own memory: kernels work on flat arrays."""
    return np.zeros(param.shape, param.dtype)
