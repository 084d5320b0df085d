from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, check_batch_size
from bnkit.lab.data.preparation import finish, fit_images

IMAGES = np.random.default_rng(0).random((5, 3, 6, 8), dtype=np.float32)


def settings(**changes) -> DataSettings:
    return DataSettings(name="digits", **{"batch_size": 1, **changes})


def dataset(images=IMAGES) -> Dataset:
    labels = np.arange(len(images), dtype=np.int64)
    names = tuple(map(str, labels))
    return Dataset(images, labels, images[:2], labels[:2], names)


def test_without_settings_images_are_passed_on_as_they_are():
    assert fit_images(IMAGES, settings(), "x") is IMAGES
    assert finish(dataset(), settings(), "x").train_images is IMAGES


def test_arrays_are_resized_as_pillow_resizes_a_file_but_without_rounding():
    resized = fit_images(IMAGES, settings(image_size=(3, 5)), "x")
    assert resized.shape == (5, 3, 3, 5)
    assert resized.dtype == np.float32
    as_bytes = np.round(IMAGES[2, 1] * 255).astype(np.uint8)
    expected = Image.fromarray(as_bytes).resize((5, 3), Image.Resampling.BILINEAR)
    # Pillow rounds twice for bytes, after each axis, and the bytes were rounded before.
    np.testing.assert_allclose(resized[2, 1] * 255, np.asarray(expected), atol=1.5, rtol=0)


def test_resizing_keeps_a_constant_image_constant():
    constant = np.full((1, 1, 7, 7), 0.3, dtype=np.float32)
    resized = fit_images(constant, settings(image_size=3), "x")
    np.testing.assert_allclose(resized, 0.3, rtol=4 * np.finfo(np.float32).eps)


def test_grey_is_the_weighted_sum_of_red_green_and_blue():
    grey = fit_images(IMAGES, settings(colour="grey"), "x")
    red, green, blue = IMAGES.transpose(1, 0, 2, 3).astype(np.float64)
    expected = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    np.testing.assert_allclose(grey, expected, rtol=4 * np.finfo(np.float32).eps)
    assert fit_images(grey, settings(colour="grey"), "x") is grey


def test_rgb_repeats_grey():
    rgb = fit_images(IMAGES[:, :1], settings(colour="rgb"), "x")
    assert rgb.shape == IMAGES.shape
    for channel in range(3):
        np.testing.assert_array_equal(rgb[:, channel], IMAGES[:, 0])


@pytest.mark.parametrize("shape, values", [((5, 3, 6, 8), 3), ((5, 3, 6, 8), 1), ((5, 4), 4)])
def test_mean_and_std_are_those_of_the_channels(shape, values):
    images = np.random.default_rng(1).normal(3, 2, shape).astype(np.float32)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1) if values > 1 else None
    mean, std = images.mean(axes), images.std(axes)
    normalized = finish(
        dataset(images), settings(mean=np.ravel(mean).tolist(), std=np.ravel(std).tolist()), "x"
    ).train_images
    tolerance = 100 * np.finfo(np.float32).eps
    np.testing.assert_allclose(normalized.mean(axes), 0, atol=tolerance)
    np.testing.assert_allclose(normalized.std(axes), 1, rtol=tolerance)
    assert normalized.dtype == np.float32


def test_the_test_split_is_normalized_alike():
    done = finish(dataset(), settings(mean=0.5), "x")
    np.testing.assert_array_equal(done.test_images, IMAGES[:2] - np.float32(0.5))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": [1, 2]}, "data.mean has 2 values, and the examples have 3 channels; one number"),
        ({"std": [1, 2, 3, 4]}, "data.std has 4 values"),
        ({"std": 1e-45}, "values that float32 cannot hold.*larger std"),
        ({"std": 1e-300}, "values that float32 cannot hold"),
        ({"mean": 1e300}, "values that float32 cannot hold"),
        ({"batch_size": 6}, "batch_size = 6, and there are 5 training examples.*to 5 or less"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        finish(dataset(), settings(**changes), "x")


def test_one_feature_is_named_as_such():
    with pytest.raises(DataError, match=r"2 values, and the examples have 1 feature;.*per feature"):
        finish(dataset(IMAGES[:, 0, 0, :1]), settings(mean=[1, 2]), "x")


@pytest.mark.parametrize("key, value", [("image_size", 5), ("colour", "grey")])
def test_features_have_neither_size_nor_colour(key, value):
    with pytest.raises(DataError, match=rf"data.{key} is given and the examples have shape \(8,\)"):
        fit_images(IMAGES[:, 0, 0], settings(**{key: value}), "x")


def test_only_one_or_three_channels_have_a_colour():
    four = np.concatenate([IMAGES, IMAGES[:, :1]], axis=1)
    with pytest.raises(DataError, match='colour = "grey" is given and the images have 4 channels'):
        fit_images(four, settings(colour="grey"), "x")


def test_the_batch_may_be_as_large_as_the_data():
    check_batch_size(dataset(), settings(batch_size=5))
    with pytest.raises(DataError, match="batch_size = 6"):
        check_batch_size(dataset(), settings(batch_size=6))
