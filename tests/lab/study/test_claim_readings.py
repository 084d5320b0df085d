"""What one trial gives: best value, mean over training, fluctuation, epochs to a target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnkit.lab.store.schema import MetricRow
from bnkit.lab.study.claim_readings import fluctuation, mean_over_training
from claim_trials import ERROR, T_975, Trials, check, p_of

ACCURACY, LOSS = "test accuracy", "test loss"
LENGTH = 3  # epochs of ten steps


def arms(with_: list[list[float]], without: list[list[float]], metric: str = ACCURACY) -> Trials:
    """Return trials whose untrained network has the value 0.1, one list of epochs per seed."""
    trials = Trials()
    for arm, curves in (("with", with_), ("without", without)):
        for seed, curve in enumerate(curves):
            trials.add(arm, seed, curve, metric, untrained=0.1)
    return trials


FLAT = [[0.5, 0.5, 0.5]] * 3


@pytest.mark.parametrize(
    ("metric", "keys", "expected"),
    [
        # trapezoid of 0.1, 0.7, 0.3, 0.5 over four equally spaced checkpoints, divided by three
        (ACCURACY, {"reading": "area"}, (0.05 + 0.7 + 0.3 + 0.25) / 3),
        (ACCURACY, {"reading": "area", "from_epoch": 1}, (0.35 + 0.3 + 0.25) / 2),
        (ACCURACY, {"reading": "area", "from_epoch": 3}, 0.5),
        (ACCURACY, {"reading": "best"}, 0.7),
        (ACCURACY, {"reading": "best", "from_epoch": 2}, 0.5),
        (LOSS, {"reading": "best"}, 0.3),
        (ACCURACY, {"reading": "fluctuation"}, 0.4),
        (LOSS, {"reading": "fluctuation"}, 0.6 + 0.2),
        (LOSS, {"reading": "fluctuation", "from_epoch": 1}, 0.2),
        (ACCURACY, {"reading": "epochs-to-target", "target": 0.6}, 1.0),
        (ACCURACY, {"reading": "epochs-to-target", "target": 0.1}, 0.0),
        (LOSS, {"reading": "epochs-to-target", "target": 0.05}, 3.0),
    ],
)
def test_readings_by_hand(metric: str, keys: dict[str, Any], expected: float) -> None:
    curve = [0.7, 0.3, 0.05 if expected == 3.0 else 0.5]
    verdict = arms([curve] * 3, [curve] * 3, metric).verdict("higher", metric, **keys)
    assert verdict.means == pytest.approx({"with": expected, "without": expected})


def test_an_area_weighs_checkpoints_by_their_distance() -> None:
    trials = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            trial = trials.add(arm, seed, [])
            for step, value in ((0, 0.0), (10, 1.0), (40, 0.4)):
                trials.row(trial, MetricRow(step, -(-step // 10), ACCURACY, value, "share"))
    verdict = trials.verdict("higher", reading="area")
    assert verdict.means["with"] == pytest.approx((10 * 0.5 + 30 * 0.7) / 40)


values = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


@given(values, st.floats(-10, 10))
def test_properties_of_fluctuation(curve: list[float], constant: float) -> None:
    array = np.array(curve)
    for wants_low in (False, True):
        found = fluctuation(array, wants_low=wants_low)
        assert found >= 0
        assert fluctuation(array + constant, wants_low=wants_low) == pytest.approx(found, abs=1e-9)
        assert fluctuation(-array, wants_low=not wants_low) == pytest.approx(found)
    # what rises and falls sums to the total variation; their difference is the way made
    falls, rises = fluctuation(array, wants_low=False), fluctuation(array, wants_low=True)
    assert falls + rises == pytest.approx(np.abs(np.diff(array)).sum(), abs=1e-9)
    assert rises - falls == pytest.approx(array[-1] - array[0], abs=1e-9)


@given(values, st.floats(-10, 10), st.floats(0.1, 10))
def test_properties_of_the_mean_over_training(
    curve: list[float], constant: float, unit: float
) -> None:
    array, steps = np.array(curve), np.cumsum(np.arange(1.0, len(curve) + 1))
    found = mean_over_training(steps, array)
    assert min(curve) - 1e-9 <= found <= max(curve) + 1e-9
    assert mean_over_training(unit * steps, array) == pytest.approx(found, abs=1e-9)
    assert mean_over_training(steps, array + constant) == pytest.approx(found + constant, abs=1e-8)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        # epoch 1 recorded 0.4, diverged at step 15 of 30, chance 0.1 from there on
        ({"reading": "area"}, (10 * 0.25 + 5 * 0.25 + 15 * 0.1) / 30),
        ({"reading": "best"}, 0.4),
        ({"reading": "fluctuation"}, 0.3),
        ({"reading": "best", "from_epoch": 3}, 0.1),
    ],
)
def test_a_diverged_trial_goes_on_with_what_stands_for_it(
    keys: dict[str, Any], expected: float
) -> None:
    trials = arms([[0.8, 0.9, 0.95]] * 3, [])
    for seed in range(3):
        trials.add("without", seed, [0.4], untrained=0.1, diverged_step=15)
    verdict = trials.verdict("higher", **keys)
    assert verdict.means["without"] == pytest.approx(expected)
    assert verdict.diverged == {"with": 0, "without": 3}


def test_an_area_needs_to_know_how_long_training_would_have_gone_on() -> None:
    trials = arms([[0.8, 0.9]] * 3, [])
    for seed in range(3):
        keys = {"diverged_step": 5, "spec": {"training": {"epochs": 7}}}
        trials.add("without", seed, [], untrained=0.1, **keys)
    assert (
        "no trial of its length tells how long" in trials.verdict("higher", reading="area").reason
    )
    assert trials.verdict("higher", reading="best").means["without"] == pytest.approx(0.1)


@pytest.mark.parametrize("reading", ["best", "area", "fluctuation"])
def test_arms_that_both_diverge_are_not_compared(reading: str) -> None:
    trials = Trials()
    for seed in range(4):
        for arm in ("with", "without"):
            trials.add(arm, seed, [0.4, 0.3], untrained=0.1, diverged_step=20)
    verdict = trials.verdict("higher", reading=reading)
    assert (verdict.outcome, verdict.seeds) == ("inconclusive", 0)


@pytest.mark.parametrize("reading", ["best", "area", "fluctuation", "epochs-to-target"])
def test_a_curve_with_a_value_that_is_not_finite_is_left_out(reading: str) -> None:
    trials = arms([[0.5, 0.9, 0.95]] * 4, [[0.5, 0.9, 0.95]] * 3 + [[0.5, math.nan, 0.9]])
    target = {"target": 0.9} if reading == "epochs-to-target" else {}
    verdict = trials.verdict("lower", reading=reading, **target)
    assert verdict.seeds == 3
    assert "left out: seed 3, where arm 'without' has a test accuracy that is not" in verdict.reason


def test_epochs_are_counted_to_the_checkpoint_within_an_epoch() -> None:
    trials = Trials()
    for seed in range(3):
        for arm, first in (("with", 15), ("without", 40)):
            trial = trials.add(arm, seed, [])
            for step in range(5, 45, 5):
                value = 0.9 if step >= first else 0.5
                trials.row(trial, MetricRow(step, -(-step // 10), ACCURACY, value, "share"))
    verdict = trials.verdict("lower", reading="epochs-to-target", target=0.9)
    assert verdict.means == pytest.approx({"with": 1.5, "without": 4.0})
    assert (verdict.unit, verdict.at) == ("epochs", "within 4 epochs")
    # all seeds agree, so the spread is that of values rounded to half an epoch
    check(verdict, "supported", -2.5, T_975 * 0.5 / math.sqrt(18), p_of(5 * math.sqrt(18)))


def test_a_trend_of_a_reading() -> None:
    trials = Trials()
    for seed, slope in enumerate([9.0, 10.0, 11.0]):
        for depth in (1, 2, 4):
            trials.add("with", seed, [slope * depth, 0.0], grid={"depth": depth})
    keys = {"along": "depth", "direction": "higher", "than": None, "reading": "best"}
    verdict = trials.verdict("trend", **keys)
    check(verdict, "supported", 10, T_975 * ERROR, p_of(10 / ERROR))
    assert verdict.quantity == "best test accuracy"


def test_batch_norm_that_degrades_at_small_batches_is_a_difference_of_trends() -> None:
    trials = Trials()
    for seed in range(3):
        for batch in (2, 8, 32):
            grid = {"data.batch_size": batch}
            trials.add("group", seed, [0.8 + seed / 1000], grid=grid)
            loss = (0.02 + seed / 1000) * math.log(32 / batch)
            trials.add("batch", seed, [0.8 - loss], grid=grid)
    keys = {"along": "data.batch_size", "scale": "log", "direction": "higher"}
    verdict = trials.verdict("trend", better="batch", than="group", **keys)
    check(verdict, "supported", 0.021, T_975 * 0.001 * ERROR, p_of(21 / ERROR))
    alone = trials.verdict("trend", better="group", than=None, **keys)
    assert (alone.outcome, alone.effect) == ("inconclusive", pytest.approx(0.0))


@pytest.mark.parametrize(
    ("across", "expected"),
    [("mean", 0.5), ("range", 0.6), ("deviation", np.std([0.2, 0.5, 0.8], ddof=1))],
)
def test_what_becomes_of_grid_points(across: str, expected: float) -> None:
    trials = Trials()
    for seed in range(3):
        for sigma, value in ((0.01, 0.2), (0.1, 0.8), (1.0, 0.5)):
            trials.add("with", seed, [value], grid={"sigma": sigma})
            trials.add("without", seed, [0.5 + 2 * (value - 0.5)], grid={"sigma": sigma})
    verdict = trials.verdict("lower", across=across)
    assert verdict.means["with"] == pytest.approx(expected)
    if across != "mean":
        assert verdict.means["without"] == pytest.approx(2 * expected)
        assert verdict.at == "the last epoch (1), over 3 grid points"
        ratio = trials.verdict("ratio-at-least", across=across, factor=0.4)
        assert ratio.effect == pytest.approx(0.5)


def test_a_spread_needs_two_grid_points_and_a_ratio_of_spreads_needs_some() -> None:
    one = arms(FLAT, FLAT).verdict("lower", across="range")
    assert one.reason == "there is one grid point only, so nothing varies over the grid"
    flat = Trials()
    for seed in range(3):
        for arm in ("with", "without"):
            for place in (1, 2):
                flat.add(arm, seed, [0.5], grid={"place": place})
    verdict = flat.verdict("ratio-at-least", across="deviation", factor=1.0)
    assert verdict.reason == (
        "a ratio needs values above 0; standard deviation of test accuracy over the grid of arm"
        " 'with' has 0"
    )


def test_a_claim_may_name_a_layer_and_a_key() -> None:
    trials = Trials()
    for seed in range(3):
        for arm, factor in (("with", 2.0), ("without", 1.0)):
            trial = trials.add(arm, seed, [])
            for layer, value in (("conv1", 3.0), ("conv2", 5.0 + seed)):
                for key in ("15", "85"):
                    value *= factor
                    trials.row(trial, MetricRow(10, 1, "shift", value, "sd", layer, key))
    verdict = trials.verdict("higher", "shift", layer="conv2", key="15")
    assert verdict.means == pytest.approx({"with": 12.0, "without": 6.0})
    assert verdict.quantity == "shift of layer conv2, key 15"
    missing = trials.verdict("higher", "shift", layer="conv3", key="15")
    assert missing.reason == (
        "'shift of layer conv3, key 15' was not recorded; there are layer conv1, key 15;"
        " layer conv1, key 85; layer conv2, key 15; layer conv2, key 85"
    )
