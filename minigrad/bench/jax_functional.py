"""JAX's functions under PyTorch's names, as far as the cases ask for them. Imported only where JAX is."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "layer",
    "linear",
    "local_response_norm",
    "max_pool2d",
    "relu",
    "softmax",
]

jax = importlib.import_module("jax")
jnp, lax = jax.numpy, jax.lax


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def relu(x: Any) -> Any:
    """``max(x, 0)``."""
    return jax.nn.relu(x)


def softmax(x: Any, dim: int) -> Any:
    """Along `dim`."""
    return jax.nn.softmax(x, axis=dim)


def conv2d(x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
    """Cross-correlation over (N, C, H, W)."""
    out = lax.conv_general_dilated(
        x, w, _pair(stride), [(p, p) for p in _pair(padding)], rhs_dilation=_pair(dilation), feature_group_count=groups
    )
    return out if b is None else out + b[:, None, None]


def linear(x: Any, w: Any, b: Any = None) -> Any:
    """``x @ w.T + b``."""
    return x @ w.T if b is None else x @ w.T + b


def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """The largest of each window."""
    window, step = _pair(kernel_size), _pair(kernel_size if stride is None else stride)
    frame = [(0, 0), (0, 0), *((p, p) for p in _pair(padding))]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *window), (1, 1, *step), frame)


def local_response_norm(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    """Over neighbouring channels."""
    frame = [(0, 0), (size // 2, (size - 1) // 2), (0, 0), (0, 0)]
    squares = lax.reduce_window(x * x, 0.0, lax.add, (1, size, 1, 1), (1, 1, 1, 1), frame)
    return x / (k + alpha / size * squares) ** beta


def batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, training: bool, eps: float = 1e-5) -> Any:
    """By the batch's own statistics."""
    axes = (0, 2, 3)
    centred = x - x.mean(axes, keepdims=True)
    scale = lax.rsqrt((centred**2).mean(axes, keepdims=True) + eps)
    return centred * scale * weight[:, None, None] + bias[:, None, None]


def cross_entropy(x: Any, target: Any) -> Any:
    """The mean over rows."""
    return -jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], 1).mean()


def layer(module: Any, parameters: list[Any], x: Any, key: Any) -> Any:
    """What a layer of minigrad's calculates, by JAX."""
    kind = type(module).__name__
    if kind == "Conv2d":
        weight, bias = parameters
        return conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
    if kind == "Linear":
        return linear(x, *parameters)
    if kind == "ReLU":
        return relu(x)
    if kind == "MaxPool2d":
        return max_pool2d(x, module.kernel_size, module.stride, module.padding)
    if kind == "LocalResponseNorm":
        return local_response_norm(x, module.size, module.alpha, module.beta, module.k)
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "Dropout":
        if not module.training:
            return x
        return jnp.where(jax.random.uniform(key, x.shape) >= module.p, x / (1 - module.p), 0)
    raise TypeError(f"no layer {kind} for JAX")
