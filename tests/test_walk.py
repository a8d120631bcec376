"""The backward walk over random graphs: derivatives against the product rule written out, and every node visited once."""

import collections

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

_LEAVES = 3


@st.composite
def graphs(draw):
    """Which two earlier values each operation takes, the leaves first, and whether it adds or multiplies."""
    count = draw(st.integers(1, 14))
    return [
        (draw(st.sampled_from("+*")), draw(st.integers(0, i - 1)), draw(st.integers(0, i - 1)))
        for i in range(_LEAVES, _LEAVES + count)
    ]


def forward(graph, by):
    """Every value, and its derivative by the value at place `by` (taken for independent), carried along from the leaves."""
    values, slopes = [0.5, -1.25, 0.75], [float(place == by) for place in range(_LEAVES)]
    for place, (kind, a, b) in enumerate(graph, _LEAVES):
        values.append(values[a] + values[b] if kind == "+" else values[a] * values[b])
        slope = slopes[a] + slopes[b] if kind == "+" else slopes[a] * values[b] + values[a] * slopes[b]
        slopes.append(1.0 if place == by else slope)
    return values, slopes


def recorded(graph):
    tensors = [mg.tensor(v, dtype=mg.float64, requires_grad=True) for v in (0.5, -1.25, 0.75)]
    for kind, a, b in graph:
        tensors.append(tensors[a] + tensors[b] if kind == "+" else tensors[a] * tensors[b])
    return tensors


@given(graphs())
def test_the_walk_gives_every_leaf_its_derivative_and_visits_a_node_once(graph):
    tensors = recorded(graph)
    visits = collections.Counter()
    for place, tensor in enumerate(tensors[_LEAVES:]):
        tensor.register_hook(lambda g, place=place: visits.update([place]))
    tensors[-1].backward()
    for place, leaf in enumerate(tensors[:_LEAVES]):
        expected = forward(graph, place)[1][-1]
        found = 0.0 if leaf.grad is None else leaf.grad.item()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert not visits or max(visits.values()) == 1


@given(graphs(), st.data())
def test_a_gradient_by_results_in_between(graph, data):
    tensors = recorded(graph)
    places = data.draw(st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=4, unique=True))
    found = mg.grad(tensors[-1], [tensors[place] for place in places], allow_unused=True)
    for place, g in zip(places, found, strict=True):
        expected = forward(graph, place)[1][-1]
        np.testing.assert_allclose(0.0 if g is None else g.item(), expected, rtol=1e-12, atol=1e-12)
