"""What passes between checker and student: everything comes through as it was, and noise is refused as noise."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minigrad.grading.wire import Other, WireError, frame, read

SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=20)
TYPES = st.sampled_from(
    [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, np.bool_, np.complex128, np.complex64]
)
ARRAYS = TYPES.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4)))
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=9) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


def received(data):
    stream = io.BytesIO(data)

    def receive(size):
        part = stream.read(size)
        if len(part) < size:
            raise WireError("it ended")
        return part

    return read(receive)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(VALUES)
def test_what_is_sent_arrives(value):
    assert same(received(frame({"value": value}))["value"], value)


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(WireError):
        received(data)


@given(VALUES, st.data())
def test_a_damaged_frame_is_refused_or_harmless(value, data):
    whole = bytearray(frame({"value": value}))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(WireError):
        assert isinstance(received(bytes(whole)), dict)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        (np.array([None]), "array of object"),
        (np.array("text"), "array of <U4"),
        (np.zeros([1] * 20), "array of shape (1, 1"),
        (lambda: 0, "function"),
        ({1, 2}, "set"),
    ],
)
def test_what_can_not_be_sent_arrives_as_its_name(value, name):
    arrived = received(frame({"value": value}))["value"]
    assert isinstance(arrived, Other)
    assert repr(arrived).startswith(f"<{name}")


def test_long_doubles_come_as_doubles_and_memory_with_gaps_as_it_looks():
    arrived = received(frame({"a": np.longdouble(1.5), "b": np.arange(12.0).reshape(3, 4)[:, ::2].T}))
    assert arrived["a"].dtype == np.float64
    assert arrived["b"].tolist() == [[0, 4, 8], [2, 6, 10]]


def test_too_much_is_not_sent():
    with pytest.raises(WireError, match="too large"):
        frame({"value": np.zeros(1 << 24)})
