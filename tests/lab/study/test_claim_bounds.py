"""Targets never reached and rates beyond the grid: bounds, and what may be said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bnkit.lab.store.schema import Verdict
from bnkit.lab.study.claim_bounds import Openness, Signs, is_safe, signs
from bnkit.lab.study.claim_pairs import PairedValues
from claim_trials import ERROR, T_975, Trials, check, claim, p_of

RATE = "training.optimizer.lr"
GRID = (0.01, 0.1, 1.0, 10.0)
EPOCHS = 8
NEVER = None


def epochs(with_: Sequence[int | None], without: Sequence[int | None]) -> Trials:
    """Return trials of eight epochs that reach 0.9 after so many epochs, or never."""
    trials = Trials()
    for arm, reached in (("with", with_), ("without", without)):
        for seed, first in enumerate(reached):
            late = EPOCHS + 1 if first is NEVER else first
            curve = [0.95 if epoch >= late else 0.5 for epoch in range(1, EPOCHS + 1)]
            trials.add(arm, seed, curve)
    return trials


def to_target(trials: Trials, kind: str = "lower", **keys: Any) -> Verdict:
    return trials.verdict(kind, reading="epochs-to-target", target=0.9, **keys)


def rates(with_: Sequence[int], without: Sequence[int]) -> Trials:
    """Return trials on a grid of four rates of which so many, the smaller ones, are usable."""
    trials = Trials()
    for arm, usable in (("with", with_), ("without", without)):
        for seed, count in enumerate(usable):
            for place, rate in enumerate(GRID):
                diverged = None if place < count else 5
                curve = [0.9] if place < count else []
                trials.add(arm, seed, curve, diverged_step=diverged, grid={RATE: rate})
    return trials


def largest(trials: Trials, kind: str = "higher", **keys: Any) -> Verdict:
    return trials.verdict(kind, "", reading="largest-usable", along=RATE, **keys)


def test_where_all_reach_the_target_it_is_the_paired_t_test() -> None:
    verdict = to_target(epochs([1, 2, 3], [5, 5, 5]))
    check(verdict, "supported", -3, T_975 * ERROR, p_of(3 / ERROR))
    assert (verdict.not_known, verdict.bounds, verdict.effect_bound) == ({}, {}, "")
    assert verdict.quantity == "epochs until test accuracy reaches 0.9"


def test_never_reached_is_recorded_as_such_and_not_as_a_number() -> None:
    verdict = to_target(epochs([1, 2, 3], [NEVER] * 3))
    # counts as the checkpoint after the last, epoch 9: differences −8, −7, −6
    check(verdict, "supported", -7, T_975 * ERROR, p_of(7 / ERROR))
    assert verdict.effect_bound == "≤"
    assert verdict.means == pytest.approx({"with": 2.0})
    assert verdict.not_known == {"without": "never reached in 3 of 3 trials"}
    assert verdict.reason.endswith("; 'without': never reached in 3 of 3 trials")
    some = to_target(epochs([1, 2, 3], [8, NEVER, NEVER]))
    assert some.means == pytest.approx({"with": 2.0, "without": 26 / 3})
    assert some.bounds == {"without": "≥"}
    json.dumps(some.to_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", ["higher", "lower", "which-is-better"])
def test_where_the_truth_could_undo_the_effect_only_order_counts(kind: str) -> None:
    # with: once never reached, which speaks against it by an unknown amount
    verdict = to_target(epochs([1, 2, 1, 2, 1, 2, 1, 2, NEVER], [5] * 9), kind)
    assert verdict.outcome == {"lower": "supported", "higher": "refuted"}.get(kind, "supported")
    assert verdict.p == pytest.approx(stats.binomtest(8, 9).pvalue)
    assert (verdict.effect, verdict.low, verdict.high) == (None, None, None)
    assert verdict.reason.startswith("by order alone 'with' is lower in 8 of 9 seeds that differ")
    assert verdict.winner == ("with" if kind == "which-is-better" else None)


def test_five_seeds_cannot_be_judged_by_order() -> None:
    verdict = to_target(epochs([1, 1, 1, 1, NEVER], [5, 5, 5, 5, NEVER]))
    assert verdict.outcome == "inconclusive"
    assert verdict.p == pytest.approx(2 / 16)
    assert "in 4 of 4 seeds that differ" in verdict.reason
    assert "it needs at least 6" in verdict.reason
    assert verdict.not_known == {
        "with": "never reached in 1 of 5 trials",
        "without": "never reached in 1 of 5 trials",
    }


@pytest.mark.parametrize(
    ("kind", "keys", "outcome"),
    [
        ("lower", {"margin": 2.0}, "supported"),
        ("non-inferior", {"margin": 1.0}, "supported"),
        ("equivalent", {"margin": 1.0}, "refuted"),
        ("equivalent", {"margin": 20.0}, "inconclusive"),
        ("ratio-at-least", {"factor": 0.9}, "refuted"),
        ("ratio-at-least", {"factor": 0.01}, "inconclusive"),
    ],
)
def test_a_bound_supports_only_what_the_truth_would_strengthen(
    kind: str, keys: dict[str, Any], outcome: str
) -> None:
    trials = epochs([1, 2, 1, 2, 1], [NEVER] * 5)
    assert to_target(trials, kind, **keys).outcome == outcome
    # the exact values, had training been so long, give all of them
    if outcome == "inconclusive":
        verdict = to_target(epochs([1, 2, 1, 2, 1], [8] * 5), kind, **keys)
        assert verdict.outcome == "supported"


def test_nothing_can_be_said_where_no_trial_reaches_the_target() -> None:
    verdict = to_target(epochs([NEVER] * 5, [NEVER] * 5))
    assert (verdict.outcome, verdict.p, verdict.effect) == ("inconclusive", None, None)
    assert verdict.reason == "test accuracy reaches 0.9 in no trial"
    trials = Trials()
    for seed in range(3):
        for depth in (1, 2):
            trials.add("with", seed, [0.5, 0.95 if depth == 1 else 0.5], grid={"depth": depth})
    slope = to_target(trials, "trend", along="depth", direction="higher", than=None)
    assert slope.reason == (
        "a slope needs a value of every trial, and some lack the epochs until test accuracy reaches"
        " 0.9"
    )


def test_a_diverged_trial_never_reaches_the_target_after_its_divergence() -> None:
    trials = epochs([1, 2, 3], [])
    for seed, curve in enumerate([[0.95], [0.5, 0.95], []]):
        trials.add("without", seed, curve, diverged_step=20, classes=1)
    verdict = to_target(trials)
    # classes = 1 makes what stands for accuracy 1: it must not count as reached, and no more does
    # what was recorded at the step of the divergence
    assert verdict.means["without"] == pytest.approx((1 + 9 + 9) / 3)
    assert verdict.not_known == {"without": "never reached in 2 of 3 trials"}


def test_arms_of_different_length_are_not_ordered_by_the_shorter_ones_end() -> None:
    trials = Trials()
    for seed in range(7):
        spec = {"training": {"epochs": 2}}
        trials.add("with", seed, [0.5, 0.5 if seed else 0.95], spec=spec)
        trials.add("without", seed, [0.5] * 5 + [0.95])
    verdict = to_target(trials)
    # with ends before without reaches it: known in the one seed only
    assert verdict.outcome == "inconclusive"
    assert "in 1 of 7 seeds" in verdict.reason


@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_only_an_order_that_every_truth_shares_is_counted(
    random_seed: int, goes_far: bool, is_lower: bool
) -> None:
    generator = np.random.default_rng(random_seed)
    shape = (6, 1, 1)
    values = {arm: generator.integers(1, 4, shape).astype(float) for arm in ("with", "without")}
    bounds = {arm: generator.integers(-1, 2, shape) for arm in ("with", "without")}
    paired = PairedValues(values, (), (), (), (), (), 0.0, bounds)
    better, than = (values[arm][:, 0, 0] for arm in ("with", "without"))
    found = signs(claim("lower" if is_lower else "higher"), paired, better, than)
    assert found is not None
    far = 10.0 if goes_far else 0.5
    truths = {
        arm: values[arm] + bounds[arm] * far * generator.uniform(0.1, 1, shape) for arm in values
    }
    difference = truths["with"] - truths["without"]
    assert found.above <= (difference > 0).sum()
    assert found.below <= (difference < 0).sum()
    assert found.above + found.below <= found.compared <= 6
    known = (bounds["with"] == 0) & (bounds["without"] == 0)
    assert found.above >= (known & (difference > 0)).sum()
    assert found.below >= (known & (difference < 0)).sum()


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("is_above", [False, True])
def test_what_the_truth_can_only_strengthen(above: bool, below: bool, is_above: bool) -> None:
    open_to = Openness(above, below)
    one_sided = not (below if is_above else above)
    assert is_safe(claim("higher"), 1, is_above, open_to) == one_sided
    assert is_safe(claim("equivalent", margin=1.0), -1, is_above, open_to) == one_sided
    assert is_safe(claim("equivalent", margin=1.0), 1, is_above, open_to) == (not any(open_to))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_the_sign_test_is_the_binomial_one(above: int, below: int, unknown: int) -> None:
    compared = above + below + unknown
    expected = stats.binomtest(max(above, below), compared).pvalue if compared else 1.0
    found = Signs(above, below, compared).p
    if max(above, below) * 2 >= compared:
        assert found == pytest.approx(expected)
    else:
        assert found == 1.0


def test_the_largest_usable_rate_is_compared_by_its_logarithm() -> None:
    # 1, 1, 1 against 0.01, 0.1, 0.01: two, one, two decades
    verdict = largest(rates([3, 3, 3], [1, 2, 1]))
    decades = math.log(10)
    error = ERROR * math.sqrt(1 / 3)  # the standard deviation of 2, 1, 2 is √(1/3)
    assert verdict.effect == pytest.approx(math.exp(5 / 3 * decades))
    assert verdict.low == pytest.approx(math.exp((5 / 3 - T_975 * error) * decades))
    assert verdict.p == pytest.approx(p_of(5 / 3 / error))
    assert (verdict.outcome, verdict.effect_name) == ("supported", "ratio")
    assert verdict.means == pytest.approx({"with": 1.0, "without": 10 ** (-5 / 3)})
    assert verdict.quantity == f"largest usable {RATE}"
    assert verdict.at == "on the grid from 0.01 to 10"
    assert (verdict.metric, verdict.unit, verdict.not_known) == ("", "", {})


def test_seeds_that_agree_are_as_coarse_as_the_grid() -> None:
    verdict = largest(rates([3, 3, 3], [2, 2, 2]))
    assert verdict.p == pytest.approx(p_of(math.sqrt(18)))
    assert verdict.outcome == "inconclusive"
    assert largest(rates([3, 3, 3], [1, 1, 1])).outcome == "supported"


def test_on_an_uneven_grid_the_widest_gap_counts() -> None:
    trials = Trials()
    for seed in range(3):
        for arm, count in (("with", 2), ("without", 1)):
            for place, rate in enumerate((0.1, 1.0, 100.0)):
                at = None if place < count else 5
                trials.add(arm, seed, [] if at else [0.9], diverged_step=at, grid={RATE: rate})
    # all seeds differ by one decade; two decades are the widest gap
    assert largest(trials).p == pytest.approx(p_of(math.sqrt(18) / 2))


def test_a_usable_rate_above_one_that_diverges_does_not_count() -> None:
    trials = rates([3, 3, 3], [1, 1, 1])
    hole = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            for rate in GRID:
                at = 5 if rate == 0.1 else None
                hole.add(arm, seed, [] if at else [0.9], diverged_step=at, grid={RATE: rate})
    assert largest(hole).means == pytest.approx({"with": 0.01, "without": 0.01})
    assert largest(trials).means["with"] == pytest.approx(1.0)


def test_a_rate_beyond_the_grid_counts_as_the_grids_largest_at_least() -> None:
    verdict = largest(rates([4, 4, 4], [2, 2, 1]))
    assert (verdict.outcome, verdict.effect_bound) == ("supported", "≥")
    assert verdict.not_known == {
        "with": "10, the largest of the grid, is still usable in 3 of 3 seeds"
    }
    assert "with" not in verdict.means
    assert largest(rates([4, 4, 4], [2, 2, 1]), "lower").outcome == "refuted"
    # the other way round the truth could undo it
    factor = largest(rates([4, 4, 4], [3, 3, 3]), "ratio-at-least", factor=1e4)
    assert factor.outcome == "inconclusive"


def test_a_grid_that_begins_too_high_bounds_from_above() -> None:
    verdict = largest(rates([3, 3, 3], [0, 0, 0]))
    assert (verdict.outcome, verdict.effect_bound) == ("supported", "≥")
    assert verdict.not_known == {
        "without": "0.01, the smallest of the grid, diverges already in 3 of 3 seeds"
    }
    nothing = largest(rates([0, 0, 0], [0, 0, 0]))
    assert nothing.reason.startswith(f"the smallest {RATE} of the grid diverges already")
    everything = largest(rates([4] * 7, [4] * 7))
    assert (everything.outcome, everything.p, everything.effect) == ("inconclusive", 1.0, None)
    assert everything.reason.startswith(
        "in no seed is it known which arm is ahead; 'with': 10, the"
    )


def test_the_better_arm_of_a_rate_is_the_one_that_bears_more() -> None:
    assert largest(rates([3, 3, 3], [1, 1, 1]), "which-is-better").winner == "with"
    assert largest(rates([1, 1, 1], [3, 3, 3]), "which-is-better").winner == "without"


@pytest.mark.parametrize(
    ("values", "words"),
    [(["a", "b"], "not all numbers above 0"), ([0.0, 1.0], "above 0"), ([1.0], "one value only")],
)
def test_a_grid_without_rates(values: list[Any], words: str) -> None:
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            for value in values:
                trials.add(arm, seed, [0.5], grid={RATE: value})
    verdict = largest(trials)
    assert (verdict.outcome, verdict.p) == ("inconclusive", None)
    assert words in verdict.reason


def test_other_grid_keys_are_averaged_geometrically_or_fixed() -> None:
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            for batch, count in ((16, 1), (32, 3)):
                for place, rate in enumerate(GRID):
                    at = None if place < count else 5
                    grid = {RATE: rate, "data.batch_size": batch}
                    trials.add(arm, seed, [] if at else [0.9], diverged_step=at, grid=grid)
    assert largest(trials).means["with"] == pytest.approx(0.1)
    assert largest(trials).at.endswith("averaged over 2 grid points")
    one = largest(trials, where={"data.batch_size": 32})
    assert one.means["with"] == pytest.approx(1.0)


def test_claims_of_one_study_share_the_adjustment() -> None:
    trials = rates([3, 3, 3], [1, 2, 1])
    first = claim("higher", "", id="rate", reading="largest-usable", along=RATE)
    second = claim("higher", id="accuracy", where={RATE: 0.01})
    verdicts = trials.judge(first, second)
    assert verdicts[0].p is not None
    assert verdicts[0].p_adjusted == pytest.approx(2 * verdicts[0].p)
