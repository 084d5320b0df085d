"""A folder of images, one folder per class, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bnkit.errors import DataError
from bnkit.lab.data.array_dataset import untested_note
from bnkit.lab.data.class_labels import Labels
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.folder_layout import FolderLayout, LabelledFile, read_layout
from bnkit.lab.data.hashing import hash_files
from bnkit.lab.data.image_files import DecodedImage, decode, quiet_decoding
from bnkit.lab.data.memory import check_fits
from bnkit.lab.data.preparation import Images, finish
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.splitting import split_note, stratified_split, unused_split_note


class FolderSource:
    """An image folder: `train/<class>/*` and `test/<class>/*`, or `<class>/*` to be split."""

    def __init__(self, settings: DataSettings) -> None:
        assert settings.path is not None, "DataSettings requires a path of name = folder"
        self._settings = settings
        self._path = settings.path

    def fingerprint(self) -> str:
        """Return a hash of the image files' relative paths and bytes."""
        layout = read_layout(self._path)
        files = [*layout.train, *(layout.test or ())]
        return hash_files((layout.relative(file.path), file.path) for file in files)

    def load(self) -> Dataset:
        """Decode and check all images; raise `DataError` for what cannot be used."""
        return decode_layout(read_layout(self._path), self._settings)


def decode_layout(layout: FolderLayout, settings: DataSettings) -> Dataset:
    """Return the images of a layout, decoded, split and prepared as the settings ask.

    Raises:
        DataError: an image cannot be decoded, or the settings do not fit.
    """
    files = [*layout.train, *(layout.test or ())]
    decoder = _Decoder(settings, layout)
    images = decoder.stack(files)
    labels = np.array([file.label for file in files], dtype=np.int64)
    train, test, notes = _split(layout, labels, settings)
    dataset = Dataset(
        images[train],
        labels[train],
        images[test],
        labels[test],
        layout.class_names,
        (*notes, *layout.notes, *decoder.notes(images)),
    )
    return finish(dataset, settings, str(layout.root))


def decode_all(
    root: Path, files: Sequence[Path], settings: DataSettings
) -> tuple[Images, list[str]]:
    """Return image files decoded as the settings ask, and sentences about what was done to them.

    Args:
        root: the folder that messages name files below.
        files: one at least.
        settings: `image_size` and `colour` are used.

    Returns:
        float32 in [0, 1], shape (N, C, H, W).

    Raises:
        DataError: an image cannot be decoded, or sizes differ and no image_size is given.
    """
    unlabelled = tuple(LabelledFile(file, 0) for file in files)
    decoder = _Decoder(settings, FolderLayout(root, (), unlabelled, None, ()))
    images = decoder.stack(unlabelled)
    return images, decoder.notes(images)


def _split(
    layout: FolderLayout, labels: Labels, settings: DataSettings
) -> tuple[Labels | slice, Labels | slice, list[str]]:
    if layout.test is None:
        share, seed = settings.test_share, settings.split_seed
        train, test = stratified_split(labels, layout.class_names, share, seed, str(layout.root))
        return train, test, [split_note(share, seed)]
    # Slices, so that images are not copied once more.
    count = len(layout.train)
    notes = [*unused_split_note(settings), *untested_note(labels[count:], layout.class_names)]
    return slice(0, count), slice(count, None), notes


@dataclass
class _Decoder:
    """Decodes files one after the other and remembers what a reader should know of them."""

    settings: DataSettings
    layout: FolderLayout
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    transparent: int = 0
    with_frames: int = 0

    def stack(self, files: Sequence[LabelledFile]) -> Images:
        """Return all images as float32 in [0, 1], shape (N, C, H, W); C is 1 if all are grey.

        Raises:
            DataError: a file cannot be decoded, or sizes differ and no image_size is given.
        """
        if self.settings.image_size is not None:
            height, width = self.settings.image_size
            check_fits(len(files), height * width, str(self.layout.root))
        decoded = []
        with quiet_decoding(), ThreadPoolExecutor() as pool:
            # Decoding releases the interpreter lock; `map` keeps the order, also of errors.
            tasks = [pool.submit(decode, file.path, self.settings, file.content) for file in files]
            try:
                for file, task in zip(files, tasks, strict=True):
                    image = task.result()
                    self._remember(image)
                    self._check_size(files[0], file, image)
                    decoded.append(image.pixels)
            finally:
                for task in tasks:
                    task.cancel()
        channels = 3 if any(pixels.ndim == 3 for pixels in decoded) else 1
        images = np.empty((len(decoded), channels, *decoded[0].shape[:2]), dtype=np.float32)
        for index, pixels in enumerate(decoded):
            scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
            # A grey image among coloured ones is repeated over the channels.
            planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
            np.divide(planes, scale, out=images[index], dtype=np.float32)
        return images

    def notes(self, images: Images) -> list[str]:
        """Return sentences about what was done to the images."""
        notes = []
        if self.settings.image_size is not None:
            height, width = self.settings.image_size
            resized = sum(n for size, n in self.sizes.items() if size != (height, width))
            stretched = sum(n for (h, w), n in self.sizes.items() if h * width != w * height)
            if resized:
                notes.append(
                    f"Images resized to {height}×{width} pixels: {resized}, of which stretched, as "
                    f"the ratio of their sides differs: {stretched}."
                )
        if self.transparent:
            notes.append(f"Images with transparent pixels, laid on white: {self.transparent}.")
        if self.with_frames:
            notes.append(
                f"Files of several frames, of which the first was taken: {self.with_frames}."
            )
        if images.shape[1] == 3 and self.settings.colour is None and _is_grey(images):
            notes.append(
                'All images are stored in colour and look grey; colour = "grey" gives one channel.'
            )
        return notes

    def _remember(self, image: DecodedImage) -> None:
        self.sizes[image.stored_size] += 1
        self.transparent += image.was_transparent
        self.with_frames += image.has_frames

    def _check_size(self, first: LabelledFile, file: LabelledFile, image: DecodedImage) -> None:
        if self.settings.image_size is not None or len(self.sizes) == 1:
            return
        (height, width), *_ = self.sizes
        other_height, other_width = image.stored_size
        raise DataError(
            f"{self.layout.relative(first.path)} has {height}×{width} pixels (height × width) and "
            f"{self.layout.relative(file.path)} {other_height}×{other_width}",
            required="images of one size",
            remedy=f"Set data.image_size, such as [{height}, {width}], to have them resized",
            where=str(self.layout.root),
        )


def _is_grey(images: Images) -> bool:
    return bool(
        np.array_equal(images[:, 0], images[:, 1]) and np.array_equal(images[:, 1], images[:, 2])
    )
