"""Looking into a model while it runs: what its layers give, and what their weights are."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import MinigradError
from minigrad.modes import enable_grad, modes, no_grad
from minigrad.tensor import Tensor
from minigrad.viz.run import untouched

__all__ = ["LayerError", "activations", "as_images", "feature_layers", "filters", "layer_of", "run_watched"]

#: Images that go through the model at once where many are looked at.
BATCH = 250


class LayerError(MinigradError, ValueError):
    """A layer that the model does not have, or not of the kind that was asked for: the message lists those that would do."""


def layer_of(model: Any, path: str) -> Any:
    """The module at a dotted path. Raises LayerError that lists the layers there are."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if path not in modules or not path:
        raise LayerError(f"{type(model).__name__} has no layer {path!r}; there are {_listed(leaves(model))}")
    return modules[path]


def leaves(model: Any) -> dict[str, Any]:
    """The modules without children, by path."""
    return {path: module for path, module in model.named_modules() if path and not list(module.children())}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def as_images(model: Any, images: Any) -> Tensor:
    """A leaf that wants a gradient, of the numbers in a tensor or an array (N, ...), in the type of the model's parameters."""
    array = images.array if isinstance(images, TensorBase) else np.asarray(images)
    if array.dtype.kind not in "fiub" or array.ndim < 2:
        raise ValueError(f"images: numbers of a batch (N, C, H, W) expected, got {array.dtype} of shape {list(array.shape)}")
    wanted = next((p.dtype for p in model.parameters()), array.dtype if array.dtype.kind == "f" else np.dtype(np.float32))
    return Tensor(array.astype(wanted), requires_grad=True)


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for the block, so that images don't influence each other; then each module's own mode again."""
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with untouched(model):
            yield
    finally:
        for module in learning:
            module.training = True


def run_watched(model: Any, images: Tensor, layers: Mapping[str, Any], grad: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the model in evaluation mode; give its answer and what these modules gave, the last time they were called."""
    seen: dict[str, Tensor] = {}

    def remember(path: str) -> Any:
        def returned(_module: Any, _args: Any, output: Any) -> None:
            if isinstance(output, TensorBase):
                seen.pop(path, None)  # in the order of the calls
                seen[path] = output  # type: ignore[assignment]  # the one class there is

        return returned

    handles = [module.register_forward_hook(remember(path)) for path, module in layers.items()]
    try:
        with evaluating(model), enable_grad() if grad else no_grad():
            answer = model(images)
    finally:
        for handle in handles:
            handle.remove()
    for path in layers:
        if path not in seen:
            raise LayerError(f"layer {path!r} was not called, or gave no tensor; called were {_listed(seen)}")
    return answer, seen


# ------------------------------------------------------------------------------------------------ for everybody


@overload
def activations(model: Any, images: Any, layer: str) -> Array: ...
@overload
def activations(model: Any, images: Any, layer: None = None) -> dict[str, Array]: ...
def activations(model: Any, images: Any, layer: str | None = None) -> Array | dict[str, Array]:
    """What a layer gives for a batch of images, such as (N, C, H, W); without `layer`, what each gives, in calling order.

    The model runs in evaluation mode and is left as it was. Raises LayerError for a layer that there is not.
    """
    x = as_images(model, images)
    if layer is not None:
        return run_watched(model, x, {layer: layer_of(model, layer)}, grad=False)[1][layer].array
    seen = run_watched(model, x, called(model, x), grad=False)[1]
    return {path: tensor.array for path, tensor in seen.items()}


def called(model: Any, x: Tensor) -> dict[str, Any]:
    """The modules without children that give a tensor when the model runs on the first image."""
    paths: dict[str, Any] = {}

    def returned(module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, TensorBase):
            paths[modes.now.scope or ""] = module

    handles = [module.register_forward_hook(returned) for module in leaves(model).values()]
    try:
        with evaluating(model), no_grad():
            model(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return {path: module for path, module in paths.items() if path}


def feature_layers(model: Any, images: Any) -> list[str]:
    """The layers that give maps (N, C, H, W), in calling order.

    Of a convolution and what follows it without changing the maps' shape (a ReLU, a normalisation) the last stands for all.
    """
    maps = {path: array.shape for path, array in activations(model, images[:1]).items() if array.ndim == 4}
    paths = list(maps)
    return [
        path
        for path, later in itertools.zip_longest(paths, paths[1:])
        if later is None or maps[later] != maps[path] or _has_windows(layer_of(model, later))
    ]


def _has_windows(module: Any) -> bool:
    return any(parameter is not None and parameter.ndim > 2 for parameter in module._parameters.values())


@overload
def filters(model: Any, layer: str) -> Array: ...
@overload
def filters(model: Any, layer: None = None) -> dict[str, Array]: ...
def filters(model: Any, layer: str | None = None) -> Array | dict[str, Array]:
    """The weights of a convolution, (filters, channels, rows, columns); without `layer`, of each, by its name.

    Raises LayerError for a layer that has none.
    """
    found = {path: window.array for path, module in leaves(model).items() if (window := _window(module)) is not None}
    if layer is None:
        return found
    weight = _window(layer_of(model, layer))
    if weight is None:
        raise LayerError(f"{layer!r} has no filters; those have: {_listed(found)}")
    return weight.array


def _window(module: Any) -> TensorBase | None:
    weight = module._parameters.get("weight")
    return weight if weight is not None and weight.ndim == 4 else None
