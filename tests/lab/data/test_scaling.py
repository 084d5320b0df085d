from __future__ import annotations

import numpy as np
import pytest

from bnkit.lab.data import Dataset, DataSettings, from_arrays, open_source


def load(arrays, scaling) -> Dataset:
    return from_arrays(arrays, DataSettings(name="given", batch_size=2, scaling=scaling)).load()


FEATURES = (
    np.array([[0.0, 1000, 5], [2, 3000, 5]]),
    np.array([0, 1]),
    np.array([[1.0, 5000, 7]]),
    np.array([0]),
)


def test_standardise_takes_mean_and_deviation_of_the_training_examples():
    data = load(FEATURES, "standardise")
    np.testing.assert_array_equal(data.train_images, [[-1, -1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(data.test_images, [[0, 3, 2]])
    assert data.notes[-1] == "Each feature was scaled by the training examples: standardise."


def test_mean_normalise_divides_by_the_range():
    data = load(FEATURES, "mean-normalise")
    np.testing.assert_array_equal(data.train_images, [[-0.5, -0.5, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(data.test_images, [[0, 1.5, 2]])


def test_images_are_scaled_per_channel():
    generator = np.random.default_rng(0)
    images = generator.normal([[[[3]], [[100]]]], [[[[1]], [[20]]]], (20, 2, 5, 5))
    labels = np.arange(20) % 2
    data = load((images, labels, images[:4], labels[:4]), "standardise")
    assert data.train_images.dtype == np.float32
    np.testing.assert_allclose(data.train_images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train_images.std(axis=(0, 2, 3)), 1, atol=1e-5)
    np.testing.assert_array_equal(data.test_images, data.train_images[:4])


def test_it_brings_a_table_to_one_scale():
    settings = DataSettings(name="breast-cancer", scaling="standardise")
    spread = open_source(settings).load().train_images.std(axis=0)
    np.testing.assert_allclose(spread, 1, atol=1e-4)


@pytest.mark.parametrize("key", ["mean", "std"])
def test_scaling_and_given_numbers_exclude_each_other(key):
    with pytest.raises(ValueError, match=rf'data.scaling = "standardise" and data.{key} are both'):
        DataSettings(name="wine", scaling="standardise", **{key: 0.5})
    with pytest.raises(ValueError, match="'standardise' or 'mean-normalise'"):
        DataSettings(name="wine", scaling="minmax")
