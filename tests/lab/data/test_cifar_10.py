from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, open_source
from helpers.stored_files import (
    binary_batch,
    cifar_batches,
    digit_labels,
    pixels,
    python_batch,
    real_data,
    tar_gz,
    write_files,
)

BATCHES = cifar_batches("data_batch_1", "data_batch_2", "test_batch")
BINARY = {f"cifar-10-batches-bin/{k}.bin": binary_batch(*batch) for k, batch in BATCHES.items()}
PYTHON = {f"cifar-10-batches-py/{k}": python_batch(*batch) for k, batch in BATCHES.items()}
FORMS = {
    "binary": BINARY,
    "python": PYTHON,
    "packed binary": {"cifar-10-binary.tar.gz": tar_gz(BINARY)},
    "packed python": {"sets/cifar-10-python.tar.gz": tar_gz(PYTHON)},
}


def source(folder, **changes):
    return open_source(DataSettings(name="cifar-10", batch_size=4, **changes), folder)


def load(folder, **changes) -> Dataset:
    return source(folder, **changes).load()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(tmp_path, form):
    data = load(write_files(tmp_path, FORMS[form]))
    images = np.concatenate([BATCHES["data_batch_1"][0], BATCHES["data_batch_2"][0]])
    np.testing.assert_array_equal(data.train_images, images.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.train_labels, np.tile(digit_labels(30), 2))
    np.testing.assert_array_equal(data.test_labels, digit_labels(30))
    assert data.input_shape == (3, 32, 32)
    assert data.class_names[:2] == ("airplane", "automobile")
    assert data.notes[0] == (
        "A part of CIFAR-10: 2 of 5 training batches and the test batch, 90 images of 60000."
    )


def test_the_fingerprint_is_the_same_in_every_form(tmp_path):
    found = {
        source(write_files(tmp_path / form, files)).fingerprint() for form, files in FORMS.items()
    }
    assert len(found) == 1
    changed = {
        **BINARY,
        "cifar-10-batches-bin/test_batch.bin": binary_batch(*BATCHES["data_batch_1"]),
    }
    assert source(write_files(tmp_path / "changed", changed)).fingerprint() not in found


def test_python_3_pickles_with_text_keys_are_read(tmp_path):
    images, labels = BATCHES["test_batch"]
    batch = {"data": np.asfortranarray(images.reshape(30, -1)), "labels": np.asarray(labels, ">i4")}
    files = {
        "data_batch_1": pickle.dumps(batch, 2),
        "test_batch": PYTHON["cifar-10-batches-py/test_batch"],
    }
    data = load(write_files(tmp_path, files))
    np.testing.assert_array_equal(data.train_images, data.test_images)
    np.testing.assert_array_equal(data.train_labels, data.test_labels)


def test_other_python_batches_are_noted_and_official_ones_not(tmp_path, monkeypatch):
    write_files(tmp_path, PYTHON)
    assert (
        "not those of CIFAR-10: data_batch_1, data_batch_2, test_batch" in load(tmp_path).notes[1]
    )
    official = {Path(k).name: hashlib.md5(content).hexdigest() for k, content in PYTHON.items()}
    monkeypatch.setattr("bnkit.lab.data.cifar_10._OFFICIAL_MD5", official)
    assert len(load(tmp_path).notes) == 1


def test_without_a_test_batch_a_split_is_drawn(tmp_path):
    del (files := dict(BINARY))["cifar-10-batches-bin/test_batch.bin"]
    data = load(write_files(tmp_path, files))
    assert (len(data.train_labels), len(data.test_labels)) == (50, 10)
    assert "no test batch, 60 images" in data.notes[0]
    assert "no test split of its own" in data.notes[1]


def test_an_archive_goes_before_a_part_of_it(tmp_path):
    write_files(tmp_path, FORMS["packed python"])
    write_files(tmp_path, {"data_batch_1.bin": b"damaged", "test_batch.bin": b"damaged"})
    assert len(load(tmp_path).train_labels) == 60


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "data_batch_1.bin",
            binary_batch(*BATCHES["test_batch"])[:-5],
            r"92185 bytes, 3068 more than 29",
        ),
        ("data_batch_1.bin", b"", r"data_batch_1.bin: is empty"),
        (
            "data_batch_1.bin",
            binary_batch(pixels(10, 3, 32, 32), np.arange(10, dtype=np.uint8) + np.uint8(1)),
            r"1 labels out of range, the first is 10 at index 9; labels from 0 to 9",
        ),
        (
            "data_batch_1",
            PYTHON["cifar-10-batches-py/test_batch"][:-700],
            r"cannot be read as a pickled",
        ),
        ("data_batch_1", b"", r"data_batch_1: is empty"),
        ("data_batch_1", b"<html>not found</html>", r"is a web page"),
        ("data_batch_1", pickle.dumps([1, 2]), r"has no data; a dictionary with data and labels"),
        ("data_batch_1", pickle.dumps({"data": 3, "labels": [1]}), r"its data have .*int"),
        (
            "data_batch_1",
            python_batch(*BATCHES["test_batch"], labels=[1, 2, 3]),
            r"holds 30 images, and labels of shape \(3,\)",
        ),
        (
            "data_batch_1",
            python_batch(*BATCHES["test_batch"], labels=[[1], [2, 3]]),
            r"labels are no list of numbers",
        ),
    ],
)
def test_damaged_batches_are_refused(tmp_path, name, content, message):
    write_files(tmp_path, {name: content})
    with pytest.raises(DataError, match=message):
        load(tmp_path)


class Runs:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    "trap", [Runs(print, "ran"), Runs(eval, "print('ran')"), Runs(np.load, "x"), Runs(Path, "x")]
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path, capsys, trap, protocol):
    content = pickle.dumps({"data": trap, "labels": []}, protocol)
    write_files(tmp_path, {"data_batch_1": content})
    with pytest.raises(DataError, match=r"names .*, which is no part of a batch and could run"):
        load(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "array", [np.array([print]), np.zeros(3), np.array(["a"]), np.zeros(2, "u1,i4")]
)
def test_arrays_of_anything_but_whole_numbers_are_refused(tmp_path, array):
    write_files(tmp_path, {"data_batch_1": pickle.dumps({"data": array, "labels": []}, 2)})
    with pytest.raises(DataError, match=r"cannot be read as a pickled batch|names builtins"):
        load(tmp_path)


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_gz(PYTHON)[:-3000], "is cut off"),
        (tar_gz(PYTHON)[:40] + b"x" * 99, "is no whole tar archive .*decompressing"),
        (tar_gz(PYTHON)[:-8] + b"12345678", r"is damaged \(CRC check failed"),
        (gzip.compress(b"no tar at all" * 99, mtime=0), "is no whole tar archive"),
        (b"<html>", "is a web page"),
        (b"", "is empty"),
        (tar_gz({"readme.html": b"x"}), "holds no batch file; members data_batch_1"),
        (tar_gz({"a/test_batch": link("a/test_batch")}), "test_batch is a link or a device"),
        (tar_gz({"../test_batch": b"x"}), "lies outside the archive's own folder"),
        (tar_gz({"/test_batch": b"x"}), "lies outside the archive's own folder"),
        (tar_gz({"a/test_batch": bytes(65 * 2**20)}), "has 65 MiB; 64 MiB"),
    ],
)
def test_archives_that_cannot_be_right_are_refused(tmp_path, content, message):
    write_files(tmp_path, {"cifar-10-python.tar.gz": content})
    with pytest.raises(DataError, match=message):
        load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def test_a_damaged_member_is_named_with_its_archive(tmp_path):
    files = {**BINARY, "cifar-10-batches-bin/test_batch.bin": b"12345"}
    write_files(tmp_path, {"cifar-10-binary.tar.gz": tar_gz(files)})
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz/test_batch.bin: holds 5 bytes"):
        load(tmp_path)


def test_the_real_files_are_counted_and_balanced():
    data = load(real_data("cifar-10"))
    for labels in (data.train_labels, data.test_labels):
        assert len(set(np.bincount(labels, minlength=10))) == 1
    assert len(data.train_labels) >= 10_000
    assert 0.4 < data.train_images.mean() < 0.55
    if len(data.train_labels) == 10_000:
        assert "1 of 5 training batches and the test batch, 12000 images" in data.notes[0]


def test_an_array_that_claims_memory_it_does_not_bring_is_refused(tmp_path):
    array = np.zeros((2, 3072), np.uint8)
    content = pickle.dumps({"data": array, "labels": [0, 1]}, 2)
    claimed = content.replace(b"K\x02M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86")
    assert claimed != content
    write_files(tmp_path, {"data_batch_1": claimed})
    with pytest.raises(DataError, match=r"cannot be read as a pickled batch .*cannot reshape"):
        load(tmp_path)
