"""What a diverged trial counts as, and how a verdict says so."""

from __future__ import annotations

import math

import pytest

from bnkit.lab.store.schema import MetricRow
from bnkit.lab.study.claims import judge, summarize
from claim_trials import Trials

ACCURACY, LOSS = "test accuracy", "train loss"


def two_arms(metric: str, classes: int = 10, at: int = 15) -> Trials:
    """Three seeds, three epochs of ten steps; seed 1 of arm without diverges at step `at`."""
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [0.5, 0.7, 0.9], metric, untrained=2.0, classes=classes)
        is_diverged = seed == 1
        trials.add(
            "without",
            seed,
            [0.25] * ((at - 1) // 10) if is_diverged else [0.25, 0.5, 0.75],
            metric,
            untrained=2.5 + seed,
            diverged_step=at if is_diverged else None,
            classes=classes,
        )
    return trials


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_an_accuracy_counts_as_chance(classes: int) -> None:
    verdict = two_arms(ACCURACY, classes).verdict("higher")
    assert verdict.means["without"] == pytest.approx((0.75 + 1 / classes + 0.75) / 3)
    assert verdict.means["with"] == pytest.approx(0.9)
    assert verdict.diverged == {"with": 0, "without": 1}
    assert verdict.reason.endswith("; diverged: 1 trial of 'without'")
    assert verdict.seeds == 3


@pytest.mark.parametrize("metric", ["train loss", "test loss"])
def test_a_loss_counts_as_its_own_untrained_networks(metric: str) -> None:
    verdict = two_arms(metric).verdict("lower", metric)
    assert verdict.means["without"] == pytest.approx((0.75 + 3.5 + 0.75) / 3)


def test_values_before_the_divergence_count_as_recorded() -> None:
    trials = two_arms(ACCURACY)
    assert trials.verdict("higher", at_epoch=1).means["without"] == pytest.approx(0.25)
    expected = (0.5 + 0.1 + 0.5) / 3
    assert trials.verdict("higher", at_epoch=2).means["without"] == pytest.approx(expected)


def test_a_value_recorded_at_the_diverged_step_does_not_count() -> None:
    # a run whose last training loss is not below the untrained network's diverged at its last step
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [0.9, 0.95])
        trials.add("without", seed, [0.3, 0.2 + seed / 100], diverged_step=20)
    assert trials.verdict("higher").means["without"] == pytest.approx(0.1)
    assert trials.verdict("higher", at_epoch=2).means["without"] == pytest.approx(0.1)
    assert trials.verdict("higher", at_epoch=1).means["without"] == pytest.approx(0.3)


def test_divergence_between_two_checkpoints_of_one_epoch() -> None:
    # Checkpoints at steps 5 and 10 of each epoch. The diverged trial was recorded at step 5 and
    # never reached step 10, at which epoch 1 is compared.
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            is_diverged = arm == "without" and seed == 0
            trial = trials.add(arm, seed, [], diverged_step=7 if is_diverged else None)
            for step in (5,) if is_diverged else (5, 10):
                trials.row(trial, MetricRow(step, 1, ACCURACY, 0.8, "share"))
    means = trials.verdict("higher", at_epoch=1).means
    assert means == pytest.approx({"with": 0.8, "without": (0.1 + 0.8 + 0.8) / 3})
    every = trials.verdict("at-every-checkpoint")
    assert every.at.startswith("every checkpoint from epoch 1 to 1")
    assert every.outcome == "inconclusive"


def test_every_checkpoint_counts_the_substitute_from_the_divergence_on() -> None:
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [0.50 + seed / 100, 0.60 + seed / 80, 0.70 + seed / 90])
        trials.add("without", seed, [0.4], diverged_step=12)
    verdict = trials.verdict("at-every-checkpoint")
    assert verdict.outcome == "supported"
    shown = verdict.means["with"] - verdict.means["without"]
    assert verdict.effect == pytest.approx(shown)
    assert verdict.at == "every checkpoint from epoch 1 to 3; shown: epoch 1"
    assert verdict.effect == pytest.approx(0.51 - 0.4)
    from_two = trials.verdict("at-every-checkpoint", from_epoch=2)
    assert from_two.means["without"] == pytest.approx(0.1)


def test_a_diverged_arm_of_another_batch_size_is_compared_at_the_ends_of_epochs() -> None:
    # No trial of arm without tells how long it would have trained; its first epoch was recorded.
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [0.8 + seed / 100, 0.9])
        trials.add(
            "without",
            seed,
            [0.4],
            steps_per_epoch=7,
            spec={"data": {"batch_size": 64}},
            diverged_step=9,
        )
    verdict = trials.verdict("at-every-checkpoint")
    assert verdict.at == "every checkpoint from epoch 1 to 2; shown: epoch 1"
    assert verdict.means == pytest.approx({"with": 0.81, "without": 0.4})


def test_an_arm_that_always_diverges_loses() -> None:
    trials = Trials()
    for seed in range(5):
        trials.add("with", seed, [0.9 + seed / 100])
        trials.add("without", seed, [], diverged_step=3)
    verdict = trials.verdict("higher")
    assert verdict.outcome == "supported"
    assert verdict.diverged == {"with": 0, "without": 5}
    assert verdict.means["without"] == pytest.approx(0.1)
    assert trials.verdict("at-every-checkpoint").outcome == "supported"


@pytest.mark.parametrize("kind", ["equivalent", "non-inferior", "at-every-checkpoint", "higher"])
def test_arms_that_both_diverge_are_not_compared(kind: str) -> None:
    trials = Trials()
    for seed in range(5):
        trials.add("with", seed, [], untrained=0.1, diverged_step=3)
        trials.add("without", seed, [], untrained=0.1, diverged_step=4)
    keys = {"margin": 0.1} if kind in ("equivalent", "non-inferior") else {}
    verdict = trials.verdict(kind, **keys)
    assert (verdict.outcome, verdict.p, verdict.seeds) == ("inconclusive", None, 0)
    assert "every trial" in verdict.reason and "diverged" in verdict.reason
    assert verdict.diverged == {"with": 5, "without": 5}


def test_other_metrics_cannot_use_a_diverged_trial_and_say_so() -> None:
    trials = two_arms("gradient norm")
    trials.add("with", 3, [1.0, 2.0, 3.0], "gradient norm")
    trials.add("without", 3, [1.0, 2.0, 3.0], "gradient norm")
    verdict = trials.verdict("higher", "gradient norm")
    assert verdict.seeds == 3
    assert verdict.reason.endswith(
        "; left out: seed 1, where arm 'without' diverged, and nothing stands for its gradient"
        " norm; diverged: 1 trial of 'without'"
    )
    before = trials.verdict("higher", "gradient norm", at_epoch=1)
    assert before.seeds == 4


def test_a_loss_without_a_finite_untrained_value_cannot_be_used() -> None:
    trials = two_arms(LOSS)
    for untrained in (None, math.inf):
        rows = [row for row in trials.rows if not (row[0] == "trial-3" and row[1] == 0)]
        if untrained is not None:
            rows.append(("trial-3", 0, 0, LOSS, None, None, untrained, "nat"))
        trials.rows = rows
        verdict = trials.verdict("lower", LOSS)
        assert (verdict.outcome, verdict.seeds) == ("inconclusive", 2)
        assert verdict.reason.startswith("too few seeds; left out: seed 1, where arm 'without'")
        assert "untrained network's train loss is not known" in verdict.reason


def test_summaries_count_diverged_trials_alike() -> None:
    trials = two_arms(ACCURACY, classes=4)
    first, second = summarize(trials.records, trials.metrics)
    assert (first.arm, first.metric, first.seeds, first.diverged) == ("with", ACCURACY, 3, 0)
    assert (first.mean, first.low, first.high) == pytest.approx((0.9, 0.9, 0.9))
    assert (second.arm, second.diverged, second.unit) == ("without", 1, "share")
    assert second.mean == pytest.approx((0.75 + 0.25 + 0.75) / 3)
    # values 0.75, 0.25, 0.75: s = 0.5 / √3, standard error 0.5 / 3
    half_width = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 0.5 / 3
    assert (second.low, second.high) == pytest.approx(
        (second.mean - half_width, second.mean + half_width)
    )


def test_summaries_have_a_row_per_arm_grid_point_and_recorded_metric() -> None:
    trials = Trials()
    for rate in (0.1, 0.2):
        trials.add("with", 0, [0.1, rate], grid={"lr": rate})
        trials.add("with", 1, [0.1, rate + 0.2], grid={"lr": rate})
    trials.add("without", 0, [0.5], "test loss")
    trials.add("without", 1, [math.nan], "test loss")
    rows = summarize(trials.records, trials.metrics)
    found = [(row.arm, row.metric, dict(row.grid), row.mean, row.seeds) for row in rows]
    assert found == [
        ("with", "test accuracy", {"lr": 0.1}, pytest.approx(0.2), 2),
        ("with", "test accuracy", {"lr": 0.2}, pytest.approx(0.3), 2),
        ("without", "test loss", {}, 0.5, 1),
    ]
    assert (rows[-1].low, rows[-1].high) == (None, None)
    assert summarize([], Trials().metrics) == []
    assert judge([], trials.records, trials.metrics) == []


@pytest.mark.parametrize(("loss", "expected"), [("cross-entropy", math.log(10)), ("x.py:f", 0.01)])
def test_a_network_that_starts_trained_does_not_gain_by_diverging(
    loss: str, expected: float
) -> None:
    """Its untrained loss is far below chance; a cross-entropy counts as chance, ln K, at least."""
    trials = Trials()
    spec = {"training": {"loss": loss}}
    for seed in range(3):
        trials.add("with", seed, [0.5], LOSS, untrained=0.01, diverged_step=10, spec=spec)
        trials.add("without", seed, [0.2 + seed / 100], LOSS, untrained=0.3, spec=spec)
    assert trials.verdict("lower", LOSS).means["with"] == pytest.approx(expected)
