"""The tables that come with scikit-learn: features on very different scales."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from bnkit.lab.data.array_dataset import dataset_from_arrays
from bnkit.lab.data.class_labels import AnyArray
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.hashing import hash_arrays
from bnkit.lab.data.settings import DataSettings


class TabularSource:
    """A table embedded in scikit-learn, by `data.name`: iris, wine or breast-cancer."""

    def __init__(self, settings: DataSettings) -> None:
        self._settings = settings

    def fingerprint(self) -> str:
        """Return a hash of features and labels."""
        return hash_arrays({key: self._arrays[key] for key in ("images", "labels")})

    def load(self) -> Dataset:
        """Return the features as they are, shape (N, D), with a test split of each class."""
        name = self._settings.name
        return dataset_from_arrays(self._arrays, self._settings, [], f"data {name}")

    @cached_property
    def _arrays(self) -> dict[str, AnyArray]:
        from sklearn import datasets

        load = getattr(datasets, f"load_{self._settings.name.replace('-', '_')}")
        bunch = load()
        return {
            "images": bunch.data,
            "labels": bunch.target,
            "class_names": np.asarray(bunch.target_names, dtype=np.str_),
        }
