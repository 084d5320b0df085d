"""Trials → one verdict per claim, and one summary per arm, grid point and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from bnkit.lab.store.schema import Outcome, Summary, TrialRecord, Verdict
from bnkit.lab.study.claim_bounds import bound_words, mean_symbols
from bnkit.lab.study.claim_equal_losses import LossesCompared
from bnkit.lab.study.claim_evaluation import Evaluation, evaluate
from bnkit.lab.study.claim_pairs import CannotBeTestedError, PairedValues, pair, trials_of
from bnkit.lab.study.claim_quantity import TRAIN_LOSS, all_series_of, quantity, series_of, unit
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_sides import Sides, sides_of
from bnkit.lab.study.claim_values import LAST, MetricValues, Series, grid_key, metric_values
from bnkit.lab.study.claim_wording import (
    at_words,
    difference_from_source,
    divergence,
    reason,
    winner,
)
from bnkit.lab.study.statistics import LEVEL, estimate_mean, holm

SUMMARY_METRICS = ("test accuracy", "test loss", "train accuracy", "train loss")


class _Tested(NamedTuple):
    evaluation: Evaluation
    paired: PairedValues


def judge(
    claims: Sequence[ClaimSettings], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> list[Verdict]:
    """Return a verdict per claim, in the order of the claims.

    Arms are paired by seed. With effects dᵢ of n paired seeds (differences, log ratios or slopes),
    p = P(|T| ≥ |mean d − boundary| / (s / √n)) with Student's t of n − 1 degrees of freedom, and
    the interval is mean d ∓ t₀.₉₇₅(n − 1) · s / √n. A claim is `supported` if its p, Holm-adjusted
    over all claims that could be tested, is below 0.05 and the effect lies where it says;
    `refuted` if the effect lies on the other side; else `inconclusive`.

    Args:
        claims: what is to be judged.
        trials: the study's trials; each exists whole.
        metrics: their metrics, long form, with the trial's id in the column `trial`.

    Values of which only a bound is known (a target never reached, a rate beyond the grid) are
    judged as `claim_bounds` says.

    Source: design.md, Verdicts; docs/guides/verdicts.md has the null hypothesis of each kind.
    """
    views = _views(claims, trials, metrics)
    tested = [_test(*view) for view in views]
    p_values = {
        index: test.evaluation.p
        for index, test in enumerate(tested)
        if isinstance(test, _Tested) and test.evaluation.p is not None
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    verdicts = []
    for index, (view, test) in enumerate(zip(views, tested, strict=True)):
        blank = _untested(view.claim, view.trials, view.own.unit)
        if isinstance(test, _Tested):
            verdict = _filled(blank, view.claim, test, adjusted.get(index), len(p_values))
        else:
            verdict = replace(blank, reason=test)
        more = divergence(verdict.diverged)
        more += difference_from_source(claims[index], verdict.outcome)
        verdicts.append(replace(verdict, reason=verdict.reason + more))
    return verdicts


def _views(
    claims: Sequence[ClaimSettings], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> list[Sides]:
    """Return each claim with the trials and values that it is judged by."""
    of_arms = [claim for claim in claims if claim.better_key is None]
    wanted = [series for claim in of_arms for series in all_series_of(claim)]
    recorded = metric_values(wanted, trials, metrics)
    return [
        Sides(claim, trials, recorded)
        if claim.better_key is None
        else sides_of(claim, trials, metrics)
        for claim in claims
    ]


def summarize(
    trials: Sequence[TrialRecord],
    metrics: pl.DataFrame,
    metric_names: Sequence[str] = SUMMARY_METRICS,
) -> list[Summary]:
    """Return mean and 95 % Student t interval over seeds at the last epoch.

    One row per arm, grid point and metric that was recorded, in the order of the trials. Diverged
    trials count as they do in verdicts; a trial without a finite value does not count, which
    `seeds` shows.
    """
    series = {name: Series(name) for name in metric_names}
    recorded = metric_values(series.values(), trials, metrics)
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault((trial.arm, grid_key(trial.grid)), []).append(trial)
    return [
        summary
        for members in groups.values()
        for name in metric_names
        if (summary := _summary(members, recorded[series[name]])) is not None
    ]


def _test(
    claim: ClaimSettings, trials: Sequence[TrialRecord], recorded: Mapping[Series, MetricValues]
) -> _Tested | str:
    """Return the evaluation, or why there is none."""
    losses = None
    if claim.reading == "at-equal-loss":
        losses = LossesCompared(recorded[Series(claim.loss)], recorded[TRAIN_LOSS])
    try:
        paired = pair(claim, trials_of(claim, trials), recorded[series_of(claim)], losses)
        return _Tested(evaluate(claim, paired), paired)
    except CannotBeTestedError as error:
        return str(error)


def _untested(claim: ClaimSettings, trials: Sequence[TrialRecord], metric_unit: str) -> Verdict:
    """Return the verdict before anything is known of its outcome."""
    arms = (claim.better,) if claim.than is None else (claim.better, claim.than)
    diverged = [trial.arm for trial in trials_of(claim, trials) if trial.status == "diverged"]
    return Verdict(
        id=claim.id,
        text=claim.text,
        kind=claim.kind,
        metric=claim.metric,
        arms=arms,
        outcome="inconclusive",
        reason="",
        effect=None,
        effect_name=claim.effect_name,
        low=None,
        high=None,
        p=None,
        p_adjusted=None,
        seeds=0,
        means={},
        diverged={arm: diverged.count(arm) for arm in arms},
        published=claim.published,
        unit=unit(claim, metric_unit),
        quantity=quantity(claim),
    )


def _filled(
    blank: Verdict, claim: ClaimSettings, test: _Tested, p_adjusted: float | None, tested: int
) -> Verdict:
    evaluation, paired = test
    outcome = _outcome(evaluation, p_adjusted)
    low, high = evaluation.interval or (None, None)
    bootstrap_low, bootstrap_high = evaluation.bootstrap or (None, None)
    symbols = mean_symbols(paired)
    has_winner = claim.kind == "which-is-better" and outcome == "supported"
    return replace(
        blank,
        outcome=outcome,
        reason=reason(claim, evaluation, paired, p_adjusted, tested),
        effect=evaluation.effect,
        low=low,
        high=high,
        p=evaluation.p,
        p_adjusted=p_adjusted,
        seeds=evaluation.seeds,
        means={arm: m for arm, m in evaluation.means.items() if symbols.get(arm) != "?"},
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        winner=winner(claim, evaluation) if has_winner else None,
        at=at_words(claim, paired, evaluation),
        bounds={arm: symbol for arm, symbol in symbols.items() if symbol != "?"},
        effect_bound="" if evaluation.effect is None else evaluation.open_to.symbol,
        not_known=bound_words(claim, paired),
    )


def _outcome(evaluation: Evaluation, p_adjusted: float | None) -> Outcome:
    # On neither side p is 1, so that one of the sides holds below.
    if p_adjusted is None or p_adjusted >= LEVEL:
        return "inconclusive"
    return "supported" if evaluation.side > 0 else "refuted"


def _summary(trials: Sequence[TrialRecord], recorded: MetricValues) -> Summary | None:
    if not recorded.is_recorded:
        return None
    readings = [recorded.at(trial, LAST).value for trial in trials]
    values = np.array([value for value in readings if value is not None], dtype=np.float64)
    if not len(values):
        return None
    estimate = estimate_mean(values)
    interval = estimate.interval()
    return Summary(
        arm=trials[0].arm,
        metric=recorded.metric,
        mean=float(estimate.mean),
        low=None if interval is None else float(interval[0]),
        high=None if interval is None else float(interval[1]),
        seeds=estimate.n,
        diverged=sum(trial.status == "diverged" for trial in trials),
        grid=trials[0].grid,
        unit=recorded.unit,
    )
