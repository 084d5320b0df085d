"""Arrays with their roles → a checked data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnkit.errors import DataError
from bnkit.lab.data.array_names import CLASS_NAMES, WHOLE
from bnkit.lab.data.class_labels import AnyArray, Labels, check_class_count, encode_labels, listed
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.pixel_arrays import channels_first, check_examples, to_float32, values_note
from bnkit.lab.data.preparation import Images, finish, fit_images
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.splitting import split_note, stratified_split, unused_split_note

# What `settings = None` stands for, but for the batch size, which is then not checked.
_DEFAULTS = DataSettings(name="given")


def dataset_from_arrays(
    arrays: Mapping[str, AnyArray],
    settings: DataSettings | None,
    notes: Sequence[str],
    where: str,
) -> Dataset:
    """Check arrays and return them as a data set, split if they have no test split.

    Args:
        arrays: the roles `train_images`, `train_labels`, `test_images`, `test_labels`, or `images`,
            `labels`; and `class_names` if it is known.
        settings: how they are prepared; None takes the defaults and leaves the batch size open.
        notes: sentences that the data set's notes begin with.
        where: what messages begin with.

    Raises:
        DataError: shapes, dtypes, values or labels cannot be used.
    """
    chosen = settings or _DEFAULTS
    is_whole = WHOLE[0] in arrays
    prefixes = [""] if is_whole else ["train_", "test_"]
    pixels = {f"{prefix}images": arrays[f"{prefix}images"] for prefix in prefixes}
    targets = {f"{prefix}labels": arrays[f"{prefix}labels"] for prefix in prefixes}
    check_examples(pixels, where)
    _check_lengths(pixels, targets, where)
    images, image_notes = prepared_images(pixels, chosen, where)
    labels, class_names = encode_labels(targets, arrays.get(CLASS_NAMES), where)
    check_class_count(class_names, where)
    sentences = [*notes, *image_notes]
    if is_whole:
        share, seed = chosen.test_share, chosen.split_seed
        train, test = stratified_split(labels[0], class_names, share, seed, where)
        images, labels = [images[0][train], images[0][test]], [labels[0][train], labels[0][test]]
        sentences.append(split_note(share, seed))
    else:
        sentences += unused_split_note(chosen)
        sentences += untested_note(labels[1], class_names)
    dataset = Dataset(images[0], labels[0], images[1], labels[1], class_names, tuple(sentences))
    return finish(dataset, settings, where)


def untested_note(test_labels: Labels, class_names: Sequence[str]) -> list[str]:
    """Return the sentence about classes without a test example; none if there are none."""
    present = {int(label) for label in test_labels}
    absent = [name for label, name in enumerate(class_names) if label not in present]
    return [f"The test split has no example of class {listed(absent)}."] if absent else []


def prepared_images(
    pixels: Mapping[str, AnyArray], settings: DataSettings, where: str
) -> tuple[list[Images], list[str]]:
    """Return arrays as float32 with channels first, in the colour and size of the settings.

    Args:
        pixels: name → array, which `check_examples` has let pass.
        settings: `colour` and `image_size` are used.
        where: what messages begin with.

    Returns:
        The arrays in order, and sentences about how they were read.

    Raises:
        DataError: values or settings that do not fit.
    """
    notes = values_note(next(iter(pixels.values())))
    images = []
    for name, array in pixels.items():
        moved, layout = channels_first(to_float32(name, array, where))
        images.append(fit_images(moved, settings, where))
    return images, [*layout, *notes]


def _check_lengths(
    pixels: Mapping[str, AnyArray], targets: Mapping[str, AnyArray], where: str
) -> None:
    for (images, array), (labels, target) in zip(pixels.items(), targets.items(), strict=True):
        length = len(target) if target.ndim else 0
        if length != len(array):
            raise DataError(
                f"{images} has {len(array)} examples and {labels} {length}",
                required="one label per example",
                where=where,
            )
