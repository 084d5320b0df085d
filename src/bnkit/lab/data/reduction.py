"""Fewer examples than there are, each class in proportion: `train_examples`, `test_examples`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.settings import DataSettings

_WORDS = {"train": "training", "test": "test"}


class Reduced(NamedTuple):
    """Which examples are kept, ascending, and the sentence that tells a reader."""

    indices: NDArray[np.int64]
    note: str


def reduced(dataset: Dataset, settings: DataSettings, where: str) -> Dataset:
    """Return the data set with as many examples as the settings ask for.

    Raises:
        DataError: there are fewer than that, or fewer are asked for than there are classes.
    """
    for part in ("train", "test"):
        labels = getattr(dataset, f"{part}_labels")
        kept = reduced_indices(part, labels, dataset.class_names, settings, where)
        if kept is not None:
            changes = {
                f"{part}_images": getattr(dataset, f"{part}_images")[kept.indices],
                f"{part}_labels": labels[kept.indices],
            }
            dataset = replace(dataset, **changes, notes=(*dataset.notes, kept.note))
    return dataset


def reduced_indices(
    part: str,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    settings: DataSettings,
    where: str,
) -> Reduced | None:
    """Return which examples of a split are kept; None if all of them.

    Of n examples asked for, each class gives its share of the split, rounded so that they add up
    (largest remainders first) and at least one. A class's examples are the first of an order drawn
    under `split_seed` by a generator of its own: neither n nor the other classes change it.

    Args:
        part: "train" or "test".
        labels: of the split, shape (N,).
        class_names: K names.
        settings: `train_examples`, `test_examples` and `split_seed` are used.
        where: what messages begin with.

    Raises:
        DataError: n is larger than N, or smaller than the number of classes in the split.
    """
    wanted = settings.train_examples if part == "train" else settings.test_examples
    if wanted is None or wanted == len(labels):
        return None
    counts = np.bincount(labels, minlength=len(class_names))
    classes = int((counts > 0).sum())
    if not classes <= wanted <= len(labels):
        raise DataError(
            f"data.{part}_examples = {wanted}, and there are {len(labels)} {_WORDS[part]} examples "
            f"of {classes} classes",
            required=f"from {classes}, one per class, to {len(labels)}",
            where=where,
        )
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label, count in enumerate(_shares(counts, wanted)):
        members = np.flatnonzero(labels == label)
        # The third number keeps this order apart from that of the held-out test split.
        order = np.random.default_rng([settings.split_seed, label, 1]).permutation(members)
        chosen[order[:count]] = True
    note = (
        f"Of {len(labels)} {_WORDS[part]} examples {wanted} were taken, each class in proportion, "
        f"drawn with split_seed {settings.split_seed}."
    )
    return Reduced(np.flatnonzero(chosen), note)


def _shares(counts: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    exact = counts * wanted / counts.sum()
    shares: NDArray[np.int64] = np.maximum(np.floor(exact).astype(np.int64), counts > 0)
    # A stable sort: among equal remainders the first class goes first.
    by_remainder = np.argsort(-(exact - np.floor(exact)), kind="stable")
    while shares.sum() != wanted:
        step = 1 if shares.sum() < wanted else -1
        fitting = (shares < counts) if step == 1 else (shares > 1)
        candidates = [label for label in by_remainder[::step] if fitting[label]]
        for label in candidates[: abs(wanted - int(shares.sum()))]:
            shares[label] += step
    return shares
