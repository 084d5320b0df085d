from __future__ import annotations

import numpy as np
import pytest

from bnkit.errors import DataError
from bnkit.lab.data.class_labels import encode_labels, listed, sorted_names


def encode(train, test=None, class_names=None):
    parts = {"train_labels": np.asarray(train)}
    if test is not None:
        parts["test_labels"] = np.asarray(test)
    names = None if class_names is None else np.asarray(class_names)
    return encode_labels(parts, names, "data.npz")


@pytest.mark.parametrize(
    "given",
    [
        [0, 1, 2, 1],
        [0.0, 1.0, 2.0, 1.0],
        [[0], [1], [2], [1]],
        np.array([0, 1, 2, 1], dtype=np.uint8),
        np.array([0, 1, 2, 1], dtype=">i2"),
        ["a", "b", "c", "b"],
        ["9", "10", "11", "10"],
    ],
)
def test_every_usual_form_becomes_int64_from_0(given):
    (labels,), names = encode(given)
    assert labels.dtype == np.int64
    assert labels.dtype.isnative
    np.testing.assert_array_equal(labels, [0, 1, 2, 1])
    assert len(names) == 3


def test_booleans_are_two_classes():
    (labels,), names = encode([False, True, True])
    np.testing.assert_array_equal(labels, [0, 1, 1])
    assert names == ("0", "1")


def test_strings_become_their_index_among_the_training_classes():
    (train, test), names = encode(["dog", "cat", "dog"], ["cat", "cat"])
    assert names == ("cat", "dog")
    np.testing.assert_array_equal(train, [1, 0, 1])
    np.testing.assert_array_equal(test, [0, 0])


def test_class_names_give_the_order_of_strings():
    (train,), names = encode(["dog", "cat"], class_names=["dog", "cat"])
    assert names == ("dog", "cat")
    np.testing.assert_array_equal(train, [0, 1])


def test_class_names_name_numbers():
    _, names = encode([0, 1], class_names=["cat", "dog"])
    assert names == ("cat", "dog")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([[1, 0], [0, 1]],), r"shape \(2, 2\), as one-hot.*Use train_labels.argmax\(axis=1\)"),
        (([[[1]], [[0]]],), r"shape \(2, 1, 1\); one label per example"),
        ((3,), r"shape \(\)"),
        (([0.0, 0.5, 1.5],), "holds 0.5 at index 1, and 1 more"),
        (([0.0, np.nan],), r"holds nan at index 1; whole"),
        (([0.0, np.inf],), "holds inf at index 1"),
        (([0.0, 1e300],), "holds 1e[+]300 at index 1"),
        (([0j, 1j],), "dtype complex128; whole numbers 0 … K−1, or strings"),
        (([0, -1, 1, -1],), "runs from -1 to 1; 2 out of range, the first is -1 at index 1"),
        (([1, 2, 3],), "runs from 1 to 3 and has no example of class 0; .*train_labels - 1"),
        (([0, 2],), "no example of class 1; a training example of each of the 3.*Number them"),
        (([0, 10**9],), "no example of class 1, 2, 3, 4, 5 and others"),
        (([5, 5],), "runs from 5 to 5 and has no example of class 0, 1, 2, 3, 4; "),
        (([0, 1], [0, 2]), "test_labels runs from 0 to 2; 1 out of.*first is 2 at index 1.*0 to 1"),
        (([0, 1], [1, 2]), "test_labels runs from 1 to 2.*count from 1: use test_labels - 1"),
        (([0, 1, 2], None, ["a", "b"]), "labels from 0 to 1, the classes of class_names"),
        (([0, 1], None, ["a", "b", "c"]), "no example of class 'c'; .*out of class_names"),
        (([0, 1], None, ["a", "a"]), "class_names holds 'a' 2 times"),
        (([0, 1], None, [0, 1]), r"class_names has shape \(2,\) and dtype int64; one string"),
        (([0, 1], None, "ab"), r"class_names has shape \(\)"),
        ((["a", "b"], [0, 1]), "one holds strings and the other numbers"),
        ((["a", "b"], ["a", "c"]), "test_labels holds labels that train_labels does not: 'c'"),
        ((["a", "x"], None, ["a", "b"]), "that class_names does not: 'x'; labels among 'a', 'b'"),
        ((["a", "a"], None, ["a", "b"]), "train_labels has no example of class 'b'"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(arguments, message):
    with pytest.raises(DataError, match=f"^data.npz: .*{message}"):
        encode(*arguments)


def test_names_are_sorted_by_value_if_all_are_whole_numbers():
    assert sorted_names(["10", "9", "9"]) == ["9", "10"]
    assert sorted_names(["10", "9", "x"]) == ["10", "9", "x"]


def test_long_lists_are_cut():
    assert listed("abc", 3) == "a, b, c"
    assert listed("abcde", 3) == "a, b, c and 2 more"
