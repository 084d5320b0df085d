"""Which keys of a `[[claims]]` table a kind and a reading use."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "higher",
    "lower",
    "at-every-checkpoint",
    "ratio-at-least",
    "equivalent",
    "non-inferior",
    "which-is-better",
    "trend",
]
Reading = Literal[
    "last",
    "best",
    "area",
    "fluctuation",
    "epochs-to-target",
    "largest-usable",
    "at-equal-loss",
]
Across = Literal["mean", "range", "deviation"]

# What every claim may state.
COMMON = (
    *("id", "text", "kind", "metric", "better", "than", "reading", "where"),
    *("published", "published_outcome"),
)
PER_LAYER = ("layer", "key", "better_key", "than_key")

# kind → the keys it uses beside the common ones and those of its reading.
OF_KIND: dict[Kind, tuple[str, ...]] = {
    "higher": ("margin", "than_value"),
    "lower": ("margin", "than_value"),
    "at-every-checkpoint": ("margin", "direction", "from_epoch"),
    "ratio-at-least": ("factor",),
    "equivalent": ("margin",),
    "non-inferior": ("margin", "direction"),
    "which-is-better": ("margin", "direction"),
    "trend": ("margin", "direction", "along", "scale"),
}
OF_READING: dict[Reading, tuple[str, ...]] = {
    "last": (*PER_LAYER, "across", "at_epoch"),
    "best": (*PER_LAYER, "across", "from_epoch"),
    "area": (*PER_LAYER, "across", "from_epoch"),
    "fluctuation": (*PER_LAYER, "across", "from_epoch"),
    "epochs-to-target": (*PER_LAYER, "target"),
    "largest-usable": ("along",),
    "at-equal-loss": (*PER_LAYER, "loss"),
}
# Where a reading has no use for a key that its kind has, or a kind for one of its reading.
_NOT_OF_READING: dict[str, tuple[str, ...]] = {
    "largest-usable": ("metric", "margin", "than_value"),
    "epochs-to-target": ("than_value",),
    "at-equal-loss": ("margin", "than_value"),
}
_NOT_OF_KIND: dict[str, tuple[str, ...]] = {
    "at-every-checkpoint": ("at_epoch",),
    "trend": ("across",),
}

READINGS_OF_RATIOS: tuple[Reading, ...] = ("largest-usable", "at-equal-loss")
KINDS_OF_RATIOS: tuple[Kind, ...] = ("higher", "lower", "ratio-at-least", "which-is-better")


def keys_of(kind: Kind, reading: Reading) -> tuple[str, ...]:
    """Return the keys that a claim of this kind and reading uses."""
    unused = {*_NOT_OF_READING.get(reading, ()), *_NOT_OF_KIND.get(kind, ())}
    used = (*COMMON, *OF_KIND[kind], *OF_READING[reading])
    return tuple(dict.fromkeys(key for key in used if key not in unused))


def kinds_of(reading: Reading) -> tuple[Kind, ...]:
    """Return the kinds that can judge this reading."""
    if reading in READINGS_OF_RATIOS:
        return KINDS_OF_RATIOS
    return tuple(kind for kind in OF_KIND if kind != "at-every-checkpoint" or reading == "last")
