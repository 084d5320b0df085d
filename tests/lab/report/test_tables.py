"""Rows of the tables."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from bnkit.lab.report.tables import arm_table, environment, trial_table
from bnkit.lab.store.schema import Summary


def test_last_value_of_each_metric_is_shown(make_study):
    study = make_study(epochs=3, diverged={("with", 0, 1): 135})
    table = trial_table(study.trials, study.metrics.sample(fraction=1, shuffle=True, seed=0))
    assert table.metrics == ["test accuracy", "test loss", "train accuracy", "train loss"]
    for row, trial in zip(table.rows, study.trials, strict=True):
        last = study.metrics.filter(pl.col("trial") == trial.id, pl.col("step") == 135)
        expected = dict(zip(last["metric"], last["value"], strict=True))
        for metric, found in zip(table.metrics, row.metrics, strict=True):
            assert found.value == expected[metric] or found.text == "NaN"
    texts = [number.text for number in table.rows[6].metrics]
    assert (texts[1], texts[3]) == ("NaN", "NaN")
    assert table.rows[6].status == "diverged at step 135"


def test_a_trial_without_metrics_has_gaps(make_study):
    study = make_study(epochs=1, seeds=(0,))
    first = study.trials[0].id
    table = trial_table(study.trials, study.metrics.filter(pl.col("trial") != first))
    assert [number.text for number in table.rows[0].metrics] == ["n/a"] * 4
    assert table.seconds.value == 1.5 + 2.5


def test_arms_are_grouped_by_grid_point():
    def summary(arm, lr, metric):
        return Summary(arm, metric, 0.5, 0.4, 0.6, 5, 1, grid={"lr": lr})

    table = arm_table(
        [
            summary("a", 1, "train loss"),
            summary("a", 1, "test accuracy"),
            summary("a", 2, "train loss"),
        ]
    )
    assert table.metrics == ["test accuracy", "train loss"]
    assert [(row.arm, row.grid) for row in table.rows] == [("a", "lr = 1"), ("a", "lr = 2")]
    assert table.rows[1].metrics[0] is None
    assert table.rows[0].diverged == 1


def test_environment_counts_what_differs(make_study):
    trials = make_study(epochs=1, seeds=(0, 1)).trials
    trials[0] = replace(trials[0], versions={"torch": "2.12.0"})
    assert environment(trials, "versions") == [
        ("bnkit", [("0.1.0", 3)]),
        ("torch", [("2.13.0", 3), ("2.12.0", 1)]),
    ]
    assert environment([], "machine") == []


def test_a_machine_without_accelerator_has_none(make_study):
    trial = replace(make_study(epochs=1).trials[0], machine={"accelerator": None})
    assert environment([trial], "machine") == [("accelerator", [("none", 1)])]
