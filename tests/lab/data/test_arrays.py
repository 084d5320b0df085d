"""Arrays that can be used, from a file and from Python alike."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from bnkit.lab.data import ArraySource, Dataset, DataSettings, from_arrays, open_source
from bnkit.lab.data.array_dataset import dataset_from_arrays

BYTES = np.random.default_rng(0).integers(0, 256, (8, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
SPLIT = (BYTES[:6], LABELS[:6], BYTES[6:], LABELS[6:])


def load(*arrays, **changes) -> Dataset:
    given = arrays[0] if len(arrays) == 1 else arrays
    return from_arrays(given, DataSettings(name="given", batch_size=1, **changes)).load()


def all_images(data: Dataset) -> np.ndarray:
    return np.concatenate([data.train_images, data.test_images])


def test_four_arrays_are_train_and_test():
    data = load(*SPLIT)
    np.testing.assert_array_equal(data.train_images, (BYTES[:6] / np.float32(255))[:, None])
    np.testing.assert_array_equal(data.test_images, (BYTES[6:] / np.float32(255))[:, None])
    np.testing.assert_array_equal(data.train_labels, LABELS[:6])
    assert data.test_labels.dtype == np.int64
    assert data.class_names == ("0", "1")
    assert data.notes == ()


def test_two_arrays_are_split_per_class_and_said_to_be():
    data = load(BYTES, LABELS, test_share=0.5)
    np.testing.assert_array_equal(np.bincount(data.train_labels), [2, 2])
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])
    assert "0.5 of each class was held out" in data.notes[-1]
    by_value = {image.tobytes(): label for image, label in zip(BYTES, LABELS, strict=True)}
    for image, label in zip(
        all_images(data), np.concatenate([data.train_labels, data.test_labels]), strict=True
    ):
        assert by_value[np.round(image * 255).astype(np.uint8).tobytes()] == label


@pytest.mark.parametrize(
    "keys",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
    ],
)
def test_usual_names_and_forms_mean_the_same(keys, make_npz):
    expected = load(*SPLIT)
    named = dict(zip(keys, SPLIT, strict=True))
    path = make_npz(**named)
    from_file = open_source(DataSettings(name="arrays", path=path, batch_size=1)).load()
    pairs = ((SPLIT[0], SPLIT[1]), (SPLIT[2], SPLIT[3]))
    for data in (load(named), load(list(SPLIT)), load(pairs), from_file):
        np.testing.assert_array_equal(data.train_images, expected.train_images)
        np.testing.assert_array_equal(data.test_images, expected.test_images)
        np.testing.assert_array_equal(data.test_labels, expected.test_labels)


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("X", "y")])
def test_data_without_test_split_has_two_names(keys):
    expected = load(BYTES, LABELS)
    data = load(dict(zip(keys, (BYTES, LABELS), strict=True)))
    np.testing.assert_array_equal(data.test_images, expected.test_images)


@pytest.mark.parametrize(
    "shape, read, note",
    [
        ((8, 4, 5), (1, 4, 5), ""),
        ((8, 1, 4, 5), (1, 4, 5), ""),
        ((8, 3, 4, 5), (3, 4, 5), ""),
        ((8, 2, 4, 5), (2, 4, 5), ""),
        ((8, 7, 5, 3), (3, 7, 5), "(7, 5, 3) were read as (H, W, C), channels last"),
        ((8, 7, 5, 1), (1, 7, 5), "channels last"),
        ((8, 7, 5, 4), (4, 7, 5), "channels last"),
        ((8, 3, 5, 3), (3, 5, 3), "read as (C, H, W), though either is possible"),
        ((8, 6, 5, 2), (6, 5, 2), ""),
        ((8, 12), (12,), ""),
    ],
)
def test_axes_are_read_as_said(shape, read, note):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = load(images[:6], LABELS[:6], images[6:], LABELS[6:])
    assert data.input_shape == read
    assert (note in data.notes[0]) if note else data.notes == ()
    moved = images.transpose(0, 3, 1, 2) if "last" in note else images
    np.testing.assert_array_equal(
        all_images(data), moved.reshape(8, *read).astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(
    "dtype, divisor, note",
    [
        (np.uint8, 255, None),
        (np.bool_, 1, None),
        (np.int64, 1, "dtype int64 are used as they are, from 0 to 250"),
        (np.uint16, 1, "dtype uint16 are used as they are, from 0 to 250"),
        (np.float16, 1, "dtype float16"),
        (np.float32, 1, "dtype float32"),
        (np.float64, 1, "dtype float64"),
        (">f8", 1, "dtype >f8 are used as they are"),
    ],
)
def test_bytes_are_scaled_and_other_numbers_are_not(dtype, divisor, note):
    images = (np.arange(6 * 4).reshape(6, 2, 2) % 251).astype(dtype)
    images[0, 0] = (0, 250)
    labels = LABELS[:6]
    data = load(images, labels, images, labels)
    assert data.train_images.dtype == np.float32
    assert data.train_images.dtype.isnative
    expected = images.astype(np.float32)[:, None] / np.float32(divisor)
    np.testing.assert_array_equal(data.train_images, expected)
    assert (note in data.notes[0]) if note else data.notes == ()


def test_arrays_of_the_caller_are_left_as_they_are():
    images = BYTES.astype(np.float32)
    before = images.copy()
    load(images, LABELS, mean=3.0, std=2.0)
    np.testing.assert_array_equal(images, before)


def test_tensors_and_lists_are_arrays():
    expected = load(*SPLIT)
    tensors = load(*(torch.from_numpy(array) for array in SPLIT))
    np.testing.assert_array_equal(tensors.train_images, expected.train_images)
    lists = load([[[0.0, 1.0]], [[0.5, 0.5]]] * 2, ["b", "a"] * 2)
    assert lists.class_names == ("a", "b")
    assert lists.input_shape == (1, 1, 2)


def test_bytes_and_objects_that_are_strings_are_class_names(make_npz):
    words = np.array(["kä", "b"] * 4)
    for labels in (words, np.char.encode(words, "utf-8"), words.astype(object)):
        assert load(BYTES, labels).class_names == ("b", "kä")
    path = make_npz(images=BYTES, labels=np.char.encode(words, "utf-8"))
    data = open_source(DataSettings(name="arrays", path=path, batch_size=1)).load()
    assert data.class_names == ("b", "kä")


def test_class_names_may_be_given():
    data = load({"x": BYTES, "y": LABELS, "class_names": ["cat", "dog"]})
    assert data.class_names == ("cat", "dog")


def test_arrays_that_are_not_read_are_named(make_npz):
    path = make_npz(images=BYTES, labels=LABELS, weights=LABELS, authors=LABELS)
    data = open_source(DataSettings(name="arrays", path=path, batch_size=1)).load()
    assert data.notes[0] == "Arrays that are not read: authors, weights."


def test_a_class_without_test_examples_is_named():
    data = load(BYTES, LABELS, BYTES[:1], LABELS[:1])
    assert "The test split has no example of class 1." in data.notes


def test_size_and_colour_can_be_chosen():
    data = load(*SPLIT, image_size=(6, 3), colour="rgb")
    assert data.input_shape == (3, 6, 3)
    assert data.test_images.shape == (2, 3, 6, 3)


def test_without_settings_the_batch_size_is_left_open():
    assert len(from_arrays(SPLIT).load().train_labels) == 6
    again = from_arrays(SPLIT, DataSettings(name="given", batch_size=2, mean=0.5))
    np.testing.assert_array_equal(
        again.load().train_images, load(*SPLIT).train_images - np.float32(0.5)
    )


def test_the_fingerprint_of_arrays_is_of_names_types_shapes_and_values():
    before = from_arrays(SPLIT).fingerprint()
    assert from_arrays([array.copy() for array in SPLIT]).fingerprint() == before
    assert from_arrays(SPLIT, DataSettings(name="given", mean=0.5)).fingerprint() == before
    changed = BYTES[:6].copy()
    changed[5, 3, 4] ^= 1
    others = [
        (changed, *SPLIT[1:]),
        (BYTES[:6].view(np.int8), *SPLIT[1:]),
        (BYTES[:6].reshape(6, 5, 4), *SPLIT[1:]),
        (SPLIT[0], SPLIT[3].repeat(3), *SPLIT[2:]),
    ]
    prints = {from_arrays(arrays).fingerprint() for arrays in others}
    assert len(prints) == len(others)
    assert before not in prints


def test_the_fingerprint_of_a_file_is_of_its_bytes_and_not_of_its_place(make_npz, tmp_path):
    path = make_npz(images=BYTES, labels=LABELS)
    before = open_source(DataSettings(name="arrays", path=path)).fingerprint()
    moved = path.rename(tmp_path / "moved.npz")
    settings = DataSettings(name="arrays", path=moved, image_size=3)
    assert open_source(settings).fingerprint() == before
    content = bytearray(moved.read_bytes())
    content[len(content) // 2] ^= 1
    moved.write_bytes(content)
    assert open_source(settings).fingerprint() != before


def test_a_source_can_be_made_of_roles_alone():
    source = ArraySource({"images": BYTES, "labels": LABELS}, notes=["A note."])
    assert source.load().notes[0] == "A note."
    expected = dataset_from_arrays({"images": BYTES, "labels": LABELS}, None, [], "x")
    np.testing.assert_array_equal(source.load().test_images, expected.test_images)


def test_arrays_load_without_torch_sklearn_and_pillow():
    code = (
        "import sys, numpy as np; from bnkit.lab.data import from_arrays;"
        "from_arrays((np.eye(6, dtype='f4'), [0, 1] * 3)).load();"
        "print([name for name in ('torch', 'sklearn', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
