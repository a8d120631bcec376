"""What is measured: networks, every kernel at their shapes, and, in processes of their own, starting up and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigrad.bench.frameworks import Array, Framework, Run
from minigrad.random import manual_seed
from minigrad.zoo.alexnet import alexnet
from minigrad.zoo.lenet import lenet

__all__ = ["Case", "Conv", "all_cases"]


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    `runs` gives, for each framework, what is timed and what is compared, made of the same numbers; `flops` and `bytes` are
    the least that must be calculated and moved. A whole network is compared by its gradients, layer by layer, which a
    relu's gate that flips at 1e-7 changes by 1e-3: `tolerance` is that of the relative error's norm.
    """

    name: str
    runs: Callable[[list[Framework]], list[tuple[Run, Run]]]
    flops: float
    bytes: float
    tolerance: float = 2e-5
    seconds: float = 0.4


def all_cases() -> Iterator[Case]:
    """All of them, the networks first."""
    yield from _networks()
    yield from _kernels()


# ------------------------------------------------------------------------------------------------ networks

_NETWORKS: tuple[tuple[str, Callable[[], Any], tuple[int, ...], tuple[int, ...]], ...] = (
    ("lenet", lenet, (1, 28, 28), (1, 32, 256)),
    ("alexnet", alexnet, (3, 227, 227), (8, 64)),
)


def _networks() -> Iterator[Case]:
    for name, build, image, batches in _NETWORKS:
        for batch in batches:
            macs, parameters = _COUNTS[name]
            seconds = 1.0 if name == "lenet" else 3.0
            for kind, times, passes in (("step", 3, 5), ("forward", 1, 1)):
                yield Case(
                    f"{name} {kind}, batch {batch}",
                    _network_runs(build, (batch, *image), kind),
                    flops=2.0 * macs * batch * times,
                    # A step reads each weight twice and its gradient and momentum, and writes three of them.
                    bytes=4.0 * (parameters * passes + batch * math.prod(image)),
                    tolerance=2e-2 if kind == "step" else 1e-4,
                    seconds=seconds,
                )


#: Multiply-adds of a forward pass over one image, and parameters (`minigrad summary` counts them).
_COUNTS = {"lenet": (416_520, 61_706), "alexnet": (724_406_816, 60_965_224)}


def _network_runs(build: Any, shape: tuple[int, ...], kind: str) -> Callable[[list[Framework]], list[tuple[Run, Run]]]:
    def runs(frameworks: list[Framework]) -> list[tuple[Run, Run]]:
        rng = np.random.default_rng(0)
        images, labels = rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, shape[0])
        made = []
        for framework in frameworks:
            manual_seed(0)
            model = build()
            forward, step, _ = framework.network(model, images, labels)
            manual_seed(0)
            still = build().eval()  # without dropout's masks, which each draws for itself
            compared = framework.network(still, images, labels)
            made.append((step, compared[2]) if kind == "step" else (forward, compared[0]))
        return made

    return runs


# ------------------------------------------------------------------------------------------------ kernels


class Conv(NamedTuple):
    """A convolution of a known network."""

    name: str
    batch: int
    channels: int
    size: int
    filters: int
    window: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


_CONVOLUTIONS = (
    *(Conv("lenet conv1", batch, 1, 28, 6, 5, padding=2) for batch in (1, 32, 256)),
    *(Conv("lenet conv2", batch, 6, 14, 16, 5) for batch in (1, 32, 256)),
    *(Conv("alexnet conv1", batch, 3, 227, 96, 11, stride=4) for batch in (8, 64)),
    *(Conv("alexnet conv2", batch, 96, 27, 256, 5, padding=2, groups=2) for batch in (8, 64)),
    *(Conv("alexnet conv3", batch, 256, 13, 384, 3, padding=1) for batch in (8, 64)),
    *(Conv("alexnet conv4", batch, 384, 13, 384, 3, padding=1, groups=2) for batch in (8, 64)),
    *(Conv("alexnet conv5", batch, 384, 13, 256, 3, padding=1, groups=2) for batch in (8, 64)),
    Conv("resnet18 layer1", 8, 64, 56, 64, 3, padding=1),
    Conv("resnet18 layer2 stride 2", 8, 64, 56, 128, 3, stride=2, padding=1),
    Conv("resnet18 layer2", 8, 128, 28, 128, 3, padding=1),
    Conv("resnet18 layer3", 8, 256, 14, 256, 3, padding=1),
    Conv("resnet18 layer4", 8, 512, 7, 512, 3, padding=1),
)


def _kernels() -> Iterator[Case]:
    for conv in _CONVOLUTIONS:
        yield from _convolution(conv)
    for family in (_linear, _relu, _pooling, _response_norm, _batch_norm, _softmax, _losses):
        yield from family()


def _linear() -> Iterator[Case]:
    for batch, inputs, outputs in ((1, 400, 120), (32, 400, 120), (256, 400, 120), (8, 9216, 4096), (64, 9216, 4096)):
        yield from _operation(
            f"linear {inputs}x{outputs}, batch {batch}",
            lambda F, x, w, b: F.linear(x, w, b),
            ((batch, inputs), (outputs, inputs), (outputs,)),
            ("input", "weight"),
            flops=2.0 * batch * inputs * outputs,
        )


def _relu() -> Iterator[Case]:
    for shape in ((1, 6, 28, 28), (256, 6, 28, 28), (64, 96, 55, 55)):
        yield from _operation(f"relu {_shown(shape)}", lambda F, x: F.relu(x), (shape,), ("input",), math.prod(shape))


def _pooling() -> Iterator[Case]:
    for shape, window, stride in (((1, 6, 28, 28), 2, 2), ((256, 6, 28, 28), 2, 2), ((64, 96, 55, 55), 3, 2)):
        yield from _operation(
            f"max_pool2d {window}/{stride} {_shown(shape)}",
            lambda F, x, window=window, stride=stride: F.max_pool2d(x, window, stride),
            (shape,),
            ("input",),
            flops=math.prod(shape) / stride**2 * window**2,
        )


def _response_norm() -> Iterator[Case]:
    for shape in ((8, 96, 55, 55), (64, 96, 55, 55), (64, 256, 27, 27)):
        yield from _operation(
            f"local_response_norm {_shown(shape)}",
            lambda F, x: F.local_response_norm(x, 5, 5e-4, 0.75, 2.0),
            (shape,),
            ("input",),
            flops=16.0 * math.prod(shape),
        )


def _batch_norm() -> Iterator[Case]:
    for shape in ((32, 64, 14, 14), (8, 64, 56, 56), (64, 256, 13, 13)):
        yield from _operation(
            f"batch_norm {_shown(shape)}",
            lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True),
            (shape, shape[1:2], shape[1:2]),
            ("input", "weight"),
            flops=8.0 * math.prod(shape),
        )


def _softmax() -> Iterator[Case]:
    for shape in ((32, 10), (256, 10), (64, 1000), (512, 4096)):
        yield from _operation(
            f"softmax {_shown(shape)}", lambda F, x: F.softmax(x, -1), (shape,), ("input",), 5.0 * math.prod(shape)
        )


def _losses() -> Iterator[Case]:
    for shape in ((1, 10), (256, 10), (64, 1000)):
        labels = np.random.default_rng(1).integers(0, shape[1], shape[0])
        yield from _operation(
            f"cross_entropy {_shown(shape)}",
            lambda F, x, y: F.cross_entropy(x, y),
            (shape, labels),
            ("input",),
            flops=5.0 * math.prod(shape),
        )


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _convolution(conv: Conv) -> Iterator[Case]:
    def function(F: Any, x: Any, w: Any, b: Any) -> Any:
        return F.conv2d(x, w, b, stride=conv.stride, padding=conv.padding, groups=conv.groups)

    side = (conv.size + 2 * conv.padding - conv.window) // conv.stride + 1
    weight = (conv.filters, conv.channels // conv.groups, conv.window, conv.window)
    x = (conv.batch, conv.channels, conv.size, conv.size)
    macs = conv.batch * side**2 * math.prod(weight)
    wanted = ("weight",) if conv.channels <= 3 else ("input", "weight")  # nobody asks for the images' gradient
    yield from _operation(
        f"conv2d {conv.name}, batch {conv.batch}",
        function,
        (x, weight, (conv.filters,)),
        wanted,
        flops=2.0 * macs,
        seconds=0.4 if macs < 10**9 else 1.0,
    )


def _operation(
    name: str,
    function: Callable[..., Any],
    inputs: tuple[Any, ...],
    wanted: tuple[str, ...],
    flops: float,
    seconds: float = 0.4,
) -> Iterator[Case]:
    """The operation's forward pass, and its derivative by each of the inputs that are wanted (the first ones, in order)."""

    def arrays() -> list[Array]:
        rng = np.random.default_rng(0)
        return [x if isinstance(x, np.ndarray) else np.asarray(rng.normal(size=x), np.float32) for x in inputs]

    def forward(frameworks: list[Framework]) -> list[tuple[Run, Run]]:
        given = arrays()
        return [(run, run) for run in (f.forward(function, given) for f in frameworks)]

    def backward(which: int) -> Callable[[list[Framework]], list[tuple[Run, Run]]]:
        def runs(frameworks: list[Framework]) -> list[tuple[Run, Run]]:
            given = arrays()
            out = frameworks[0].arrays(frameworks[0].forward(function, given)())[0]
            g = np.asarray(np.random.default_rng(2).normal(size=out.shape), np.float32)
            made = (f.derivative(function, given, which, g) for f in frameworks)
            return [(run, run) for run in made]

        return runs

    sizes = [x.size if isinstance(x, np.ndarray) else math.prod(x) for x in inputs]
    moved = 4.0 * (sum(sizes) + sizes[0])
    yield Case(f"{name}: forward", forward, flops, moved, seconds=seconds)
    names = ("input", "weight")
    for target in wanted:
        yield Case(f"{name}: by {target}", backward(names.index(target)), flops, moved, seconds=seconds)
