"""Files in and out: what is written comes back, what is damaged is refused, nothing is ever half written."""

import builtins
import contextlib
import errno
import gzip
import json
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import minigrad as mg
from minigrad import nn
from minigrad.io import atomic
from minigrad.io.checkpoint import load_state, save_state
from minigrad.io.idx import read_idx, write_idx
from minigrad.io.safetensors import load_file, load_metadata, save_file

KINDS = ["uint8", "int8", "int16", "int32", "float32", "float64"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------ whole or not at all


class Full:
    """A file that takes `room` bytes before the disk is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        taken = self.file.write(bytes(data)[: self.room])
        self.room -= taken
        if taken < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken


@pytest.mark.parametrize("room", [0, 1, 500])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, room):
    path = tmp_path / "state"
    save_state({"a": np.arange(100.0)}, path)
    before, plain = path.read_bytes(), Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: Full(plain(self, mode), room) if "w" in mode else plain(self, mode))
        with pytest.raises(OSError, match="No space"):
            save_state({"a": np.arange(200.0)}, path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("step", ["fsync", "open"])
def test_a_disk_that_fills_at_another_moment_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "text"
    atomic.write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["text"]


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "text"
    atomic.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["text"]


def test_what_a_killed_process_left_is_swept(tmp_path):
    path = tmp_path / "text"
    atomic.write_text(path, "whole")
    with atomic.replacing(path) as temporary:
        temporary.write_text("half")
        (tmp_path / temporary.name.replace("text", "other")).write_text("half")
    assert len(names(tmp_path)) == 2
    atomic.sweep(tmp_path)
    assert names(tmp_path) == ["text"]


def test_a_new_file_is_readable_as_the_umask_says(tmp_path):
    atomic.write_text(tmp_path / "ours", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ------------------------------------------------------------------------------------------------ IDX


@pytest.mark.parametrize("suffix", ["", ".gz"])
@given(st.data())
def test_idx_round_trip(tmp_path_factory, suffix, data):
    kind = data.draw(st.sampled_from(KINDS))
    array = data.draw(arrays(kind, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
    path = tmp_path_factory.mktemp("idx") / f"x{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")


def test_idx_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "x", np.array([[1, 2, 3], [4, 5, 258]], np.int16))
    assert (tmp_path / "x").read_bytes().hex(" ", -4) == "00000b02 00000002 00000003 00010002 00030004 00050102"
    write_idx(tmp_path / "x.gz", np.arange(9.0))
    first = (tmp_path / "x.gz").read_bytes()
    write_idx(tmp_path / "x.gz", np.arange(9.0))
    assert (tmp_path / "x.gz").read_bytes() == first


def idx(code=8, shape=(2, 3), data=b"abcdef"):
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


DAMAGED = {
    "empty": (b"", "empty"),
    "one byte": (b"\0", "not an IDX file"),
    "text": (b"label,pixel0\n1,0\n", "not an IDX file.*expected 00 00"),
    "unknown type": (idx(code=7), "not an IDX file"),
    "header cut off": (idx()[:9], "cut off in the header.*expected 2 lengths.*found 5 bytes"),
    "data cut off": (idx()[:-1], r"promises 2 x 3 uint8, expected 6 bytes after it, found 5$"),
    "data too long": (idx(data=b"abcdefg"), "expected 6 bytes after it, found more"),
    "a lying header": (idx(shape=(4_000_000_000, 28, 28)), "expected 3,136,000,000,000 bytes after it, found 6"),
    "lengths that overflow": (idx(shape=(0, *[4_000_000_000] * 7), data=b""), "promises 0 x"),
    "too many axes": (idx(shape=(1,) * 100, data=b"a"), "promises 1 x"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_idx_is_refused_by_name(tmp_path, case, zipped):
    data, message = DAMAGED[case]
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(mg.FileFormatError, match=f"images: .*{message}"):
        read_idx(path)


@pytest.mark.parametrize("damage", [lambda z: z[:-9], lambda z: z[:12], lambda z: z[:2], lambda z: z[:-1] + bytes([z[-1] ^ 1])])
def test_damaged_gzip_is_refused(tmp_path, damage):
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(idx())))
    with pytest.raises(mg.FileFormatError, match=r"images.gz: the gzip data is damaged or cut off"):
        read_idx(path)


def test_every_flipped_byte_of_a_gzip_file_is_noticed_or_harmless(tmp_path):
    path, whole = tmp_path / "images.gz", gzip.compress(idx(shape=(40,), data=bytes(range(40))), mtime=0)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        with contextlib.suppress(mg.FileFormatError):
            np.testing.assert_array_equal(read_idx(path), np.arange(40))


def test_idx_has_no_code_for_every_type(tmp_path):
    with pytest.raises(mg.FileFormatError, match="no code for int64; expected one of uint8"):
        write_idx(tmp_path / "x", np.arange(3))
    assert names(tmp_path) == []


def test_a_missing_file_is_an_ordinary_error(tmp_path):
    for read in (read_idx, load_file, load_state):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")


# ------------------------------------------------------------------------------------------------ safetensors


def test_safetensors_round_trip(tmp_path):
    tensors = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3)),
        "flags": np.array([True, False]),
    }
    save_file(tensors, tmp_path / "m", {"model": "lenet"})
    back = load_file(tmp_path / "m")
    assert set(back) == set(tensors)
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)
    assert load_metadata(tmp_path / "m") == {"model": "lenet"}


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    about = {letter: letter for letter in "abcdefgh"}
    files = set()
    for attempt in range(4):
        save_file(
            {"w": np.ones(3), "b": np.zeros(2, np.uint8)}, tmp_path / "m", dict(reversed(about.items())) if attempt else about
        )
        files.add((tmp_path / "m").read_bytes())
    assert len(files) == 1
    assert load_metadata(tmp_path / "m") == about


def test_safetensors_takes_arrays_and_strings_only(tmp_path):
    with pytest.raises(TypeError, match="'w' is a list"):
        save_file({"w": [1.0]}, tmp_path / "m")
    with pytest.raises(TypeError, match="metadata\\['n'\\] is a int"):
        save_file({}, tmp_path / "m", {"n": 1})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:20], lambda b: b"\xff" * 8 + b[8:], lambda b: b"\0" * len(b)]
)
def test_damaged_safetensors_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    save_file({"w": np.ones(5)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(mg.FileFormatError, match=r"m.safetensors: not a safetensors file, or damaged"):
        load_file(path)


# ------------------------------------------------------------------------------------------------ states


def test_a_state_comes_back_to_the_bit(tmp_path):
    state = {
        "model": {"a.b": np.float32([1, np.nan]), "a": {"b": np.arange(3)}},
        "optimizer": {"state": {0: {"step": 3, "exp_avg": mg.tensor([0.1, 0.2])}}, "betas": [0.9, 0.999]},
        "generator": np.random.default_rng(7).bit_generator.state,
        "sums": [0.1 + 0.2, math.inf, -0.0, 5e-324],
        "pair": (1, [2.5, (3,)]),
        "text": "ü\n",
        "nothing": None,
        "yes": True,
    }
    save_state(state, tmp_path / "s")
    back = load_state(tmp_path / "s")
    np.testing.assert_array_equal(back["model"]["a.b"], state["model"]["a.b"])
    np.testing.assert_array_equal(back["model"]["a"]["b"], np.arange(3))
    np.testing.assert_array_equal(back["optimizer"]["state"][0]["exp_avg"].array, np.float32([0.1, 0.2]))
    assert back["optimizer"]["state"][0]["step"] == 3
    assert [value.hex() for value in back["sums"]] == [value.hex() for value in state["sums"]]
    assert {k: back[k] for k in ("generator", "pair", "text", "nothing", "yes")} == {
        k: state[k] for k in ("generator", "pair", "text", "nothing", "yes")
    }


def test_a_state_holds_no_code(tmp_path):
    with pytest.raises(TypeError, match=r"state.f.0 is a builtin_function_or_method"):
        save_state({"f": [builtins.print]}, tmp_path / "s")
    with pytest.raises(TypeError, match="keys must be strings or integers"):
        save_state({(1, 2): 0}, tmp_path / "s")
    assert names(tmp_path) == []


def test_no_byte_of_a_state_can_change_unnoticed(tmp_path):
    path = tmp_path / "s"
    save_state({"w": np.arange(4.0), "epoch": 12}, path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(mg.FileFormatError, match="s: "):
            load_state(path)


def test_another_file_is_no_state(tmp_path):
    save_file({"w": np.ones(5)}, tmp_path / "model")
    with pytest.raises(mg.FileFormatError, match="no saved state; expected a file of format 'minigrad state 1'"):
        load_state(tmp_path / "model")


def test_a_state_with_a_matching_digest_must_still_make_sense(tmp_path):
    from minigrad.io import checkpoint

    for state in ({"t": "missing"}, {"x": 1}, {"d": 5}, {}):
        skeleton = json.dumps(state)
        metadata = {"format": "minigrad state 1", "digest": checkpoint._digest(skeleton, {}), "state": skeleton}
        save_file({}, tmp_path / "s", metadata)
        with pytest.raises(mg.FileFormatError, match="can't be put together"):
            load_state(tmp_path / "s")


def test_a_models_state_is_saved_as_it_is(tmp_path):
    model = nn.Linear(3, 2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    twin = nn.Linear(3, 2)
    twin.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert np.array_equal(twin.weight.array, model.weight.array)
