"""Curves: what is averaged over which trials, and where it is drawn."""

from __future__ import annotations

import math
from statistics import fmean

import polars as pl
import pytest
from scipy import stats

from bnkit.lab.report.curves import curves_of
from bnkit.lab.report.points import recorded
from bnkit.lab.report.students_t import half_width_factor

ROOM = 100_000


def curves(study, metrics=None, room=ROOM):
    found = recorded(study.settings, study.trials, study.metrics if metrics is None else metrics)
    own = found.points.partition_by("metric", as_dict=True)
    lost = found.lost.partition_by("metric", as_dict=True)
    empty = found.points.clear()
    return [
        curve
        for name in dict.fromkeys([*own, *lost])
        for curve in curves_of(found, own.get(name, empty), room, lost.get(name, empty))
    ]


def curve_of(study, metric="test accuracy", arm="with"):
    (found,) = [each for each in curves(study) if (each.metric, each.arm) == (metric, arm)]
    return found


def values_at(study, step, metric="test accuracy", arm="with", seeds=range(99)):
    ids = {trial.id for trial in study.trials if trial.arm == arm and trial.seed in seeds}
    rows = study.metrics.filter(pl.col("trial").is_in(list(ids)), step=step, metric=metric)
    return rows["value"].to_list()


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_factor_is_students_t_over_root_n(seeds):
    low, high = stats.t.interval(0.95, seeds - 1, loc=0, scale=1 / math.sqrt(seeds))
    assert half_width_factor(seeds) == pytest.approx(high, rel=1e-12)
    assert -half_width_factor(seeds) == pytest.approx(low, rel=1e-12)


def test_two_seeds_by_hand():
    # t(0.975; 1) = 12.7062, so the factor is 12.7062 / √2
    assert half_width_factor(2) == pytest.approx(8.98464, abs=1e-4)


def test_mean_interval_and_range_of_every_step(make_study):
    study = make_study(epochs=4)
    curve = curve_of(study)
    assert curve.steps == [0, 45, 90, 135, 180]
    assert curve.steps_per_epoch == 45
    assert curve.seeds == [5] * 5
    for place, step in enumerate(curve.steps):
        values = values_at(study, step)
        low, high = stats.t.interval(0.95, 4, loc=fmean(values), scale=stats.sem(values))
        assert (curve.least[place], curve.most[place]) == (min(values), max(values))
        found = [curve.mean[place], curve.low[place], curve.high[place]]
        assert found == pytest.approx([fmean(values), low, high])
        assert [curve.trials[seed][place] for seed in range(5)] == pytest.approx(values)


def test_one_seed_has_no_interval(make_study):
    curve = curve_of(make_study(seeds=(7,), epochs=2))
    assert (curve.low, curve.high, curve.seeds) == ([None] * 3, [None] * 3, [1] * 3)


def test_a_diverged_trial_counts_up_to_its_step(make_study):
    study = make_study(epochs=4, diverged={("with", 0, 2): 135})
    curve = curve_of(study, metric="train loss")
    assert curve.seeds == [5, 5, 5, 4, 4]
    left = values_at(study, 135, metric="train loss", seeds={0, 1, 3, 4})
    assert curve.mean[3] == pytest.approx(fmean(left))
    assert curve.trials[2][3:] == [None, None]
    (place,) = curve.divergences
    (last,) = values_at(study, 90, metric="train loss", seeds={2})
    assert (place.seed, place.step, place.last_value) == (2, 135, last)


def test_an_arm_that_diverged_before_any_value_is_marked(make_study):
    study = make_study(epochs=2, diverged={("with", 0, seed): 0 for seed in range(5)})
    curve = curve_of(study)
    assert curve.steps == []
    assert [place.step for place in curve.divergences] == [0] * 5


def test_values_that_are_not_finite_are_gaps_and_counted(make_study):
    study = make_study(epochs=2)
    value = pl.when(pl.col("step") == 45).then(math.inf).otherwise("value")
    broken = study.metrics.with_columns(value=value)
    for curve in curves(study, broken):
        assert curve.steps == [0, 45, 90]
        assert [value is None for value in curve.mean] == [False, True, False]
        assert all(values[1] is None for values in curve.trials.values())
    gaps = recorded(study.settings, study.trials, broken).gaps["test loss"]
    assert gaps.text == "10 values are not finite (10 infinite) and left out: gaps."


def test_steps_within_an_epoch_lie_between_whole_epochs(make_study):
    study = make_study(epochs=2)
    # a checkpoint every 15 steps of 45 an epoch; the epoch is rounded up, as the loop does
    finer = study.metrics.with_columns(
        step=pl.col("step") // 3, epoch=(pl.col("epoch") / 3).ceil().cast(pl.Int32)
    )
    later = study.metrics.filter(pl.col("step") > 0).with_columns(
        step=pl.col("step") // 3 + 30, epoch=((pl.col("epoch") + 2) / 3).ceil().cast(pl.Int32)
    )
    curve = curves(study, pl.concat([finer, later]))[0]
    assert curve.steps == [0, 15, 30, 45, 60]
    assert curve.steps_per_epoch == 45


def test_layers_and_keys_have_curves_of_their_own(make_study):
    study = make_study(epochs=1)
    parts = [
        study.metrics.filter(metric="train loss").with_columns(
            layer=pl.lit(layer), key=pl.lit(key), metric=pl.lit("x"), value=pl.lit(value)
        )
        for layer, key, value in (("a", "1", 1.0), ("a", "2", 2.0), ("b", None, 3.0))
    ]
    found = curves(study, pl.concat(parts))
    assert [(each.layer, each.key, each.mean[0]) for each in found[::2]] == [
        ("a", "1", 1.0),
        ("a", "2", 2.0),
        ("b", None, 3.0),
    ]


def test_order_is_grid_then_arms(make_study):
    grids = [{"data.batch_size": 8}, {"data.batch_size": 32}]
    study = make_study(grids=grids, epochs=1)
    assert [(curve.grid, curve.arm) for curve in curves(study)[:4]] == [
        (grids[0], "without"),
        (grids[0], "with"),
        (grids[1], "without"),
        (grids[1], "with"),
    ]


def test_no_trials_no_curves(make_study):
    assert curves(make_study(arms=())) == []


def test_epochs_that_another_program_rounded_down(make_study):
    study = make_study(epochs=4)
    at = pl.int_range(0, 19, eager=True) * 10
    trial = study.trials[0]
    frame = pl.DataFrame({"trial": trial.id, "step": at, "epoch": at // 45, "metric": "train loss"})
    other = {"layer": None, "key": None, "value": 1.0, "unit": ""}
    frame = frame.with_columns(pl.lit(value).alias(name) for name, value in other.items())
    found = recorded(study.settings, [trial], frame.select(study.metrics.columns))
    # Step 90 stands at the start of epoch 2 and 180 at that of 4: 45 steps per epoch.
    assert found.points["steps_per_epoch"].unique().to_list() == [45.0]
