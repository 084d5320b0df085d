"""What a claim compares, in words, and in which unit."""

from __future__ import annotations

from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import Series

TRAIN_LOSS = Series("train loss")

_SPREADS = {"range": "range", "deviation": "standard deviation"}


def series_of(claim: ClaimSettings) -> Series:
    """Return the recorded series that the claim speaks of."""
    return Series(claim.metric, claim.layer, claim.key)


def all_series_of(claim: ClaimSettings) -> list[Series]:
    """Return every recorded series that the claim's verdict depends on, its own first."""
    own = [series_of(claim)]
    return own if claim.reading != "at-equal-loss" else [*own, Series(claim.loss), TRAIN_LOSS]


def quantity(claim: ClaimSettings) -> str:
    """Return what is compared: "test accuracy", "range of best test accuracy over the grid" …"""
    name = series_of(claim).name
    match claim.reading:
        case "best":
            name = f"best {name}"
        case "area":
            is_mean = name.startswith("mean ")  # over layers: not the mean of a mean, in words
            name = f"{name} over training" if is_mean else f"mean {name} over training"
        case "fluctuation":
            name = f"fluctuation of {name}"
        case "epochs-to-target":
            return f"epochs until {target_words(claim)}"
        case "at-equal-loss":
            return f"{name} at equal {claim.loss}"
        case "largest-usable":
            return f"largest usable {claim.along}"
    if claim.across == "mean":
        return name
    return f"{_SPREADS[claim.across]} of {name} over the grid"


def target_words(claim: ClaimSettings) -> str:
    """Return "test accuracy reaches 0.9", or "train loss falls to 0.1"."""
    verb = "falls to" if claim.wants_low_metric else "reaches"
    return f"{series_of(claim).name} {verb} {claim.target:g}"


def unit(claim: ClaimSettings, of_metric: str) -> str:
    """Return the unit of what is compared, given that of the metric."""
    return "epochs" if claim.reading == "epochs-to-target" else of_metric
