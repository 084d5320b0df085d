"""Claims that cannot be tested are inconclusive and say why; useless settings are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from bnkit.lab.store.schema import MetricRow, Verdict
from claim_trials import Trials, claim, last_values

FOUR = last_values([0.9, 0.8, 0.95, 0.85], [0.5, 0.6, 0.55, 0.62])


def assert_untested(verdict: Verdict, reason: str) -> None:
    assert verdict.outcome == "inconclusive"
    assert (verdict.p, verdict.p_adjusted) == (None, None)
    assert verdict.reason == reason


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError):
        assert_untested(FOUR.verdict("higher"), "the 95 % interval lies above 0")


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds(seeds: int) -> None:
    trials = last_values([0.9, 0.95][:seeds], [0.5, 0.6][:seeds])
    verdict = trials.verdict("higher")
    assert_untested(verdict, "too few seeds")
    assert verdict.seeds == seeds
    assert verdict.effect == pytest.approx([0.4, 0.375][seeds - 1])
    assert (verdict.low is None) == (seeds == 1)


def test_a_seed_counts_if_both_arms_have_it_at_every_grid_point() -> None:
    trials = last_values([0.9, 0.8, 0.95], [0.5, 0.6])
    assert_untested(trials.verdict("higher"), "too few seeds")
    assert trials.verdict("higher").seeds == 2
    apart = Trials()
    apart.add("with", 0, [0.5])
    apart.add("without", 1, [0.5])
    reason = "no seed has trials of both 'with' and 'without'"
    assert_untested(apart.verdict("higher"), reason)
    partial = Trials()
    for seed in range(4):
        for rate in (0.1, 0.2):
            partial.add("with", seed, [0.9], grid={"lr": rate})
            if (seed, rate) != (3, 0.2):
                partial.add("without", seed, [0.5], grid={"lr": rate})
    assert partial.verdict("higher").seeds == 3
    assert partial.verdict("higher", where={"lr": 0.1}).seeds == 4


def test_nothing_to_compare() -> None:
    assert_untested(FOUR.verdict("higher", "no metric"), "'no metric' was not recorded")
    verdict = FOUR.verdict("higher", at_epoch=9)
    assert_untested(verdict, "epoch 9 was not reached; the last is epoch 1")
    verdict = FOUR.verdict("at-every-checkpoint", from_epoch=9)
    assert_untested(verdict, "no checkpoint from epoch 9 on; the last is in epoch 1")
    alone = Trials()
    for seed in range(3):
        alone.add("with", seed, [0.5])
    assert_untested(alone.verdict("higher"), "arm 'without' has no trials")
    verdict = FOUR.verdict("higher", where={"lr": 0.1})
    assert_untested(verdict, "arm 'with' has no trials at lr = 0.1")
    assert_untested(Trials().verdict("higher"), "arm 'with' has no trials")


def test_an_epoch_without_a_checkpoint() -> None:
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            trial = trials.add(arm, seed, [])
            trials.row(trial, MetricRow(30, 3, "test accuracy", 0.5, "share"))
    reason = trials.verdict("higher", at_epoch=2).reason
    assert reason == (
        "all 3 seeds are left out: seed 0, where arm 'with' has no checkpoint in epoch 2,"
        " and others"
    )


def test_a_metric_of_layers_is_not_one_value_per_checkpoint() -> None:
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            trial = trials.add(arm, seed, [])
            trials.row(trial, MetricRow(10, 1, "gradient norm", 1.0, "", layer="conv1"))
    verdict = trials.verdict("higher", "gradient norm")
    reason = (
        "'gradient norm' was recorded per layer or key, not as one value per checkpoint;"
        " the claim must say which: layer conv1"
    )
    assert_untested(verdict, reason)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("kind", ["higher", "at-every-checkpoint", "which-is-better"])
def test_a_value_that_is_not_finite_is_left_out_and_named(kind: str, value: float) -> None:
    trials = last_values([0.9, 0.8, 0.95, value], [0.5, 0.6, 0.55, 0.5])
    verdict = trials.verdict(kind)
    assert verdict.seeds == 3
    assert verdict.reason.endswith(
        "; left out: seed 3, where arm 'with' has a test accuracy that is not finite"
    )
    assert verdict.effect is not None and math.isfinite(verdict.effect)


def test_several_seeds_left_out_are_counted() -> None:
    trials = last_values([math.nan] * 4 + [0.9, 0.8, 0.7], [0.5] * 7)
    reason = trials.verdict("higher").reason
    assert reason.count("not finite") == 2
    assert reason.endswith("; and 2 more")


@pytest.mark.parametrize("size", [1e308, 1.7e308])
def test_values_too_large_to_compare(size: float) -> None:
    trials = last_values([size, -size, size], [-size, size, size / 2])
    assert_untested(trials.verdict("higher"), "the values are too large to be compared")


def test_a_ratio_needs_positive_values() -> None:
    trials = last_values([0.9, 0.0, 0.95], [0.5, 0.6, 0.55])
    reason = "a ratio needs values above 0; test accuracy of arm 'with' has 0"
    assert_untested(trials.verdict("ratio-at-least", factor=1.0), reason)


@pytest.mark.parametrize(
    ("values", "scale", "reason"),
    [
        (["a", "b"], "linear", "the values of key are not numbers"),
        ([True, False], "linear", "the values of key are not numbers"),
        ([0.0, 1.0], "log", "the values of key are not above 0: no logarithm"),
        ([2], "linear", "key has one value only, so there is no slope"),
    ],
)
def test_a_trend_needs_numbers_along_the_grid(values: list[Any], scale: str, reason: str) -> None:
    trials = Trials()
    for seed in range(3):
        for value in values:
            trials.add("with", seed, [0.5], grid={"key": value})
    keys = {"along": "key", "scale": scale, "direction": "higher", "than": None}
    assert_untested(trials.verdict("trend", **keys), reason)


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("equivalent", {}, "needs margin > 0"),
        ("non-inferior", {"margin": 0.0}, "needs margin > 0"),
        ("ratio-at-least", {}, "needs factor"),
        ("trend", {"direction": "higher"}, "needs along"),
        ("trend", {"along": "lr"}, "needs direction"),
        ("trend", {"along": "seed", "direction": "higher"}, "cannot name seed"),
        ("higher", {"where": {"seed": 1}}, "cannot name seed"),
        ("higher", {"than": None}, "needs than, the other arm, or than_value"),
        ("higher", {"than_value": 0.5}, "than, the other arm, or than_value.* not both"),
        ("equivalent", {"than_value": 0.5, "than": None, "margin": 0.1}, "does not use"),
        (
            "trend",
            {"than_value": 1.0, "than": None, "along": "lr", "direction": "lower"},
            "not use",
        ),
        ("higher", {"than": "with"}, "name the same arm"),
        ("higher", {"direction": "lower"}, "does not use direction"),
        ("higher", {"factor": 2.0}, "does not use factor"),
        ("higher", {"from_epoch": 2}, "does not use from_epoch"),
        ("at-every-checkpoint", {"at_epoch": 2}, "does not use at_epoch"),
        ("ratio-at-least", {"factor": 2.0, "margin": 0.1}, "does not use margin"),
        ("higher", {"scale": "log"}, "does not use scale"),
        ("higher", {"margin": math.inf}, "finite"),
        ("higher", {"margin": -0.1}, "greater than or equal to 0"),
        ("ratio-at-least", {"factor": math.nan}, "finite"),
    ],
)
def test_settings_that_a_kind_cannot_use(kind: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        claim(kind, **keys)


@pytest.mark.parametrize(
    ("kind", "metric", "keys", "expected"),
    [
        ("higher", "test loss", {}, "higher"),
        ("lower", "test accuracy", {}, "lower"),
        ("at-every-checkpoint", "train loss", {}, "lower"),
        ("at-every-checkpoint", "train accuracy", {}, "higher"),
        ("which-is-better", "test loss", {"direction": "higher"}, "higher"),
        ("ratio-at-least", "test loss", {"factor": 2.0}, "higher"),
    ],
)
def test_the_direction_a_claim_favours(
    kind: str, metric: str, keys: dict[str, Any], expected: str
) -> None:
    assert claim(kind, metric, **keys).favours == expected


def test_a_trial_that_only_recorded_the_untrained_network_has_no_last_value() -> None:
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [0.9, 0.8 + seed / 10], untrained=0.1)
        trials.add("without", seed, [0.3], untrained=0.2)
    trials.add("with", 3, [0.9])
    trials.add("without", 3, [], untrained=0.2)
    verdict = trials.verdict("higher")
    assert verdict.seeds == 3
    assert verdict.reason.endswith("; left out: seed 3, where arm 'without' has no test accuracy")
