from __future__ import annotations

import gzip
import time

import numpy as np
import pytest

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, open_source
from helpers.stored_files import (
    digit_labels,
    idx_bytes,
    mnist_arrays,
    pixels,
    real_data,
    write_mnist,
)


def source(folder, **changes):
    return open_source(DataSettings(name="mnist", batch_size=4, **changes), folder)


def load(folder, **changes) -> Dataset:
    return source(folder, **changes).load()


def test_images_and_labels_are_those_of_the_files(tmp_path):
    data, files = load(write_mnist(tmp_path)), [*mnist_arrays().values()]
    for images, labels, part in (
        (data.train_images, data.train_labels, files[:2]),
        (data.test_images, data.test_labels, files[2:]),
    ):
        np.testing.assert_array_equal(images[:, 0], part[0].astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(labels, part[1])
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
    assert data.input_shape == (1, 28, 28)
    assert data.class_names == tuple("0123456789")


def test_small_and_other_content_is_noted(tmp_path):
    notes = load(write_mnist(tmp_path)).notes
    assert "not those of the official MNIST: train-images-idx3-ubyte, train-labels" in notes[0]
    assert notes[1] == "A part of MNIST: 40 + 20 of 60000 + 10000 images."


@pytest.mark.parametrize("below", ["", "a", "a/b/c", "MNIST/raw"])
def test_files_are_found_up_to_three_folders_deep(tmp_path, below):
    write_mnist(tmp_path / below)
    assert len(load(tmp_path).train_labels) == 40


def test_place_and_compression_do_not_change_the_fingerprint_and_content_does(tmp_path):
    packed = source(write_mnist(tmp_path / "packed")).fingerprint()
    plain = source(write_mnist(tmp_path / "plain", compress=False)).fingerprint()
    changed = pixels(40, 28, 28)
    changed[7, 7, 7] ^= 1
    other = source(write_mnist(tmp_path / "other", train_images=idx_bytes(changed)))
    assert packed == plain != other.fingerprint()


def test_other_spellings_of_the_names_are_found(tmp_path):
    for path in write_mnist(tmp_path, compress=False).iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load(tmp_path).test_labels) == 20


def test_a_complete_copy_goes_before_a_nearer_incomplete_one(tmp_path):
    write_mnist(tmp_path / "near")
    (tmp_path / "near" / "t10k-labels-idx1-ubyte.gz").unlink()
    write_mnist(tmp_path / "a" / "far")
    assert len(load(tmp_path).test_labels) == 20


def test_sets_that_use_the_same_file_names_are_not_taken_for_mnist(tmp_path):
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(DataError, match="data mnist: is not in"):
        load(tmp_path)


def test_absent_files_give_one_message_that_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for words in (
        *("train-images-idx3-ubyte", str(tmp_path), "3 folders deep", "--data-dir"),
        *("BNKIT_DATA_DIR", "bnkit data fetch mnist", "bnkit study run digits"),
    ):
        assert words in message


def test_a_missing_file_is_named(tmp_path):
    (write_mnist(tmp_path) / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"has no train-labels-idx1-ubyte; .*bnkit data fetch"):
        load(tmp_path)


IMAGES = mnist_arrays()["train-images-idx3-ubyte"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": idx_bytes(IMAGES)[:-1]}, r"holds 31375 bytes; 31376 bytes.*40 × 28 × 28"),
        ({"train_images": idx_bytes(IMAGES) + b"!"}, r"holds 31377 bytes; 31376 bytes"),
        ({"train_images": idx_bytes(IMAGES)[:9]}, r"holds 9 bytes; a header of 16 bytes"),
        ({"train_images": idx_bytes(IMAGES[0])}, r"magic number 2050; the magic number 2051"),
        ({"train_images": b""}, r"magic number 0; the magic number 2051"),
        ({"train_images": b"\xff" * 16 * 2}, r"magic number 4294967295"),
        ({"train_images": idx_bytes(pixels(40, 27, 28))}, r"images of 27×28 pixels; 28×28"),
        ({"test_labels": idx_bytes(digit_labels(19))}, r"t10k-images.*20 images.*19 labels; one"),
        (
            {"test_labels": idx_bytes(digit_labels(20) + np.uint8(1))},
            r"t10k-labels.*: 2 labels out of range, the first is 10 at index 6; .*from 0 to 9",
        ),
    ],
)
def test_damaged_content_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(write_mnist(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(idx_bytes(IMAGES), mtime=0)[:-900],
            "is cut off: the end of its compressed content",
        ),
        (
            gzip.compress(idx_bytes(IMAGES), mtime=0)[:-8] + b"12345678",
            r"is damaged \(CRC check failed",
        ),
        (b"", "is empty, 0 bytes"),
        (b"\n<!DOCTYPE html><title>403</title>", "is a web page, as servers send"),
        (b"plain", "begins with 70 6c 61 69, which is not gzip"),
    ],
)
def test_a_damaged_gzip_file_is_refused_and_named(tmp_path, content, message):
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte.gz: {message}"):
        load(tmp_path)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bnkit.lab.data.idx._MOST_BYTES", 2**20)
    write_mnist(tmp_path, train_images=bytes(2**20 + 1))
    with pytest.raises(DataError, match="holds more than 1 MiB once decompressed"):
        load(tmp_path)


def test_settings_of_the_data_table_apply(tmp_path):
    changes = {"image_size": 12, "colour": "rgb", "mean": 0.5, "std": 0.5, "train_examples": 20}
    data = load(write_mnist(tmp_path), **changes)
    assert data.train_images.shape == (20, 3, 12, 12)
    assert data.train_images.min() < 0


def test_split_settings_are_noted_as_not_used(tmp_path):
    assert any(
        "test_share not used" in note for note in load(write_mnist(tmp_path), test_share=0.5).notes
    )


def test_a_path_is_refused_with_the_way_to_name_the_folder():
    with pytest.raises(ValueError, match=r"lies in the data folder \(--data-dir"):
        DataSettings(name="mnist", path="x")


def test_the_real_files_are_the_official_ones_and_load_in_a_second():
    folder = real_data("mnist")
    start = time.process_time()
    opened = source(folder)
    opened.fingerprint()
    data = opened.load()
    assert time.process_time() - start < 2, "fingerprint and load; about 0.5 s"
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert list(data.train_labels[:5]) == [5, 0, 4, 1, 9]
    assert list(data.test_labels[:5]) == [7, 2, 1, 0, 4]
    assert np.bincount(data.train_labels)[:3].tolist() == [5923, 6742, 5958]
    assert abs(float(data.train_images[:, :, ::2].mean(dtype=np.float64)) - 0.1307) < 0.01
    assert data.notes == (), "official contents"


def test_the_bytes_are_not_kept_beside_the_floats(tmp_path):
    opened = source(write_mnist(tmp_path))
    before = opened.fingerprint()
    first = opened.load()
    assert "_read" not in vars(opened)
    assert opened.fingerprint() == before
    np.testing.assert_array_equal(opened.load().train_images, first.train_images)
