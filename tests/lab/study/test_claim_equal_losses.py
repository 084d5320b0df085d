"""Arms compared where their losses are equal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from bnkit.lab.probes.names import recorded_metrics
from bnkit.lab.store.schema import MetricRow
from bnkit.lab.study.claim_checks import check_metric
from claim_trials import Trials, claim

METRIC, LOSS = "effective smoothness", "train loss"


def descend(
    trials: Trials,
    arm: str,
    seed: int,
    losses: Mapping[int, float] | Sequence[float],
    values: Callable[[float], float] | Mapping[int, float],
    **keys: Any,
) -> None:
    """Add a trial that has these losses by step, and the metric as a function of them."""
    by_step = dict(losses) if isinstance(losses, Mapping) else dict(enumerate(losses))
    trial = trials.add(arm, seed, [], **keys)
    for step, loss in by_step.items():
        trials.row(trial, MetricRow(step, -(-step // 10), LOSS, loss, "nat"))
    found = {step: values(loss) for step, loss in by_step.items()} if callable(values) else values
    for step, value in found.items():
        trials.row(trial, MetricRow(step, -(-step // 10), METRIC, value, ""))


SLOW = [2.0 - 0.05 * step for step in range(31)]  # 2 … 0.5
FAST = [2.0 - 0.15 * step for step in range(13)]  # 2 … 0.2


def verdict_of(trials: Trials, kind: str = "lower", **keys: Any) -> Any:
    return trials.verdict(kind, METRIC, reading="at-equal-loss", **keys)


def test_equal_landscapes_have_ratio_one_however_fast_they_are_passed() -> None:
    trials = Trials()
    for seed in range(3):
        descend(trials, "with", seed, FAST, lambda _, seed=seed: 3 * (1 + seed))
        descend(trials, "without", seed, SLOW, lambda _, seed=seed: 3 * (1 + seed))
    verdict = verdict_of(trials)
    assert verdict.effect == pytest.approx(1.0)
    assert verdict.quantity == "effective smoothness at equal train loss"
    assert verdict.at == "where both arms have the same train loss, below 0.95 of the initial one"
    assert verdict.means["with"] == pytest.approx(3 * 6 ** (1 / 3))
    assert verdict.outcome == "inconclusive"


def test_the_ratio_is_the_geometric_mean_over_the_bins() -> None:
    # Both have losses 1.9 … 0.5 in common; the ratio is that of one loss's square to the other.
    slow_losses = [2.0, *(1.985 - 0.05 * step for step in range(31))]
    fast_losses = [2.0, 1.85, 1.5, 1.1, 0.8, 0.5]
    trials = Trials()
    for seed in range(3):
        descend(trials, "with", seed, slow_losses, lambda loss, seed=seed: loss**2 * 1.01**seed)
        descend(trials, "without", seed, fast_losses, lambda loss: loss)
    logarithms = []
    for low, high in itertools.pairwise(np.linspace(0.5, 1.9, 11)):
        slow = [2 * math.log(loss) for loss in slow_losses if low <= loss < high]
        fast = [math.log(loss) for loss in fast_losses if low <= loss < high]
        if slow and fast:
            logarithms.append(np.mean(slow) - np.mean(fast))
    assert len(logarithms) == 5
    verdict = verdict_of(trials, "which-is-better", direction="lower")
    assert verdict.effect == pytest.approx(math.exp(np.mean(logarithms)) * 1.01)
    assert (verdict.effect_name, verdict.seeds) == ("ratio", 3)


@pytest.mark.parametrize(("kind", "outcome"), [("lower", "supported"), ("higher", "refuted")])
def test_a_smoother_arm_is_found(kind: str, outcome: str) -> None:
    trials = Trials()
    for seed in range(3):
        noise = 1 + 0.01 * seed
        descend(trials, "with", seed, FAST, lambda loss, noise=noise: loss * noise)
        descend(trials, "without", seed, SLOW, lambda loss: 2 * loss)
    verdict = verdict_of(trials, kind)
    assert verdict.outcome == outcome
    assert verdict.effect == pytest.approx(0.5, rel=0.05)


def test_a_plateau_above_095_of_the_initial_loss_does_not_count() -> None:
    trials = Trials()
    plateau = [2.3] * 20 + SLOW
    for seed in range(3):
        for arm, losses in (("with", FAST), ("without", plateau)):
            values = {step: 1e-6 if loss > 1.9 else 1.0 for step, loss in enumerate(losses)}
            descend(trials, arm, seed, losses, values)
    assert verdict_of(trials).effect == pytest.approx(1.0)


def test_few_common_bins_leave_a_seed_out() -> None:
    trials = Trials()
    for seed in range(4):
        descend(trials, "with", seed, FAST, lambda loss: loss)
        descend(trials, "without", seed, SLOW if seed else [2.0, 1.98, 1.97], lambda loss: loss)
    verdict = verdict_of(trials)
    assert verdict.seeds == 3
    assert "seed 0, where arm 'with' shares 0 of 10 ranges of train loss" in verdict.reason
    apart = Trials()
    for seed in range(3):
        descend(apart, "with", seed, {0: 2.0, 1: 1.0, 2: 0.2}, lambda loss: loss)
        descend(apart, "without", seed, {0: 2.0, 1: 1.05, 2: 0.21}, lambda loss: loss)
    verdict = verdict_of(apart)
    assert (verdict.outcome, verdict.seeds) == ("inconclusive", 0)
    assert "a comparison needs 3" in verdict.reason


def test_losses_between_checkpoints_are_on_the_line() -> None:
    trials = Trials()
    for seed in range(3):
        descend(trials, "with", seed, SLOW, lambda loss: loss)
        ends = {0: 2.0, 30: 0.5}
        values = {step: loss for step, loss in enumerate(SLOW) if step}
        descend(trials, "without", seed, ends, values)
    assert verdict_of(trials).effect == pytest.approx(1.0, rel=1e-9)


def test_a_trial_counts_up_to_its_divergence_and_values_must_be_above_0() -> None:
    trials = Trials()
    for seed in range(3):
        descend(trials, "with", seed, SLOW, lambda loss: loss)
        keys = {"diverged_step": 25} if seed else {}
        descend(trials, "without", seed, SLOW, lambda loss: loss, **keys)
    assert verdict_of(trials).effect == pytest.approx(1.0)
    for seed in (3, 4):
        descend(trials, "with", seed, SLOW, lambda loss: loss)
        value = 0.0 if seed == 3 else math.nan
        descend(trials, "without", seed, SLOW, lambda loss, value=value: value)
    reason = verdict_of(trials).reason
    assert "seed 3, where arm 'without' has a effective smoothness of 0; a ratio needs" in reason
    assert "seed 4, where arm 'without' has a effective smoothness that is not finite" in reason


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("loss at stop", "names the loss 'loss at stop'; recorded are"),
        ("loss along gradient", "recorded per key; it takes one with one value per step"),
        (METRIC, "compares 'effective smoothness' where it is equal"),
    ],
)
def test_losses_that_cannot_be_compared_at_are_refused(loss: str, message: str) -> None:
    wrong = claim("lower", METRIC, reading="at-equal-loss", loss=loss)
    with pytest.raises(ValueError, match=message):
        check_metric(wrong, recorded_metrics(["landscape"]))


def test_it_takes_no_margin() -> None:
    with pytest.raises(ValueError, match="does not use margin"):
        claim("lower", METRIC, reading="at-equal-loss", margin=0.1)
    with pytest.raises(ValueError, match='cannot be judged by kind "equivalent"'):
        claim("equivalent", METRIC, reading="at-equal-loss", margin=0.1)
