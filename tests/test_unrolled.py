"""Functions written out from templates: what is written, that it does as a loop does, and that it can be read."""

import linecache
import traceback

import numpy as np
import pytest

import minigrad as mg
from minigrad import op as ops
from minigrad.core import make_tensor
from minigrad.graph import reachable
from minigrad.op import REGISTRY
from minigrad.unrolled import function, looped, unrolled

TEMPLATE = """
def each(x* /, **params):
    total = 0  #: sum
    total = 1  #: product
    if x$ is None:
        return "without $"
    a~ = 10
    a@ = x@ ** 2
    total = total + a@  #: sum
    total = total * a@  #: product
    return total, (a*)
"""


def test_a_template_is_written_out():
    source = unrolled(TEMPLATE, 2, {"@": [0], "~": [1], "$": []}, {"sum"})
    assert source.splitlines() == [
        "def each(x0, x1, /, **params):",
        "    total = 0",
        "    a1 = 10",
        "    a0 = x0 ** 2",
        "    total = total + a0",
        "    return total, (a0, a1,)",
    ]
    assert function("each", source, {})(3, None) == (9, (9, 10))


def test_lines_stand_for_the_inputs_of_their_sign():
    each = function("each", unrolled(TEMPLATE, 3, {"@": [0, 1, 2], "~": [], "$": [1, 2]}, {"product"}), {})
    assert each(1, 2, 3) == (36, (1, 4, 9))
    assert each(1, None, 3) == "without 1" and each(1, 2, None) == "without 2"


@pytest.mark.parametrize("word", ["sum", "product"])
def test_a_loop_does_the_same(word):
    template = TEMPLATE.replace(" /,", "")
    loop = function("each", looped(template, {word}), {})
    for count in range(4):
        numbers = list(range(2, 2 + count))
        written = function("each", unrolled(template, count, {"@": range(count), "~": [], "$": []}, {word}), {})
        assert loop(*numbers) == written(*numbers)


@pytest.mark.parametrize("name", sorted(name for name, op in REGISTRY.items() if not op.optional and not op.variadic))
def test_an_operation_is_applied_as_in_a_loop(name):
    """Written out, as it is; and from the same template as the loop that `cat` has."""
    op = REGISTRY[name]
    loop = op._applier(None)
    for sample in op.samples(np.random.default_rng(0)):
        made = []
        for apply in (op._appliers[len(sample.inputs)], loop):
            leaves = [make_tensor(np.array(a)) for a in sample.inputs]
            for leaf in leaves:
                leaf.requires_grad = leaf.dtype.kind == "f"
            out = apply(*leaves, **sample.params)
            made.append((out if type(out) is tuple else (out,), leaves))
        (written, inputs), (looped, others) = made
        for one, other in zip(written, looped, strict=True):
            np.testing.assert_array_equal(one.array, other.array)
        one, other = written[0].node, looped[0].node
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.plan, one.shapes, one.dtypes, one.params.keys()) == (
                other.plan,
                other.shapes,
                other.dtypes,
                other.params.keys(),
            )
            assert one.saved.keys() == other.saved.keys()
            places = [
                [next((i for i, x in enumerate(xs) if x is e), e) for e in n.edges]
                for n, xs in ((one, inputs), (other, others))
            ]
            assert places[0] == places[1]


def test_what_is_written_can_be_read():
    apply = REGISTRY["mul"]._appliers[2]
    lines = linecache.getlines(apply.__code__.co_filename)
    assert lines[0].startswith("def apply(x0, x1, **params):")
    with pytest.raises(ZeroDivisionError) as caught:
        function("broken", "def broken(x):\n    return x / 0", {})(1)
    assert "return x / 0" in "".join(traceback.format_exception(caught.value))


def test_the_users_line_is_not_in_what_was_written():
    with mg.detect_anomaly(), pytest.raises(mg.AnomalyError, match=r"test_unrolled\.py:\d+ in test_the_users_line"):
        mg.log(mg.tensor([-1.0]))


def test_absent_inputs_are_left_out_of_the_graph():
    x, w = mg.randn(2, 3).requires_grad_(), mg.randn(4, 3).requires_grad_()
    node = mg.linear(x, w).node
    assert node.edges == (x, w, None) and node.shapes == ((2, 3), (4, 3), ()) and node.dtypes[2] is None
    with pytest.raises(TypeError, match=r"linear: weight is None; expected a tensor"):
        ops.REGISTRY["linear"](x, None, None)
    with pytest.raises(TypeError, match=r"batch_norm: bias is a str; expected a tensor"):
        ops.REGISTRY["batch_norm"](x, None, "bias", eps=1e-5)  # the weight may be absent
    out = mg.cat([x, w, x * 2])
    assert [node.name for node in reachable([out.node])] == ["cat", "mul"] and out.node.edges[:2] == (x, w)


def test_an_operation_without_inputs_says_so():
    with pytest.raises(TypeError, match=r"mul: no inputs; expected a, b"):
        REGISTRY["mul"]()
