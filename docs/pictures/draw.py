"""Draws the gallery of docs/pictures.md anew: `python docs/pictures/draw.py [FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, viz, zoo

HERE = Path(__file__).parent


def pictures() -> Iterator[tuple[str, viz.Drawing]]:
    """Each picture with the name of its file."""
    mg.manual_seed(0)
    lenet, digit = zoo.lenet(), (1, 1, 28, 28)
    yield "lenet.svg", viz.graph(lenet, digit, what="modules")
    yield "lenet-graph.svg", viz.graph(lenet, digit)
    yield "lenet-backward.svg", viz.graph(lenet, digit, what="backward")
    yield "lenet-both.svg", viz.graph(lenet, digit, what="both")
    with nn.init.skip():
        two, one = zoo.alexnet(groups=2), zoo.alexnet(groups=1)
    photo = (1, 3, 227, 227)
    yield "alexnet.svg", viz.graph(two, photo, what="modules", title="AlexNet, two groups")
    yield "alexnet-one.svg", viz.graph(one, photo, what="modules", title="AlexNet, one column")
    yield "alexnet-graph.svg", viz.graph(two, photo)
    yield "blocks.svg", viz.graph(residual(12), (1, 8, 8, 8), title="twelve residual blocks")
    yield "lstm.svg", viz.graph(unrolled(500), title="an LSTM cell, unrolled over 500 steps")
    yield "vanishing.svg", trained(deep(nn.Sigmoid), "six layers with sigmoids: the gradient vanishes")
    yield "broken.svg", trained(Broken(), "a logarithm of nothing")


class Block(nn.Module):
    """Two convolutions and a way round them. He et al. 2015."""

    def __init__(self, channels: int) -> None:
        """As many channels out as in."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """The sum of both ways, rectified."""
        return (x + self.conv2(self.conv1(x).relu())).relu()


def residual(count: int) -> nn.Module:
    """So many equal blocks and a linear layer."""
    return nn.Sequential(*(Block(8) for _ in range(count)), nn.Flatten(), nn.Linear(512, 10))


def unrolled(steps: int, width: int = 8) -> mg.Tensor:
    """An LSTM cell written out in operations. Hochreiter and Schmidhuber 1997, with a forget gate."""
    of_input, of_state, bias = (mg.randn(*shape, requires_grad=True) for shape in ((8, 32), (8, 32), (32,)))
    of_input.name, of_state.name, bias.name = "weight of x", "weight of h", "bias"
    h, c = mg.zeros(1, width), mg.zeros(1, width)
    for _ in range(steps):
        z = mg.randn(1, width) @ of_input + h @ of_state + bias
        i, f, o = (z[:, k * width : (k + 1) * width].sigmoid() for k in range(3))
        c = f * c + i * z[:, 3 * width :].tanh()
        h = o * c.tanh()
    return h.sum()


def deep(activation: Callable[[], nn.Module]) -> nn.Module:
    """Six layers of 16."""
    return nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(16, 16), activation())))


class Broken(nn.Module):
    """A layer that is used, one that is forgotten, and a logarithm of what a ReLU has made 0."""

    def __init__(self) -> None:
        """Sixteen numbers in, ten out."""
        super().__init__()
        self.layer = nn.Linear(16, 10)
        self.forgotten = nn.Linear(10, 10)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """-Inf where the ReLU gives 0."""
        return (self.layer(x) - 0.5).relu().log()


def trained(model: nn.Module, title: str) -> viz.Drawing:
    """One step of the model, watched."""
    x, target = mg.randn(32, 16), mg.randint(0, 10, (32,))
    with viz.watch():
        loss = F.cross_entropy(model(x), target)
        loss.backward()
    return viz.graph(
        loss, model, x, title=title, collapse=False, what="modules" if isinstance(model, nn.Sequential) else "graph"
    )


def main(folder: Path) -> None:
    """Write all of them."""
    for name, drawing in pictures():
        print(drawing.save(folder / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
