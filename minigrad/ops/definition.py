"""The second derivative of a fused kernel, through its definition in smaller operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minigrad.core import grad
from minigrad.modes import enable_grad, is_grad_enabled
from minigrad.ops.movement import reshape

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["through"]


def through(
    definition: Callable[..., Tensor], h: Tensor, inputs: tuple[Tensor | None, ...], needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The cotangents of `inputs`, `h` being that of ``definition(*inputs)``.

    A backward kernel that is fast and opaque gets its derivative this way: the same function, said in operations that
    have derivatives of their own. Inputs are taken by a view, so that the walk stops at them and does not run on into
    the graph that made them; what comes back is recorded if recording is on.
    """
    recording = is_grad_enabled()
    with enable_grad():
        views = [None if x is None else _handle(x, recording and x.requires_grad) for x in inputs]
        out = definition(*views)
        wanted = [view for view, need in zip(views, needs, strict=True) if need and view is not None]
        found = iter(grad(out, wanted, h, create_graph=recording, allow_unused=True))
    return tuple(next(found) if need and view is not None else None for view, need in zip(views, needs, strict=True))


def _handle(x: Tensor, connected: bool) -> Tensor:
    if connected:
        return reshape(x, x.shape)
    leaf = x.detach()
    return leaf.requires_grad_() if leaf.dtype.kind == "f" else leaf
