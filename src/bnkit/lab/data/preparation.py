"""What is done to images after they were read: colour, size, normalization; and the last checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.memory import check_fits
from bnkit.lab.data.reduction import reduced
from bnkit.lab.data.scaling import scaled
from bnkit.lab.data.settings import DataSettings

Images = NDArray[np.float32]

# ITU-R BT.601 luma, the weights that Pillow's conversion to grey uses.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def fit_images(images: Images, settings: DataSettings, where: str) -> Images:
    """Return image arrays in the colour and size that the settings ask for.

    Args:
        images: (N, C, H, W), or (N, D) features, which have neither colour nor size.
        settings: `colour` and `image_size` are used; None leaves the images as they are.
        where: what messages begin with.

    Raises:
        DataError: features were asked for in a colour or size, or the channels are neither one
            (grey) nor three (red, green, blue).
    """
    if settings.colour is None and settings.image_size is None:
        return images
    if images.ndim != 4:
        raise DataError(
            f"data.{'image_size' if settings.image_size else 'colour'} is given and the examples "
            f"have shape {images.shape[1:]}",
            required="images of shape (N, H, W), (N, C, H, W) or (N, H, W, C)",
            remedy="Leave it out, or reshape the examples to images",
            where=where,
        )
    if settings.colour is not None:
        images = _recoloured(images, settings.colour, where)
    if settings.image_size is not None:
        images = _resized(images, settings.image_size)
    return images


def _recoloured(images: Images, colour: str, where: str) -> Images:
    channels = images.shape[1]
    if channels not in (1, 3):
        raise DataError(
            f'data.colour = "{colour}" is given and the images have {channels} channels',
            required="one channel (grey) or three (red, green, blue)",
            remedy="Leave data.colour out, or convert the arrays yourself",
            where=where,
        )
    if channels == (1 if colour == "grey" else 3):
        return images
    if colour == "grey":
        grey: Images = np.einsum("nchw,c->nhw", images, _LUMA)[:, None]
        return grey
    return np.repeat(images, 3, axis=1)


def _resized(images: Images, size: tuple[int, int]) -> Images:
    from PIL import Image

    height, width = size
    if images.shape[2:] == (height, width):
        return images
    planes = np.ascontiguousarray(images).reshape(-1, *images.shape[2:])
    check_fits(len(planes), height * width, "arrays")
    result = np.empty((len(planes), height, width), dtype=np.float32)
    for index, plane in enumerate(planes):
        # Pillow widens the filter by the reduction, so that fine patterns do not alias.
        resized = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
        result[index] = np.asarray(resized)
    return result.reshape(*images.shape[:2], height, width)


def finish(dataset: Dataset, settings: DataSettings | None, where: str) -> Dataset:
    """Return the data set reduced and normalized, after the last checks.

    Args:
        dataset: images in their final colour and size.
        settings: `train_examples`, `test_examples`, `mean`, `std`, `scaling` and `batch_size` are
            used; None leaves the images as they are.
        where: what messages begin with.

    Raises:
        DataError: mean or std do not fit the channels, or the data are fewer than asked for or
            than a batch.
    """
    if settings is None:
        return dataset
    dataset = reduced(dataset, settings, where)
    check_batch_size(dataset, settings)
    if settings.mean is None and settings.std is None:
        return scaled(dataset, settings)
    return replace(
        dataset,
        train_images=_normalized(dataset.train_images, settings, where),
        test_images=_normalized(dataset.test_images, settings, where),
    )


def check_batch_size(dataset: Dataset, settings: DataSettings) -> None:
    """Raise `DataError` if a batch is larger than the training split."""
    examples = len(dataset.train_labels)
    if settings.batch_size > examples:
        raise DataError(
            f"data.batch_size = {settings.batch_size}, and there are {examples} training examples",
            required="a batch no larger than the training split",
            remedy=f"Set data.batch_size to {examples} or less",
        )


def _normalized(images: Images, settings: DataSettings, where: str) -> Images:
    """Return (images − mean) / std."""
    mean = _per_channel("mean", settings.mean or (0.0,), images, where)
    std = _per_channel("std", settings.std or (1.0,), images, where)
    with np.errstate(all="ignore"):  # what overflows is refused below
        normalized: Images = (images - mean) / std
    if not np.isfinite(normalized).all():
        raise DataError(
            f"data.mean = {settings.mean} and data.std = {settings.std} make values that float32 "
            "cannot hold",
            required="finite values after (x − mean) / std",
            remedy="Give a larger std",
            where=where,
        )
    return normalized


def _per_channel(key: str, values: tuple[float, ...], images: Images, where: str) -> Images:
    channels = images.shape[1]
    if len(values) not in (1, channels):
        what = "channel" if images.ndim == 4 else "feature"
        raise DataError(
            f"data.{key} has {len(values)} values, and the examples have {channels} "
            f"{what}{'' if channels == 1 else 's'}",
            required=f"one number, or one per {what}",
            where=where,
        )
    with np.errstate(over="ignore"):  # an infinite mean is refused with what it does
        array = np.asarray(values, dtype=np.float32)
    return array.reshape(1, -1, *[1] * (images.ndim - 2))
