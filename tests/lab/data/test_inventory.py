from __future__ import annotations

import hashlib

import pytest

from bnkit.errors import DataError
from bnkit.lab.data.inventory import EMBEDDED_SETS, FileCheck, inventory, verify
from bnkit.lab.data.names import SOURCES
from bnkit.lab.data.stored_sets import STORED_SETS
from helpers.stored_files import (
    binary_batch,
    cifar_batches,
    digit_images,
    python_batch,
    real_data,
    write_files,
    write_mnist,
)


def states(checks: list[FileCheck]) -> list[str]:
    return [check.state for check in checks]


def test_it_lists_every_set_that_a_study_can_name():
    assert {*EMBEDDED_SETS, *STORED_SETS, "folder", "arrays"} == {*SOURCES}
    for name, entry in SOURCES.items():
        assert entry.is_stored == (name in STORED_SETS)


def test_found_incomplete_and_absent_sets(tmp_path):
    write_mnist(tmp_path / "x")
    write_files(tmp_path, {"y/data_batch_1": b"", "y/test_batch": b""})
    entries = {entry.name: entry for entry in inventory(tmp_path)}
    assert entries["mnist"].to_dict() == {
        "name": "mnist",
        "what": "handwritten digits, 60,000 + 10,000 grey images of 28×28",
        "size": "12 MB",
        "state": "found",
        "place": str(tmp_path / "x"),
        "missing": [],
    }
    assert entries["cifar-10"].state == "incomplete"
    assert entries["cifar-10"].missing == tuple(f"data_batch_{n}" for n in (2, 3, 4, 5))
    assert (entries["hindi-digits"].state, entries["hindi-digits"].place) == ("absent", "")
    assert entries["wine"].state == "embedded"


def test_verify_tells_official_from_other_content(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    checks = verify("mnist", tmp_path)
    assert states(checks) == ["differs"] * 4
    assert checks[0].file == str(tmp_path / "train-images-idx3-ubyte.gz")
    assert "content is not the official one" in checks[0].message


def test_verify_knows_the_checksums_of_python_batches_and_none_of_binary_ones(
    tmp_path, monkeypatch
):
    batches = cifar_batches("data_batch_1", "test_batch")
    python = {name: python_batch(*batch) for name, batch in batches.items()}
    write_files(tmp_path / "python", python)
    official = {"data_batch_1": hashlib.md5(python["data_batch_1"]).hexdigest(), "test_batch": ""}
    monkeypatch.setattr("bnkit.lab.data.cifar_10._OFFICIAL_MD5", official)
    assert states(verify("cifar-10", tmp_path / "python")) == ["official", "differs"]
    binary = {f"{name}.bin": binary_batch(*batch) for name, batch in batches.items()}
    write_files(tmp_path / "binary", binary)
    assert states(verify("cifar-10", tmp_path / "binary")) == ["no checksum known"] * 2


def test_verify_reads_every_image(tmp_path):
    write_files(tmp_path, digit_images())
    (check,) = verify("hindi-digits", tmp_path)
    assert (check.state, check.message) == (
        "no checksum known",
        "30 + 20 images, all of them whole",
    )
    write_files(tmp_path, {"Test/digit_9/1.png": b"x"})
    (check,) = verify("hindi-digits", tmp_path)
    assert check.state == "damaged"
    assert check.file.endswith("digit_9/1.png")


def test_damage_is_one_line_and_does_not_stop_the_other_sets(tmp_path):
    write_mnist(tmp_path, train_labels=b"xxxx")
    write_files(tmp_path, {"data_batch_1.bin": b"x"})
    mnist, cifar = verify(None, tmp_path)
    assert (mnist.state, cifar.state) == ("damaged", "damaged")
    assert mnist.file == str(tmp_path / "train-labels-idx1-ubyte.gz")
    assert mnist.message.startswith("begins with the magic number 2021161080; the magic number")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert verify("mnist", tmp_path)[0].message == "has no train-labels-idx1-ubyte"


def test_verify_of_what_is_not_there(tmp_path):
    assert verify(None, tmp_path) == []
    assert states(verify("wine", tmp_path)) == ["embedded"]
    with pytest.raises(DataError, match="data mnist: is not in"):
        verify("mnist", tmp_path)
    with pytest.raises(DataError, match="there is no data set 'mnits'"):
        verify("mnits", tmp_path)


def test_the_real_mnist_is_official():
    assert states(verify("mnist", real_data("mnist"))) == ["official"] * 4
