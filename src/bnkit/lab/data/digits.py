"""scikit-learn's handwritten digits: 1,797 grey images of 8×8 pixels, ten classes."""

from __future__ import annotations

import numpy as np

from bnkit.lab.data.class_labels import AnyArray
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.hashing import hash_arrays
from bnkit.lab.data.preparation import finish, fit_images
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.splitting import split_note, stratified_split

_WHITE = 16  # pixels are counts from 0 to 16


class DigitsSource:
    """The digits that come with scikit-learn; nothing is downloaded."""

    def __init__(self, settings: DataSettings) -> None:
        self._settings = settings

    def fingerprint(self) -> str:
        """Return a hash of images and labels."""
        images, labels = _digits()
        return hash_arrays({"images": images, "labels": labels})

    def load(self) -> Dataset:
        """Return the digits in [0, 1], shape (N, 1, 8, 8), with a test split of each class."""
        settings = self._settings
        counts, targets = _digits()
        images = fit_images((counts / _WHITE).astype(np.float32)[:, None], settings, "digits")
        labels = targets.astype(np.int64)
        names = tuple(str(label) for label in range(10))
        share, seed = settings.test_share, settings.split_seed
        train, test = stratified_split(labels, names, share, seed, "digits")
        dataset = Dataset(
            images[train],
            labels[train],
            images[test],
            labels[test],
            names,
            (split_note(share, seed),),
        )
        return finish(dataset, settings, "digits")


def _digits() -> tuple[AnyArray, AnyArray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target
