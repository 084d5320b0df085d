from __future__ import annotations

import numpy as np
import pytest

from bnkit.errors import DataError
from bnkit.lab.data import DataSettings, from_arrays, open_source
from bnkit.lab.data.reduction import reduced_indices

LABELS = np.repeat([0, 1, 2], [60, 30, 10]).astype(np.int64)
NAMES = ("a", "b", "c")


def kept(count: int, labels=LABELS, seed: int = 0, part: str = "train"):
    settings = DataSettings(name="digits", split_seed=seed, **{f"{part}_examples": count})
    return reduced_indices(part, labels, NAMES, settings, "here")


@pytest.mark.parametrize("count", range(3, 100))
def test_every_class_keeps_its_share(count):
    indices = kept(count).indices
    assert len(indices) == count
    assert (np.diff(indices) > 0).all()
    shares = np.bincount(LABELS[indices], minlength=3)
    assert (shares >= 1).all()
    exact = np.array([60, 30, 10]) * count / 100
    assert (np.abs(shares - exact) < 1 + (count < 10)).all()


def test_the_draw_follows_the_seed_and_not_the_number():
    assert np.array_equal(kept(50).indices, kept(50).indices)
    assert not np.array_equal(kept(50).indices, kept(50, seed=1).indices)
    assert set(kept(10).indices) < set(kept(50).indices)


def test_what_was_taken_is_noted():
    assert kept(50, part="test").note == (
        "Of 100 test examples 50 were taken, each class in proportion, drawn with split_seed 0."
    )
    assert kept(100) is None


def test_classes_without_examples_get_none():
    labels = np.repeat([0, 2], [5, 5]).astype(np.int64)
    assert np.bincount(labels[kept(4, labels).indices]).tolist() == [2, 0, 2]


@pytest.mark.parametrize("count", [2, 101])
def test_more_than_there_are_and_fewer_than_classes_are_refused(count):
    message = (
        f"train_examples = {count}, and there are 100 training .*from 3, one per class, to 100"
    )
    with pytest.raises(DataError, match=message):
        kept(count)


def test_it_applies_to_every_source():
    data = open_source(DataSettings(name="digits", train_examples=100, test_examples=50)).load()
    assert (len(data.train_labels), len(data.test_labels)) == (100, 50)
    assert data.notes[1].startswith("Of 1438 training examples 100 were taken")
    settings = DataSettings(name="given", train_examples=20, batch_size=20)
    arrays = (np.zeros((80, 3)), np.arange(80) % 2, np.zeros((8, 3)), np.arange(8) % 2)
    assert len(from_arrays(arrays, settings).load().train_labels) == 20


def test_the_split_seed_then_counts_as_used_where_the_data_has_a_split():
    arrays = (np.zeros((80, 3)), np.arange(80) % 2, np.zeros((8, 3)), np.arange(8) % 2)
    used = DataSettings(name="given", train_examples=40, split_seed=3)
    assert not any("not used" in note for note in from_arrays(arrays, used).load().notes)


def test_a_batch_larger_than_what_is_left_is_refused():
    with pytest.raises(DataError, match="batch_size = 32, and there are 20 training"):
        open_source(DataSettings(name="digits", train_examples=20)).load()
