"""minigrad's pytest plugin: a fixture `gradcheck`.

pytest loads it in every run of every project in an environment where minigrad is installed. So it lies outside the package,
whose import would load the engine, and imports nothing until the fixture is asked for.
"""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["gradcheck"]


class _Gradcheck:
    """minigrad's checks, with a failure shown at the test's own line."""

    def __call__(self, func: Any, *arguments: Any, **options: Any) -> Any:
        """``(func, inputs)`` of tensors, ``(forward, backward, inputs)`` of plain arrays, or a class with both and `inputs`.

        Returns the report; fails the test with it, diagnosis and all, where a gradient is wrong.
        """
        __tracebackhide__ = True
        import minigrad

        if len(arguments) == 2 and callable(arguments[0]):
            return minigrad.check_grads(func, *arguments, **options)
        if isinstance(func, minigrad.nn.Module):
            return minigrad.check_module(func, *arguments, **options)
        if hasattr(func, "backward") or hasattr(func, "loss"):
            return minigrad.check_grads(func, None, *arguments, **options)
        return minigrad.gradcheck(func, *arguments, **options)

    def loss(self, loss: Any, inputs: Any, **options: Any) -> Any:
        """A function that gives its value and its gradients."""
        __tracebackhide__ = True
        import minigrad

        return minigrad.check_loss(loss, inputs, **options)

    def second(self, func: Any, inputs: Any, **options: Any) -> Any:
        """The gradient's own gradient."""
        __tracebackhide__ = True
        import minigrad

        return minigrad.gradgradcheck(func, inputs, **options)


@pytest.fixture
def gradcheck() -> _Gradcheck:
    """Check gradients: ``gradcheck(f, inputs)``, ``gradcheck(forward, backward, inputs)``, ``gradcheck(module, x)``,
    ``gradcheck.loss(loss, inputs)``, ``gradcheck.second(f, inputs)``."""
    return _Gradcheck()
