from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from claim_trials import ERROR, T_975, TREND, Trials, check, claim, grid_trials, last_values, p_of


@pytest.mark.parametrize("wrong", [{"effect": 2.01}, {"half_width": 4.0}, {"p": 0.05}])
def test_the_check_can_fail(wrong: dict[str, Any]) -> None:
    verdict = last_values([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).verdict("higher")
    right = {"effect": 2.0, "half_width": T_975 / math.sqrt(3), "p": p_of(2 * math.sqrt(3))}
    check(verdict, "inconclusive", **right)
    with pytest.raises(AssertionError):
        check(verdict, "inconclusive", **{**right, **wrong})
    with pytest.raises(AssertionError):
        check(verdict, "supported", **right)


# Differences 10 + (-1, 0, 1): mean 10, s = 1, standard error 1/√3.
UP = last_values([19.0, 31.0, 52.0], [10.0, 21.0, 41.0])
DOWN = last_values([10.0, 21.0, 41.0], [19.0, 31.0, 52.0])


@pytest.mark.parametrize(
    ("trials", "kind", "keys", "outcome", "boundary"),
    [
        (UP, "higher", {}, "supported", 0),
        (UP, "lower", {}, "refuted", 0),
        (DOWN, "lower", {}, "supported", 0),
        (DOWN, "higher", {}, "refuted", 0),
        (UP, "higher", {"margin": 5.0}, "supported", 5),
        (UP, "higher", {"margin": 9.0}, "inconclusive", 9),
        (UP, "lower", {"margin": 5.0}, "refuted", 5),
        (DOWN, "lower", {"margin": 5.0}, "supported", -5),
        (DOWN, "higher", {"margin": 9.0}, "inconclusive", -9),
        (UP, "equivalent", {"margin": 14.0}, "supported", 14),
        (UP, "equivalent", {"margin": 11.0}, "inconclusive", 11),
        (UP, "equivalent", {"margin": 9.0}, "inconclusive", 9),
        (UP, "equivalent", {"margin": 5.0}, "refuted", 5),
        (DOWN, "equivalent", {"margin": 14.0}, "supported", -14),
        (DOWN, "equivalent", {"margin": 5.0}, "refuted", -5),
        (DOWN, "non-inferior", {"margin": 14.0}, "supported", -14),
        (DOWN, "non-inferior", {"margin": 11.0}, "inconclusive", -11),
        (DOWN, "non-inferior", {"margin": 5.0}, "refuted", -5),
        (UP, "non-inferior", {"margin": 5.0}, "supported", -5),
        (UP, "non-inferior", {"margin": 14.0, "direction": "lower"}, "supported", 14),
        (UP, "non-inferior", {"margin": 5.0, "direction": "lower"}, "refuted", 5),
        (UP, "which-is-better", {}, "supported", 0),
        (DOWN, "which-is-better", {"margin": 5.0}, "supported", -5),
        (DOWN, "which-is-better", {"margin": 9.0}, "inconclusive", -9),
        (UP, "at-every-checkpoint", {}, "supported", 0),
        (DOWN, "at-every-checkpoint", {}, "refuted", 0),
    ],
)
def test_kinds_by_hand(
    trials: Trials, kind: str, keys: dict[str, Any], outcome: str, boundary: float
) -> None:
    effect = 10.0 if trials is UP else -10.0
    p = p_of((effect - boundary) / ERROR)
    check(trials.verdict(kind, **keys), outcome, effect, T_975 * ERROR, p)


@pytest.mark.parametrize("kind", ["higher", "lower", "which-is-better", "at-every-checkpoint"])
def test_within_the_margin_no_difference_counts(kind: str) -> None:
    verdict = UP.verdict(kind, margin=11.0)
    check(verdict, "inconclusive", 10.0, T_975 * ERROR, 1.0)
    assert verdict.reason.endswith("does not lie beyond ±11")


def test_p_and_interval_are_those_of_the_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    better, than = generator.normal(0.9, 0.05, 7), generator.normal(0.85, 0.05, 7)
    expected = stats.ttest_rel(better, than)
    bounds = expected.confidence_interval(0.95)
    verdict = last_values(list(better), list(than)).verdict("higher")
    assert verdict.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (verdict.low, verdict.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    assert verdict.means == pytest.approx({"with": better.mean(), "without": than.mean()})
    assert (verdict.seeds, verdict.effect_name, verdict.unit) == (7, "difference", "share")


@pytest.mark.parametrize(("kind", "outcome"), [("higher", "supported"), ("lower", "refuted")])
def test_one_arm_against_a_number_is_the_t_test_of_one_sample(kind: str, outcome: str) -> None:
    values = np.random.default_rng(0).normal(0.9, 0.05, 7)
    expected = stats.ttest_1samp(values, 0.8)
    bounds = expected.confidence_interval(0.95)
    verdict = last_values(list(values), [0.1] * 7).verdict(kind, than=None, than_value=0.8)
    assert verdict.outcome == outcome, verdict.reason
    assert verdict.p == pytest.approx(expected.pvalue, rel=1e-9)
    shifted = (bounds.low - 0.8, bounds.high - 0.8)
    assert (verdict.low, verdict.high) == pytest.approx(shifted, rel=1e-9)
    assert verdict.effect == pytest.approx(values.mean() - 0.8)
    assert (verdict.arms, verdict.seeds) == (("with",), 7)
    assert verdict.means == pytest.approx({"with": values.mean()})


def test_values_that_are_the_number_show_nothing() -> None:
    zeros = last_values([0.0] * 5, [0.1] * 5)
    assert zeros.verdict("higher", than=None, than_value=0.0).outcome == "inconclusive"


def test_which_is_better_names_the_winner_by_direction() -> None:
    assert UP.verdict("which-is-better").winner == "with"
    assert DOWN.verdict("which-is-better").winner == "without"
    verdict = UP.verdict("which-is-better", direction="lower")
    assert verdict.winner == "without"
    assert verdict.reason == "the 95 % interval [7.5, 12.5] lies above 0, so 'without' is better"
    losses = last_values([19.0, 31.0, 52.0], [10.0, 21.0, 41.0], metric="test loss")
    assert losses.verdict("which-is-better", "test loss").winner == "without"
    assert UP.verdict("which-is-better", margin=9.0).winner is None


@pytest.mark.parametrize(
    ("factor", "outcome"), [(4.0, "supported"), (8.0, "inconclusive"), (20.0, "refuted")]
)
def test_a_ratio_is_judged_by_its_logarithm(factor: float, outcome: str) -> None:
    # log ratios log 8 + (-1, 0, 1) · log 1.2, so that s = log 1.2
    trials = last_values([8 / 1.2, 16.0, 24 * 1.2], [1.0, 2.0, 3.0])
    verdict = trials.verdict("ratio-at-least", factor=factor)
    error = math.log(1.2) / math.sqrt(3)
    assert verdict.outcome == outcome, verdict.reason
    assert verdict.effect_name == "ratio"
    assert verdict.effect == pytest.approx(8.0)
    assert verdict.low == pytest.approx(8 * math.exp(-T_975 * error))
    assert verdict.high == pytest.approx(8 * math.exp(T_975 * error))
    expected = 1.0 if factor == 8.0 else p_of((math.log(8) - math.log(factor)) / error)
    assert verdict.p == pytest.approx(expected)


@pytest.mark.parametrize(
    ("keys", "outcome", "slope"),
    [
        ({"direction": "higher", "than": None}, "supported", 10.0),
        ({"direction": "lower", "than": None}, "refuted", 10.0),
        ({"direction": "higher"}, "supported", 14.0),
        ({"direction": "lower"}, "refuted", 14.0),
        ({"direction": "higher", "where": {"data.batch_size": 16}}, "supported", 14.0),
    ],
)
def test_a_trend_is_judged_by_the_slopes_of_the_seeds(
    keys: dict[str, Any], outcome: str, slope: float
) -> None:
    trials = grid_trials([9.0, 10.0, 11.0], [-4.0, -4.0, -4.0])
    verdict = trials.verdict("trend", **TREND, **keys)
    per_e = 1 / math.log(10)
    half_width = T_975 * ERROR * per_e
    check(verdict, outcome, slope * per_e, half_width, p_of(slope / ERROR))
    assert verdict.effect_name == "slope"
    assert "along the natural logarithm of training.optimizer.lr" in verdict.at


def test_a_linear_trend_and_its_margin() -> None:
    trials = Trials()
    for seed, slope in enumerate([9.0, 10.0, 11.0]):
        for depth in (1, 2, 4):
            trials.add("with", seed, [slope * depth], grid={"network.args.depth": depth})
    keys = {"along": "network.args.depth", "direction": "higher", "than": None}
    check(trials.verdict("trend", **keys), "supported", 10, T_975 * ERROR, p_of(10 / ERROR))
    verdict = trials.verdict("trend", **keys, margin=9.0)
    check(verdict, "inconclusive", 10, T_975 * ERROR, p_of(1 / ERROR))
    assert verdict.reason == "the 95 % interval [7.5, 12.5] includes 9"


def curves(shifts: list[tuple[float, float, float]]) -> Trials:
    """Per epoch, the differences of three seeds."""
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [100 + seed + shift[seed] for shift in shifts])
        trials.add("without", seed, [100.0 + seed for _ in shifts])
    return trials


def test_every_checkpoint_takes_the_largest_p() -> None:
    trials = curves([(19, 20, 21), (9, 10, 11), (14, 15, 16)])
    verdict = trials.verdict("at-every-checkpoint")
    check(verdict, "supported", 10, T_975 * ERROR, p_of(10 / ERROR))
    assert verdict.at == "every checkpoint from epoch 1 to 3; shown: epoch 2"
    assert verdict.reason == (
        "at epoch 2, the weakest of 3 checkpoints, the 95 % interval [7.5, 12.5] lies above 0"
    )
    assert verdict.means == pytest.approx({"with": 111.0, "without": 101.0})
    weak = curves([(19, 20, 21), (-1, 1, 6)]).verdict("at-every-checkpoint")
    assert weak.outcome == "inconclusive"
    assert weak.p == pytest.approx(p_of(2 / math.sqrt(13 / 3)))


@pytest.mark.parametrize(("count", "outcome"), [(2, "refuted"), (20, "inconclusive")])
def test_every_checkpoint_is_refuted_after_bonferroni(count: int, outcome: str) -> None:
    trials = curves([(19, 20, 21)] * (count - 1) + [(-11, -10, -9)])
    verdict = trials.verdict("at-every-checkpoint")
    check(verdict, outcome, -10, T_975 * ERROR, min(1, count * p_of(10 / ERROR)))
    assert verdict.reason.startswith(f"at epoch {count}, one of {count} checkpoints, ")
    assert ("after Bonferroni" in verdict.reason) == (outcome == "inconclusive")


def test_the_checkpoint_that_decides_is_shown() -> None:
    most_against = curves([(-6, -5, -4), (-21, -20, -19), (-11, -10, -9)])
    assert most_against.verdict("at-every-checkpoint").effect == pytest.approx(-20)
    too_small = curves([(7, 8, 9), (3, 4, 5), (5, 6, 7)])
    assert too_small.verdict("at-every-checkpoint", margin=10).effect == pytest.approx(4)
    falling = curves([(-9, -8, -7), (-5, -4, -3), (-7, -6, -5)])
    keys = {"margin": 10, "direction": "lower"}
    assert falling.verdict("at-every-checkpoint", **keys).effect == pytest.approx(-4)


def test_two_seeds_show_the_weakest_checkpoint() -> None:
    trials = Trials()
    for seed in range(2):
        trials.add("with", seed, [0.9, 0.6 + seed / 10, 0.8])
        trials.add("without", seed, [0.5, 0.5, 0.5])
    verdict = trials.verdict("at-every-checkpoint")
    assert (verdict.reason, verdict.p) == ("too few seeds", None)
    assert verdict.effect == pytest.approx(0.15)


def test_from_epoch_and_at_epoch_choose_checkpoints() -> None:
    trials = curves([(-11, -10, -9), (9, 10, 11), (19, 20, 21)])
    assert trials.verdict("at-every-checkpoint").outcome == "refuted"
    later = trials.verdict("at-every-checkpoint", from_epoch=2)
    assert (later.outcome, later.effect) == ("supported", pytest.approx(10))
    assert trials.verdict("higher", at_epoch=1).effect == pytest.approx(-10)
    last = trials.verdict("higher")
    assert (last.effect, last.at) == (pytest.approx(20), "the last epoch (3)")


def test_holm_spans_the_claims_that_could_be_tested() -> None:
    # the second claim doubles p; the two that cannot be tested do not
    t = 10 / ERROR
    claims = [
        claim("higher"),
        claim("lower", id="other"),
        claim("higher", id="missing", metric="no such metric"),
        claim("higher", id="late", at_epoch=7),
    ]
    verdicts = UP.judge(*claims)
    assert [v.p_adjusted for v in verdicts[:2]] == pytest.approx([2 * p_of(t)] * 2)
    assert [v.p_adjusted for v in verdicts[2:]] == [None, None]
    many = [claim("higher", id=f"copy-{i}") for i in range(17)] + claims[2:]
    crowded = UP.judge(*many)
    assert {v.outcome for v in crowded} == {"inconclusive"}
    assert crowded[0].p_adjusted == pytest.approx(17 * p_of(t))
    assert crowded[0].p == pytest.approx(p_of(t))
    assert crowded[0].reason == (
        "the 95 % interval [7.5, 12.5] lies above 0, but p adjusted for 17 claims is 0.0564"
    )


def test_grid_points_are_averaged_within_a_seed_unless_where_picks_one() -> None:
    trials = Trials()
    for seed in range(3):
        for rate, difference in ((0.1, 1.0), (0.2, 5.0 + seed)):
            trials.add("with", seed, [difference], grid={"training.optimizer.lr": rate})
            trials.add("without", seed, [0.0], grid={"training.optimizer.lr": rate})
    pooled = trials.verdict("higher")
    check(pooled, "supported", 3.5, T_975 * 0.5 * ERROR, p_of(3.5 / (0.5 * ERROR)))
    assert pooled.at == "the last epoch (1), averaged over 2 grid points"
    one = trials.verdict("higher", where={"training.optimizer.lr": 0.2})
    check(one, "supported", 6.0, T_975 * ERROR, p_of(6 / ERROR))
    assert one.at == "the last epoch (1), at training.optimizer.lr = 0.2"


def test_the_last_checkpoint_of_an_epoch_counts() -> None:
    trials = Trials()
    for seed in range(3):
        for arm, values in (("with", [0.0, 9 + seed]), ("without", [5.0, 0.0])):
            trial = trials.add(arm, seed, [])
            for step, value in zip((5, 10), values, strict=True):
                trials.rows.append((trial, step, 1, "test accuracy", None, None, value, "share"))
    assert trials.verdict("higher", at_epoch=1).effect == pytest.approx(10)
    every = trials.verdict("at-every-checkpoint")
    assert (every.outcome, every.at) == (
        "refuted",
        "every checkpoint from epoch 1 to 1; shown: step 5 (epoch 1)",
    )


def test_arms_of_different_batch_size_are_compared_at_equal_epochs() -> None:
    trials = Trials()
    for seed in range(3):
        trials.add("with", seed, [9.0 + seed, 19.0 + seed, 0.0], steps_per_epoch=4)
        trials.add("without", seed, [0.0, 0.0], steps_per_epoch=8, spec={"data": {"b": 2}})
    verdict = trials.verdict("at-every-checkpoint")
    check(verdict, "supported", 10, T_975 * ERROR, p_of(10 / ERROR))
    assert verdict.at == "every checkpoint from epoch 1 to 2; shown: epoch 1"


def test_the_bootstrap_stands_beside_the_interval_from_ten_seeds_on() -> None:
    generator = np.random.default_rng(3)
    better, than = generator.gamma(2.0, size=10) + 3, generator.gamma(2.0, size=10) + 1
    verdict = last_values(list(better), list(than)).verdict("higher")
    expected = stats.bootstrap(
        (better - than,), np.mean, method="BCa", rng=np.random.default_rng(20150211)
    ).confidence_interval
    found = (verdict.bootstrap_low, verdict.bootstrap_high)
    assert found == pytest.approx((expected.low, expected.high))
    ratio = last_values(list(better), list(than)).verdict("ratio-at-least", factor=1.0)
    assert ratio.bootstrap_low is not None and ratio.effect is not None
    assert 0 < ratio.bootstrap_low < ratio.effect
    nine = last_values(list(better[:9]), list(than[:9])).verdict("higher")
    assert (nine.bootstrap_low, nine.bootstrap_high) == (None, None)


def test_what_the_claim_states_comes_back_and_is_plain_data() -> None:
    verdict = UP.verdict("higher", id="accuracy", published={"with": 0.991, "without": 0.924})
    assert (verdict.id, verdict.text, verdict.arms) == ("accuracy", "a claim", ("with", "without"))
    assert verdict.published == {"with": 0.991, "without": 0.924}
    content = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert content["outcome"] == "supported"
    assert content["reason"] == "the 95 % interval [7.5, 12.5] lies above 0"


def test_a_verdict_that_differs_from_the_source_says_so() -> None:
    agrees, opposite = (UP.verdict(k, published_outcome="supported") for k in ("higher", "lower"))
    assert "the source" not in agrees.reason
    assert opposite.outcome == "refuted"
    assert opposite.reason.endswith(
        "; the source found this supported: this study finds the opposite"
    )
    few = last_values([1.0, 2.0], [0.0, 1.5]).verdict("higher", published_outcome="supported")
    assert few.outcome == "inconclusive"
    assert few.reason.endswith("; the source found this supported: this study does not decide it")
