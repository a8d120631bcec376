"""What a ReLU does to the cotangent that comes back to it: one switch that makes three kinds of pictures.

    gradient   g where x > 0         the derivative; Simonyan, Vedaldi and Zisserman 2013
    deconvnet  max(0, g)             Zeiler and Fergus 2014
    guided     max(0, g) where x > 0 Springenberg, Dosovitskiy, Brox and Riedmiller 2015

Everything else is pulled back by its own derivative under all three, and those are what a deconvnet asks for: a
convolution's is the transposed convolution with the same filters, max-pooling's puts each value back to the place that it
was taken from.

The engine knows nothing of this. A recorded node names its operation, and an operation is a record with formulas; here ReLU's
nodes get, for a while, a twin of their record whose formula is another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from minigrad.core import TensorBase
from minigrad.graph import reachable
from minigrad.op import REGISTRY, Op
from minigrad.ops.activation import relu

__all__ = ["RULES", "relu_rule"]

_relu, _gate = REGISTRY["relu"], REGISTRY["gate"]

#: By name, the record that stands in for ReLU's.
RULES: dict[str, Op] = {
    "gradient": _relu,
    "deconvnet": replace(_relu, vjp={"x": lambda g: relu(g)}),
    "guided": replace(_relu, vjp={"x": lambda g, out: _gate(relu(g), out, slope=0.0)}),
}


@contextlib.contextmanager
def relu_rule(output: TensorBase, rule: str) -> Iterator[None]:
    """Pull back the ReLUs that `output` was computed from by this rule while the block runs.

    Only the operation `relu` is meant: its leaky kin have no such rules. Raises ValueError for a rule that there is not.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}; there are {', '.join(RULES)}")
    nodes = [node for node in reachable([output.edge]) if node.op is _relu]
    for node in nodes:
        node.op = RULES[rule]
    try:
        yield
    finally:
        for node in nodes:
            node.op = _relu
