"""How each competitor is asked: the same functions under the same names, given numpy arrays, giving numpy arrays.

A case is written once, as ``function(F, *tensors)``, F being the framework's functional interface. PyTorch's is the one
that minigrad follows; JAX gets a small one in the same terms (`jax_functional`). Frameworks are imported when they are made.
"""

from __future__ import annotations

import importlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad.nn.functional as minigrad_functional
from minigrad import nn, optim
from minigrad.core import grad, make_tensor
from minigrad.errors import MinigradError
from minigrad.jit import get_num_threads
from minigrad.modes import no_grad

__all__ = ["FRAMEWORKS", "Framework", "Minigrad"]

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
Run = Callable[[], Any]

_LEARNING_RATE, _MOMENTUM = 1e-3, 0.9


class Framework:
    """One competitor. `forward`, `derivative` and `step` give something to call again and again, and to time."""

    name: str
    functional: Any
    #: Whether operations run as they are called: then there are `tensor(array)`, `no_grad()` and `grad(...)` too.
    eager = False
    tensor: Callable[[Array], Any]
    no_grad: Callable[[], Any]
    grad: Callable[..., Any]

    def forward(self, function: Function, arrays: Sequence[Array]) -> Run:
        """Calls the function, recording nothing."""
        raise NotImplementedError

    def derivative(self, function: Function, arrays: Sequence[Array], which: int, cotangent: Array) -> Run:
        """Pulls the cotangent back to one of the arrays, without the forward pass where the framework can part them."""
        raise NotImplementedError

    def network(self, model: nn.Module, images: Array, labels: Array) -> tuple[Run, Run, Run]:
        """Of a twin of the model, with its weights: the forward pass, a training step, and the loss's gradients by name."""
        raise NotImplementedError

    def arrays(self, result: Any) -> list[Array]:
        """What a run gave, as numpy arrays."""
        return [np.asarray(part) for part in (result if isinstance(result, (tuple, list)) else (result,))]


class Minigrad(Framework):
    """minigrad itself, eager."""

    name = "minigrad"
    functional = minigrad_functional
    eager = True
    tensor = staticmethod(make_tensor)
    no_grad = staticmethod(no_grad)
    grad = staticmethod(grad)

    def forward(self, function: Function, arrays: Sequence[Array]) -> Run:
        """Without recording."""
        tensors = [make_tensor(a) for a in arrays]

        def run() -> Any:
            with no_grad():
                return function(minigrad_functional, *tensors)

        return run

    def derivative(self, function: Function, arrays: Sequence[Array], which: int, cotangent: Array) -> Run:
        """The recorded graph is walked again and again."""
        tensors = [make_tensor(a) for a in arrays]
        tensors[which].requires_grad_()
        out, g = function(minigrad_functional, *tensors), make_tensor(cotangent)
        return lambda: grad(out, tensors[which], g, retain_graph=True)[0]

    def network(self, model: nn.Module, images: Array, labels: Array) -> tuple[Run, Run, Run]:
        """The model itself."""
        x, y = make_tensor(images), make_tensor(labels)
        optimizer = optim.SGD(model.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM)

        def forward() -> Any:
            with no_grad():
                return model(x)

        def loss() -> Any:
            optimizer.zero_grad()
            value = minigrad_functional.cross_entropy(model(x), y)
            value.backward()
            return value

        def step() -> Any:
            value = loss()
            optimizer.step()
            return value

        def gradients() -> Any:
            loss()
            return [p.grad for p in model.parameters()]

        return forward, step, gradients

    def arrays(self, result: Any) -> list[Array]:
        """Out of tensors."""
        return [part.array for part in (result if isinstance(result, (tuple, list)) else (result,))]


class Torch(Framework):
    """PyTorch, eager, with as many threads."""

    name = "torch"
    eager = True

    def __init__(self) -> None:
        """Import it. Raises MinigradError where it is not installed."""
        self.torch = _imported("torch")
        self.torch.set_num_threads(get_num_threads())
        self.functional = self.torch.nn.functional
        self.tensor, self.no_grad, self.grad = self.torch.tensor, self.torch.no_grad, self.torch.autograd.grad

    def forward(self, function: Function, arrays: Sequence[Array]) -> Run:
        """Without recording."""
        tensors = [self.torch.from_numpy(a) for a in arrays]

        def run() -> Any:
            with self.torch.no_grad():
                return function(self.functional, *tensors)

        return run

    def derivative(self, function: Function, arrays: Sequence[Array], which: int, cotangent: Array) -> Run:
        """The recorded graph is walked again and again."""
        tensors = [self.torch.from_numpy(a) for a in arrays]
        tensors[which] = tensors[which].clone().requires_grad_()
        out, g = function(self.functional, *tensors), self.torch.from_numpy(cotangent)
        return lambda: self.torch.autograd.grad(out, tensors[which], g, retain_graph=True)[0]

    def network(self, model: nn.Module, images: Array, labels: Array) -> tuple[Run, Run, Run]:
        """A twin made of PyTorch's own layers."""
        torch, twin = self.torch, self.twin(model)
        weights = {name: torch.from_numpy(p.array.copy()) for name, p in model.named_parameters()}
        twin.load_state_dict(weights)
        twin.train(model.training)
        x, y = torch.from_numpy(images), torch.from_numpy(labels)
        optimizer = torch.optim.SGD(twin.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM)

        def forward() -> Any:
            with torch.no_grad():
                return twin(x)

        def loss() -> Any:
            optimizer.zero_grad()
            value = self.functional.cross_entropy(twin(x), y)
            value.backward()
            return value

        def step() -> Any:
            value = loss()
            optimizer.step()
            return value.detach()

        def gradients() -> Any:
            loss()
            return [p.grad for p in twin.parameters()]

        return forward, step, gradients

    def twin(self, module: nn.Module) -> Any:
        """The same layers of PyTorch's, which has minigrad's names and settings."""
        children = list(module.named_children())
        if children:
            return self.torch.nn.Sequential(OrderedDict((name, self.twin(child)) for name, child in children))
        return getattr(self.torch.nn, type(module).__name__)(**settings_of(module))

    def arrays(self, result: Any) -> list[Array]:
        """Out of tensors."""
        return [part.detach().numpy() for part in (result if isinstance(result, (tuple, list)) else (result,))]


class Jax(Framework):
    """JAX, every function compiled by `jax.jit`; it has no eager mode that anybody would train with."""

    name = "jax"

    def __init__(self) -> None:
        """Import it, with as many threads. Raises MinigradError where it is not installed."""
        self.jax = _imported("jax")
        # XLA takes as many threads as there are cores unless this variable says otherwise. It is read at the first operation.
        os.environ.setdefault("NPROC", str(get_num_threads()))
        self.functional = importlib.import_module("minigrad.bench.jax_functional")

    def forward(self, function: Function, arrays: Sequence[Array]) -> Run:
        """Compiled."""
        tensors = [self.jax.numpy.asarray(a) for a in arrays]
        compiled = self.jax.jit(lambda *given: function(self.functional, *given))
        return lambda: self.jax.block_until_ready(compiled(*tensors))

    def derivative(self, function: Function, arrays: Sequence[Array], which: int, cotangent: Array) -> Run:
        """Compiled, given what the forward pass has kept: `jax.vjp`'s function is data that another function may be given."""
        tensors, g = [self.jax.numpy.asarray(a) for a in arrays], self.jax.numpy.asarray(cotangent)
        before, after = tensors[:which], tensors[which + 1 :]
        _, pull = self.jax.vjp(lambda x: function(self.functional, *before, x, *after), tensors[which])
        compiled = self.jax.jit(lambda pull, g: pull(g)[0])
        return lambda: self.jax.block_until_ready(compiled(pull, g))

    def network(self, model: nn.Module, images: Array, labels: Array) -> tuple[Run, Run, Run]:
        """The same layers as one function; the step is one compiled program, which writes new weights over the old ones."""
        jax, layers = self.jax, [m for m in model.modules() if not list(m.children())]
        state = [jax.numpy.array(p.array) for p in model.parameters()]  # copies: the step changes them in place
        x, y = jax.numpy.asarray(images), jax.numpy.asarray(labels)

        def answers(parameters: Any, x: Any, seed: Any) -> Any:
            left = iter(parameters)
            for i, layer in enumerate(layers):
                own = [next(left) for _ in layer.parameters()]
                x = self.functional.layer(layer, own, x, self.jax.random.fold_in(self.jax.random.key(0), seed * 100 + i))
            return x

        def loss(parameters: Any, x: Any, y: Any, seed: Any) -> Any:
            return self.functional.cross_entropy(answers(parameters, x, seed), y)

        def update(parameters: Any, momenta: Any, x: Any, y: Any, seed: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(parameters, x, y, seed)
            momenta = [_MOMENTUM * m + g for m, g in zip(momenta, gradients, strict=True)]
            return value, [p - _LEARNING_RATE * m for p, m in zip(parameters, momenta, strict=True)], momenta

        forward, stepped = jax.jit(lambda p, x: answers(p, x, 0)), jax.jit(update, donate_argnums=(0, 1))
        differentiated = jax.jit(lambda p, x, y: jax.grad(loss)(p, x, y, 0))
        held: dict[str, Any] = {"parameters": state, "momenta": [jax.numpy.zeros_like(p) for p in state], "steps": 0}

        def step() -> Any:
            value, held["parameters"], held["momenta"] = stepped(held["parameters"], held["momenta"], x, y, held["steps"])
            held["steps"] += 1
            jax.block_until_ready(held["parameters"])
            return value

        return (
            lambda: jax.block_until_ready(forward(held["parameters"], x)),
            step,
            lambda: jax.block_until_ready(differentiated(held["parameters"], x, y)),
        )


FRAMEWORKS: dict[str, type[Framework]] = {"minigrad": Minigrad, "torch": Torch, "jax": Jax}

_SETTINGS = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "Linear": ("in_features", "out_features"),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "Dropout": ("p",),
    "ReLU": (),
    "Flatten": (),
}


def settings_of(layer: nn.Module) -> dict[str, Any]:
    """The settings with which another framework can build the same layer."""
    return {name: getattr(layer, name) for name in _SETTINGS[type(layer).__name__]}


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MinigradError(f"{name} is not installed: pip install 'minigrad[bench]' brings it") from error
