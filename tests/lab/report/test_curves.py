"""Curves: what is averaged over which trials, and where it is drawn."""

from __future__ import annotations

import math
from statistics import fmean

import polars as pl
import pytest
from scipy import stats

from bnkit.lab.report.curves import learning_curves
from bnkit.lab.report.students_t import half_width_factor


def curve_of(study, metric="test accuracy", arm="with", grid=None):
    curves = learning_curves(study.settings, study.trials, study.metrics)
    (found,) = [
        curve
        for curve in curves
        if (curve.metric, curve.arm) == (metric, arm) and (grid is None or curve.grid == grid)
    ]
    return found


def values_at(study, step, metric="test accuracy", arm="with", seeds=None):
    ids = {trial.id for trial in study.trials if trial.arm == arm}
    if seeds is not None:
        ids = {trial.id for trial in study.trials if trial.arm == arm and trial.seed in seeds}
    return [
        row["value"]
        for row in study.metrics.iter_rows(named=True)
        if row["trial"] in ids and row["step"] == step and row["metric"] == metric
    ]


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_factor_is_students_t_over_root_n(seeds):
    low, high = stats.t.interval(0.95, seeds - 1, loc=0, scale=1 / math.sqrt(seeds))
    assert half_width_factor(seeds) == pytest.approx(high, rel=1e-12)
    assert -half_width_factor(seeds) == pytest.approx(low, rel=1e-12)


def test_two_seeds_by_hand():
    # t(0.975; 1) = 12.7062, so the factor is 12.7062 / √2
    assert half_width_factor(2) == pytest.approx(8.98464, abs=1e-4)


def test_mean_interval_and_range_of_every_checkpoint(make_study):
    study = make_study(epochs=4)
    curve = curve_of(study)
    assert [point.step for point in curve.checkpoints] == [0, 45, 90, 135, 180]
    assert [point.epoch for point in curve.checkpoints] == [0, 1, 2, 3, 4]
    for point in curve.checkpoints:
        values = values_at(study, point.step)
        low, high = stats.t.interval(0.95, 4, loc=fmean(values), scale=stats.sem(values))
        assert point.seeds == 5
        assert (point.least, point.most) == (min(values), max(values))
        assert [point.mean, point.low, point.high] == pytest.approx([fmean(values), low, high])


def test_one_seed_has_no_interval(make_study):
    curve = curve_of(make_study(seeds=(7,), epochs=2))
    assert [(point.low, point.high, point.seeds) for point in curve.checkpoints] == [
        (None, None, 1)
    ] * 3


def test_a_diverged_trial_counts_up_to_its_step(make_study):
    study = make_study(epochs=4, diverged={("with", 0, 2): 135})
    curve = curve_of(study, metric="train loss")
    assert [point.seeds for point in curve.checkpoints] == [5, 5, 5, 4, 4]
    left = values_at(study, 135, metric="train loss", seeds={0, 1, 3, 4})
    assert curve.checkpoints[3].mean == pytest.approx(fmean(left))
    (place,) = curve.divergences
    (last,) = values_at(study, 90, metric="train loss", seeds={2})
    assert (place.seed, place.step, place.epoch, place.last_value) == (2, 135, 3, last)


def test_an_arm_that_diverged_at_once_is_marked(make_study):
    study = make_study(epochs=2, diverged={("with", 0, seed): 9 for seed in range(5)})
    curve = curve_of(study)
    assert [point.step for point in curve.checkpoints] == [0]
    assert [place.step for place in curve.divergences] == [9] * 5
    assert curve.divergences[0].epoch == pytest.approx(9 / 45)


def test_values_that_are_not_finite_never_reach_a_curve(make_study):
    study = make_study(epochs=2)
    broken = study.metrics.with_columns(
        value=pl.when(pl.col("step") == 45).then(math.inf).otherwise("value")
    )
    curves = learning_curves(study.settings, study.trials, broken)
    for curve in curves:
        assert [point.step for point in curve.checkpoints] == [0, 90]
        numbers = [value for trial in curve.trials for value in trial.values]
        assert all(map(math.isfinite, numbers))


def test_checkpoints_within_an_epoch_lie_between_whole_epochs(make_study):
    study = make_study(epochs=2)
    # a checkpoint every 15 steps of 45 an epoch; the epoch is rounded up, as the loop does
    finer = study.metrics.with_columns(
        step=pl.col("step") // 3, epoch=(pl.col("epoch") / 3).ceil().cast(pl.Int32)
    )
    later = study.metrics.filter(pl.col("step") > 0).with_columns(
        step=pl.col("step") // 3 + 30, epoch=((pl.col("epoch") + 2) / 3).ceil().cast(pl.Int32)
    )
    curves = learning_curves(study.settings, study.trials, pl.concat([finer, later]))
    steps = [point.step for point in curves[0].checkpoints]
    epochs = [point.epoch for point in curves[0].checkpoints]
    assert steps == [0, 15, 30, 45, 60]
    assert epochs == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3])


def test_metrics_of_layers_have_no_curve(make_study):
    study = make_study(epochs=1)
    layered = study.metrics.with_columns(layer=pl.lit("conv1"), metric=pl.lit("saturation"))
    curves = learning_curves(study.settings, study.trials, pl.concat([study.metrics, layered]))
    assert {curve.metric for curve in curves} == set(study.metrics["metric"])


def test_order_is_metrics_then_grid_then_arms(make_study):
    grids = [{"data.batch_size": 8}, {"data.batch_size": 32}]
    study = make_study(grids=grids, epochs=1)
    curves = learning_curves(study.settings, study.trials, study.metrics)
    assert [curve.metric for curve in curves[::4]] == [
        "test accuracy",
        "test loss",
        "train accuracy",
        "train loss",
    ]
    assert [(curve.grid, curve.arm) for curve in curves[:4]] == [
        (grids[0], "without"),
        (grids[0], "with"),
        (grids[1], "without"),
        (grids[1], "with"),
    ]


def test_no_trials_no_curves(make_study):
    study = make_study(arms=())
    assert learning_curves(study.settings, study.trials, study.metrics) == []
