from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets

from bnkit.lab.data import Dataset, DataSettings, open_source


def load(name: str, **changes) -> Dataset:
    return open_source(DataSettings(name=name, **changes)).load()


@pytest.mark.parametrize(
    ("name", "examples", "features", "classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast-cancer", 569, 30, 2)],
)
def test_tables_are_scikit_learns_as_they_are(name, examples, features, classes):
    data = load(name)
    assert data.input_shape == (features,)
    assert data.classes == classes
    assert len(data.train_labels) + len(data.test_labels) == examples
    bunch = getattr(datasets, f"load_{name.replace('-', '_')}")()
    ours = np.concatenate([data.train_images, data.test_images])
    theirs = bunch.data.astype(np.float32)
    np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
    assert data.class_names == tuple(bunch.target_names)


def test_features_differ_in_scale_by_orders_of_magnitude():
    spread = load("breast-cancer").train_images.std(axis=0)
    assert spread.max() / spread.min() > 1e4


def test_mean_and_std_may_be_given_per_feature():
    raw = load("wine").train_images
    mean, std = raw.mean(axis=0).tolist(), raw.std(axis=0).tolist()
    scaled = load("wine", mean=mean, std=std).train_images
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_fingerprints_differ_by_table_and_not_by_settings():
    def hashed(name, **changes):
        return open_source(DataSettings(name=name, **changes)).fingerprint()

    assert hashed("iris") == hashed("iris", split_seed=1) != hashed("wine")
