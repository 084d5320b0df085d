from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, open_source


def load(**changes) -> Dataset:
    return open_source(DataSettings(name="digits", **changes)).load()


def test_the_digits_are_scikit_learns_divided_by_16():
    data = load()
    bunch = load_digits()
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    ours = sorted(
        (int(label), image.tobytes()) for label, image in zip(labels, images, strict=True)
    )
    theirs = sorted(
        (int(label), (image / 16).astype(np.float32).tobytes())
        for label, image in zip(bunch.target, bunch.images, strict=True)
    )
    assert ours == theirs


def test_shapes_types_and_names():
    data = load()
    assert data.input_shape == (1, 8, 8)
    assert data.classes == 10
    assert data.class_names == tuple("0123456789")
    assert data.train_images.dtype == data.test_images.dtype == np.float32
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert (data.train_images.min(), data.train_images.max()) == (0.0, 1.0)
    assert "no test split of its own: 0.2 of each class" in data.notes[0]


def test_every_class_gives_a_fifth_of_its_images_to_the_test_split():
    data = load()
    counts = np.bincount(load_digits().target)
    np.testing.assert_array_equal(np.bincount(data.test_labels), np.round(counts * 0.2))


def test_the_split_follows_share_and_seed():
    assert len(load(test_share=0.5).test_labels) > len(load().test_labels)
    assert not np.array_equal(load(split_seed=1).test_images, load().test_images)


def test_size_and_colour_can_be_chosen():
    assert load(image_size=12, colour="rgb").input_shape == (3, 12, 12)


def test_a_batch_larger_than_the_training_split_is_refused():
    examples = len(load().train_labels)
    load(batch_size=examples)
    with pytest.raises(
        DataError, match=f"batch_size = {examples + 1}.*{examples} training.*or less"
    ):
        load(batch_size=examples + 1)


def test_the_fingerprint_does_not_depend_on_settings():
    prints = {
        open_source(DataSettings(name="digits", **changes)).fingerprint()
        for changes in ({}, {"split_seed": 3}, {"mean": 0.5})
    }
    assert len(prints) == 1
