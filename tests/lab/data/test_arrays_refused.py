"""Arrays that cannot be used: each mistake is one message."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bnkit.errors import DataError
from bnkit.lab.data import DataSettings, from_arrays, open_source

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1] * 4)
FLOATS = np.linspace(0, 1, 160).reshape(8, 4, 5)


def with_value(value, *indices, dtype=np.float64):
    array = FLOATS.astype(dtype)
    for index in indices:
        array[index] = value
    return array


@pytest.mark.parametrize(
    "arrays, message",
    [
        ((IMAGES, LABELS[:7]), "images has 8 examples and labels 7; one label per example"),
        ((IMAGES, LABELS, IMAGES, LABELS[:2]), "test_images has 8 examples and test_labels 2"),
        ((IMAGES, 3), "images has 8 examples and labels 0"),
        (
            (with_value(np.nan, (3, 2, 1), (5, 0, 0)), LABELS),
            r"images holds 2 values that cannot.*first is nan at index \(3, 2, 1\); finite numbers",
        ),
        (
            (FLOATS, LABELS, with_value(-np.inf, (7, 3, 4)), LABELS),
            r"test_images holds 1 value that .*, the first is -inf at index \(7, 3, 4\)",
        ),
        (
            (with_value(1e300, (1, 0, 2)), LABELS),
            r"first is 1e\+300 at index \(1, 0, 2\); numbers that float32 can hold",
        ),
        ((IMAGES, LABELS, IMAGES[:, :3], LABELS), r"shape \(4, 5\), one of test_images \(3, 5\)"),
        ((IMAGES, LABELS, FLOATS, LABELS), "train_images has dtype uint8, test_images float64"),
        (
            (IMAGES.astype(int), LABELS, FLOATS, LABELS),
            "train_images has dtype int64, test_images float64; one dtype.*Convert both alike",
        ),
        ((IMAGES[:0], LABELS[:0]), r"images has shape \(0, 4, 5\) and so holds nothing"),
        ((IMAGES[:, :0], LABELS), r"images has shape \(8, 0, 5\) and so holds nothing"),
        ((IMAGES, LABELS, IMAGES[:0], LABELS[:0]), "test_images has shape .* holds nothing"),
        ((IMAGES[:, 0, 0], LABELS), r"images has shape \(8,\); \(N, H, W\), "),
        ((IMAGES[..., None, None], LABELS), r"images has shape \(8, 4, 5, 1, 1\)"),
        ((IMAGES * 1j, LABELS), "images has dtype complex128; real numbers"),
        ((IMAGES.astype(str), LABELS), "images has dtype <U3; real numbers"),
        ((IMAGES, np.zeros(8, int)), "there is one class, '0'; at least two classes"),
        ((IMAGES, np.eye(2)[LABELS]), r"as one-hot labels have.*labels.argmax\(axis=1\)"),
        ((IMAGES, LABELS + 1), "runs from 1 to 2 and has no example of class 0.*labels - 1"),
        ((IMAGES, LABELS - 1), "labels runs from -1 to 0; 4 out of range"),
        ((IMAGES, LABELS, IMAGES, LABELS * 2), "test_labels runs from 0 to 2; 4 out of range"),
        ((IMAGES[:3], LABELS[:3]), "class '1' has 1 example, .*at least two per class"),
        (
            ([[1.0], [1.0, 2.0]], [0, 1]),
            "images is a list that NumPy cannot.*lists of equal length",
        ),
        (([{}, {}], [0, 1]), "images holds Python objects; numbers.*numpy.stack"),
        ((torch.zeros(2, 3, requires_grad=True), [0, 1]), "is a Tensor .*tensor.detach"),
        (IMAGES, "got a ndarray; "),
        ((IMAGES,), r"got a tuple of 1 items; \(images, labels\)"),
        ((IMAGES, LABELS, IMAGES), "got a tuple of 3 items"),
        ("digits", "got a str"),
        ({}, "has no images, labels; it holds nothing"),
        ({"image": IMAGES, "labels": LABELS}, "no images; .*Did you mean 'image' by images"),
        (
            {"train_images": IMAGES, "train_labels": LABELS},
            "has no test_images, test_labels.*name the two arrays images and labels",
        ),
        ({"x_test": IMAGES, "y_test": LABELS}, "has no train_images, train_labels.*Add them"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_tset": LABELS},
            "has no test_labels; it holds x_train.* y_tset; .*Did you mean 'y_tset' by test_labels",
        ),
        ({"a": IMAGES, "b": LABELS}, "has no images, labels; it holds a, b; .*Name the arrays"),
        ({"x": IMAGES, "images": IMAGES, "y": LABELS}, "holds both images and x; one of them"),
        (
            {"x": IMAGES, "y": LABELS, "x_test": IMAGES, "y_test": LABELS},
            "holds both x_test and x; either train_images",
        ),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(arrays, message):
    with pytest.raises(DataError, match=f"^arrays: .*{message}"):
        from_arrays(arrays).load()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 9}, "batch_size = 9, and there are 8 training examples"),
        ({"mean": [0.1, 0.2]}, "data.mean has 2 values, and the examples have 1 channel;"),
    ],
)
def test_settings_that_do_not_fit_the_arrays_are_refused(changes, message):
    settings = DataSettings(name="given", **{"batch_size": 1, **changes})
    with pytest.raises(DataError, match=message):
        from_arrays((IMAGES, LABELS, IMAGES, LABELS), settings).load()


def load(path: Path):
    return open_source(DataSettings(name="arrays", path=path, batch_size=1)).load()


def test_messages_about_a_file_name_it(make_npz):
    path = make_npz(images=IMAGES, labels=LABELS[:5])
    with pytest.raises(DataError, match=f"^{path}: images has 8 examples and labels 5"):
        load(path)
    with pytest.raises(DataError, match=f"^{path}: has no images; it holds label"):
        load(make_npz(label=LABELS, labels=LABELS))


def test_objects_in_a_file_are_refused_unread(make_npz):
    path = make_npz(images=IMAGES, labels=np.array(["a", "b"] * 4, dtype=object))
    with pytest.raises(
        DataError, match=r"labels holds Python objects, which can run.*astype\(str\)"
    ):
        load(path)


def test_objects_in_arrays_that_are_not_read_do_no_harm(make_npz):
    load(make_npz(images=IMAGES, labels=LABELS, extra=np.array([{}], dtype=object)))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"images, labels\n0, 1\n", "is not an .npz file; .*Write it with numpy.savez"),
        (b"\x93NUMPY\x01\x00v\x00", "is an .npy file, one array without a name"),
        (b"PK\x03\x04 cut off", "is damaged: its end is missing"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, message):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: {message}"):
        load(path)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent.npz: there is no such file.*Check data.path"):
        load(tmp_path / "absent.npz")
    with pytest.raises(DataError, match=r'is a folder; an .npz file.*Use data.name = "folder"'):
        load(tmp_path)
    with pytest.raises(DataError, match="there is no such file"):
        open_source(DataSettings(name="arrays", path=tmp_path / "absent.npz")).fingerprint()


@pytest.mark.parametrize("compressed", [True, False])
def test_one_damaged_byte_is_noticed(tmp_path, compressed):
    path = tmp_path / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("images.npy").header_offset
    content = bytearray(path.read_bytes())
    content[start + 200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data.npz: is damaged.*Copy or write it again"):
        load(path)


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (9, 9, 9)}", "is damaged"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**9,)}", "is damaged"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}" % 10**15, "fit into memory"),
    ],
)
def test_a_header_that_promises_more_than_there_is(tmp_path, header, message):
    path = tmp_path / "data.npz"
    start = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", start + header + b"\n")
        file.writestr("labels.npy", b"no array")
    with pytest.raises(DataError, match=message):
        load(path)
