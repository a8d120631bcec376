"""Hooks around a module's forward, and the handle that takes one away again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Hooks", "RemovableHandle"]


class RemovableHandle:
    """What registering a hook gives back: `remove()` takes the hook away; as a ``with`` block, at the block's end."""

    def __init__(self, hooks: Hooks, number: int) -> None:
        """Remember where the hook is kept."""
        self._hooks, self._number = hooks, number

    def remove(self) -> None:
        """Take the hook away; doing so twice does no harm."""
        self._hooks.by_number.pop(self._number, None)

    def __enter__(self) -> RemovableHandle:
        """The handle itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the hook."""
        self.remove()


class Hooks:
    """Functions by number, in the order in which they were added; one function may stand there twice."""

    def __init__(self) -> None:
        """None yet."""
        self.by_number: dict[int, Callable[..., Any]] = {}
        self._next = 0

    def add(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Add one at the end."""
        self._next += 1
        self.by_number[self._next] = hook
        return RemovableHandle(self, self._next)

    def before(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Call each with the module and its arguments; what a hook returns, if anything, replaces the arguments."""
        for hook in tuple(self.by_number.values()):
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        return args

    def after(self, module: Any, args: tuple[Any, ...], output: Any) -> Any:
        """Call each with the module, its arguments and its output; what a hook returns, if anything, replaces the output."""
        for hook in tuple(self.by_number.values()):
            changed = hook(module, args, output)
            output = output if changed is None else changed
        return output
