"""What the store holds, as plain data: trials, their metrics, verdicts and summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

STORE_VERSION = 1

Status = Literal["complete", "diverged"]
Outcome = Literal["supported", "refuted", "inconclusive"]


class MetricRow(NamedTuple):
    """One recorded value; the columns of `metrics.parquet`, in order.

    `step` counts optimizer steps taken (0: the untrained network); `layer` and `key` (a percentile,
    an η …) are for probes.
    """

    step: int
    epoch: int
    metric: str
    value: float
    unit: str
    layer: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class TrialRecord:
    """One training run: arm × grid point × seed. Stored as `trial.json`.

    Attributes:
        id: hash of all that determines the trial.
        grid: grid point without the seed, dotted key → value, in the study that trained it.
        spec: the resolved settings of this trial, as in a study file.
        classes: number of classes K; chance accuracy is 1/K. None if it is not known.
        diverged_step: optimizer steps taken when the trial was found to have diverged.
        versions: package → version.
        machine: what it ran on.
        notes: what a reader should know about its data and its arm, one sentence each.
        seconds: wall-clock time of the trial.
    """

    id: str
    arm: str
    seed: int
    grid: Mapping[str, Any]
    spec: Mapping[str, Any]
    classes: int | None
    status: Status = "complete"
    diverged_step: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    store_version: int = STORE_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What the results say about one claim.

    Attributes:
        id, text, kind, metric: as the study file states them.
        arms: the arms compared, the claimed one first.
        outcome: `supported`, `refuted` or `inconclusive`.
        reason: why, in a few words: "too few seeds", or what the interval shows.
        effect: the estimate, in the unit of `effect_name`.
        effect_name: "difference", "ratio" or "slope".
        low, high: 95 % Student t interval of the effect over seeds.
        bootstrap_low, bootstrap_high: 95 % BCa bootstrap interval, from ten seeds on.
        p, p_adjusted: two-sided p value, and the same Holm-adjusted over the study's claims.
        seeds: number of paired seeds.
        means: arm → mean of the quantity over seeds; geometric for a largest usable rate.
        diverged: arm → number of its trials that diverged.
        winner: the better arm, for `which-is-better`.
        published: arm → published figure, as stated in the study file.
        at: which checkpoints were compared, in words.
        unit: unit of the quantity.
        quantity: what is compared, in words; empty in results of before there was a choice.
        bounds: arm → "≥" or "≤" where its mean is only a bound: see `not_known`.
        effect_bound: "≥" or "≤" likewise for the effect.
        not_known: arm → for how many of its values only a bound is known, in words: a target never
            reached, a rate beyond the grid.
    """

    id: str
    text: str
    kind: str
    metric: str
    arms: tuple[str, ...]
    outcome: Outcome
    reason: str
    effect: float | None
    effect_name: str
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    seeds: int
    means: Mapping[str, float]
    diverged: Mapping[str, int]
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    winner: str | None = None
    published: Mapping[str, float] | None = None
    at: str = ""
    unit: str = ""
    quantity: str = ""
    bounds: Mapping[str, str] = field(default_factory=dict)
    effect_bound: str = ""
    not_known: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Summary:
    """A metric of one arm at the end of training, over its seeds.

    `low` and `high` are the 95 % Student t interval, None for fewer than two seeds.
    """

    arm: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: int
    diverged: int
    grid: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able data."""
        return asdict(self)
