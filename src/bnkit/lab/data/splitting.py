"""A test split for data that has none of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.settings import DataSettings


def stratified_split(
    labels: NDArray[np.int64], class_names: Sequence[str], test_share: float, seed: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of training and test examples, each ascending.

    Of a class with n examples min(max(round(test_share · n), 1), n − 1) go to the test split, drawn
    by a generator of that class's own: which ones does not depend on the other classes.
    (scikit-learn's `train_test_split` may leave a small class without a test example.)

    Args:
        labels: shape (N,), values 0 … K−1.
        class_names: K names, for messages.
        test_share: between 0 and 1.
        seed: of the draw.
        where: what messages begin with.

    Raises:
        DataError: a class has fewer than two examples.
    """
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} example{'' if len(members) == 1 else 's'}, "
                "and the data has no test split of its own",
                required="at least two per class: one to train on, one to test on",
                remedy="Add examples, leave the class out, or give a test split",
                where=where,
            )
        held_out = min(max(round(test_share * len(members)), 1), len(members) - 1)
        order = np.random.default_rng([seed, label]).permutation(members)
        chosen[order[:held_out]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_note(test_share: float, seed: int) -> str:
    """Return the sentence that tells a reader how the test split came about."""
    return (
        f"The data has no test split of its own: {test_share:g} of each class was held out, "
        f"drawn with split_seed {seed}."
    )


def unused_split_note(settings: DataSettings) -> list[str]:
    """Return the sentence about split settings that data with a test split has no use for."""
    fields = DataSettings.model_fields
    reduces = settings.train_examples is not None or settings.test_examples is not None
    keys = ("test_share",) if reduces else ("test_share", "split_seed")
    unused = [key for key in keys if getattr(settings, key) != fields[key].default]
    if not unused:
        return []
    return [f"{' and '.join(unused)} not used: the data has a test split of its own."]
