"""Seeds that agree, rounding, and the smallest step that a metric can make."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from bnkit.lab.study.claim_values import Series, metric_values
from claim_trials import T_975, TREND, Trials, check, grid_trials, last_values, p_of


@pytest.mark.parametrize("seeds", [3, 5, 12])
@pytest.mark.parametrize("kind", ["higher", "which-is-better", "at-every-checkpoint"])
def test_equal_differences_in_all_seeds(kind: str, seeds: int) -> None:
    than = [0.5 + seed / 64 for seed in range(seeds)]
    verdict = last_values([value + 0.25 for value in than], than).verdict(kind)
    # The smallest step between values is 1/64; two values rounded to it have variance 2 · h²/12.
    error = 1 / 64 / math.sqrt(6) / math.sqrt(seeds)
    half_width = stats.t.ppf(0.975, seeds - 1) * error
    check(verdict, "supported", 0.25, half_width, 2 * stats.t.sf(0.25 / error, seeds - 1))
    assert "all seeds agree; the 95 % interval [" in verdict.reason
    assert "], from the metric's resolution, lies above 0" in verdict.reason
    same = last_values(than, than).verdict(kind)
    assert (same.outcome, same.p, same.effect) == ("inconclusive", 1.0, 0.0)
    assert same.high == pytest.approx(half_width)


def test_one_step_in_each_of_three_seeds_is_no_evidence() -> None:
    # 97 images: one more is right in each seed, and 1/97 differs in the last place between them
    trials = last_values([91 / 97, 88 / 97, 81 / 97], [90 / 97, 87 / 97, 80 / 97])
    differences = {91 / 97 - 90 / 97, 88 / 97 - 87 / 97, 81 / 97 - 80 / 97}
    assert len(differences) > 1
    verdict = trials.verdict("higher")
    error = 1 / 97 / math.sqrt(18)
    check(verdict, "inconclusive", 1 / 97, T_975 * error, p_of(math.sqrt(18)))
    ratio = trials.verdict("ratio-at-least", factor=1.0)
    assert ratio.outcome == "inconclusive"
    more = last_values([91 / 97, 88 / 97, 81 / 97], [81 / 97, 78 / 97, 71 / 97])
    assert more.verdict("higher").outcome == "supported"


def test_values_that_are_all_the_same_have_no_resolution() -> None:
    trials = last_values([0.5] * 4, [0.5] * 4)
    verdict = trials.verdict("higher")
    assert (verdict.outcome, verdict.p, verdict.low, verdict.high) == (
        "inconclusive",
        1,
        0.5 - 0.5,
        0,
    )
    assert verdict.reason == "the difference, 0 in every seed, is on the boundary 0"
    within = trials.verdict("equivalent", margin=0.1)
    assert (within.outcome, within.p) == ("supported", 0)
    assert within.reason == "the difference, 0 in every seed, lies within ±0.1"


def test_a_constant_ratio_and_a_constant_slope_have_a_resolution() -> None:
    ratio = last_values([6.0, 8.0, 10.0], [3.0, 4.0, 5.0]).verdict("ratio-at-least", factor=1.5)
    # steps of 1; the smallest value is 3
    error = 1 / 3 / math.sqrt(18)
    assert ratio.high == pytest.approx(2 * math.exp(T_975 * error))
    assert ratio.p == pytest.approx(p_of(math.log(2 / 1.5) / error))
    trials = grid_trials([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    slope = trials.verdict("trend", **TREND, direction="higher", than=None)
    # 5 + seed + (1 ∓ 0.25) · decade has steps of 0.25; decades −3, −2, 0 have Σ(x − mean)² = 14/3
    per_e = 1 / math.log(10)
    error = 0.25 / math.sqrt(14 / 3) / math.sqrt(18) * per_e
    check(slope, "supported", per_e, T_975 * error, p_of(per_e / error))


def test_rounding_is_not_a_difference() -> None:
    # 0.91 − 0.9 is 0.01 + 8.9e-18 in floating point; the margin is 0.01
    trials = last_values([0.91] * 4, [0.9] * 4)
    assert trials.verdict("higher", margin=0.01).outcome == "inconclusive"
    assert trials.verdict("equivalent", margin=0.01).outcome == "inconclusive"
    flat = grid_trials([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    verdict = flat.verdict("trend", **TREND, direction="higher", than=None)
    assert (verdict.outcome, verdict.p) == ("inconclusive", 1.0)
    summed = last_values([0.1 + 0.2] * 4, [0.3] * 4).verdict("which-is-better")
    assert (summed.outcome, summed.p) == ("inconclusive", 1.0)


@pytest.mark.parametrize(
    ("recorded", "resolution"),
    [
        ([0.5, 0.25, 0.875], 0.25),
        ([0.5, 0.5], 0.0),
        ([], 0.0),
        ([0.3, 0.1 + 0.2, 0.5], 0.2),
        ([0.5, math.inf, math.nan, 0.75], 0.25),
    ],
)
def test_the_resolution_of_a_metric(recorded: list[float], resolution: float) -> None:
    trials = Trials()
    trials.add("with", 0, recorded[1:], untrained=recorded[0] if recorded else None)
    metric = "test accuracy"
    values = metric_values([Series(metric)], trials.records, trials.metrics)[Series(metric)]
    assert values.resolution(trials.records) == pytest.approx(resolution)
