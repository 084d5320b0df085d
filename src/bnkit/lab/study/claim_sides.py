"""Claims that compare two keys of a metric, such as two ways of pruning, as claims of two arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_quantity import all_series_of, series_of
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import MetricValues, Series, metric_values

SIDES = ("better", "than")


class Sides(NamedTuple):
    """A claim, the trials it speaks of, and their values, with nothing left of its keys.

    Each side is an arm of its own, named "arm, key"; a trial of an arm that stands on both sides
    is there twice, under two ids.
    """

    claim: ClaimSettings
    trials: Sequence[TrialRecord]
    recorded: Mapping[Series, MetricValues]

    @property
    def own(self) -> MetricValues:
        """The values of the claim's own series."""
        return self.recorded[series_of(self.claim)]


def sides_of(claim: ClaimSettings, trials: Sequence[TrialRecord], metrics: pl.DataFrame) -> Sides:
    """Return a claim with `better_key` and `than_key` as one of two arms.

    Args:
        claim: it has both keys.
        trials: the study's.
        metrics: long form, with the trial's id in the column `trial`.
    """
    keys = {"better": claim.better_key, "than": claim.than_key}
    arms = {"better": claim.better, "than": claim.than or claim.better}
    names = {side: f"{arms[side]}, {keys[side]}" for side in SIDES}
    doubled: list[TrialRecord] = []
    tables: list[pl.DataFrame] = []
    needed = {series.metric for series in all_series_of(claim)}
    of_claim = metrics.filter(pl.col("metric").is_in(sorted(needed)))
    is_own = pl.col("metric") == claim.metric
    for side in SIDES:
        own = [trial for trial in trials if trial.arm == arms[side]]
        doubled += [replace(t, id=f"{t.id} {side}", arm=names[side]) for t in own]
        tables.append(
            of_claim.filter(pl.col("trial").is_in([trial.id for trial in own])).with_columns(
                trial=pl.concat_str("trial", pl.lit(f" {side}")),
                # This side's rows become those of no key, which the claim then speaks of.
                key=pl.when(~is_own | (pl.col("key") != keys[side])).then(pl.col("key")),
            )
        )
    published = claim.published and {
        names[side]: claim.published[arm] for side, arm in arms.items() if arm in claim.published
    }
    update = {**names, "better_key": None, "than_key": None, "published": published}
    renamed = claim.model_copy(update=update)
    recorded = metric_values(all_series_of(renamed), doubled, pl.concat(tables))
    return Sides(renamed, doubled, recorded)
