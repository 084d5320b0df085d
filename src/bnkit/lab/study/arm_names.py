"""The norms an arm can have: name → what it is and the function that makes it; imports no torch."""

from __future__ import annotations

from typing import NamedTuple

from bnkit.errors import StudyError, did_you_mean


class NormEntry(NamedTuple):
    """A norm that an arm can name.

    Attributes:
        what: what becomes of the network, in words.
        home: `module:function`; (network, example, name) → `Rewrite` of the network in place.
    """

    what: str
    home: str


NORMS = {
    "batch": NormEntry("the network as given", "bnkit.lab.study.arms:as_given"),
    "none": NormEntry(
        "its batch norms removed, a zero bias given to feeding layers that have none",
        "bnkit.lab.study.arms:without_batch_norm",
    ),
    "batch-after-activation": NormEntry(
        "each batch norm moved behind the activation that follows it",
        "bnkit.lab.study.norm_placement:behind_activations",
    ),
    "batch-without-scale": NormEntry(
        "each batch norm without γ and β: they stay 1 and 0",
        "bnkit.lab.study.arms:without_scale",
    ),
    "full-batch": NormEntry(
        "each batch norm normalizing by the statistics of up to 4,096 training images, taken anew "
        "before each step, in place of the batch's",
        "bnkit.lab.study.full_batch_arm:with_full_batch_statistics",
    ),
    "noisy-batch": NormEntry(
        "each batch norm followed by noise in training, which shifts and scales what it puts out",
        "bnkit.lab.study.arms:with_noise",
    ),
    "group": NormEntry(
        "group norms in their places: at most 32 groups, of two channels or more",
        "bnkit.lab.study.arms:converted",
    ),
    "layer": NormEntry(
        "layer norms over channels and places in their places", "bnkit.lab.study.arms:converted"
    ),
    "instance": NormEntry("instance norms in their places", "bnkit.lab.study.arms:converted"),
    "frozen": NormEntry(
        "its batch norms as constants: the statistics, γ and β that the network is built with",
        "bnkit.lab.study.arms:converted",
    ),
}


def check_norm(name: str, where: str) -> None:
    """Raise `StudyError` unless an arm can have this norm."""
    if name not in NORMS:
        raise StudyError(
            f"norm = {name!r}",
            required=f"one of {', '.join(NORMS)}",
            remedy=did_you_mean(name, NORMS),
            where=where,
        )
