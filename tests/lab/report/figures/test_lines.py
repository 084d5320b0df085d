"""Lines against time: they hold the curves' numbers, on a scale that shows them."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from bnkit.lab.report.figures import figures_of
from bnkit.lab.report.trial_groups import grid_label


def curves_of(study):
    found = figures_of(study.settings, study.trials, study.metrics, study.summaries)
    return {figure.title.lower(): figure for figure in found.curves}


def panels_of(study, metric):
    return curves_of(study)[metric].views[0].panels


def test_lines_are_the_means_over_seeds(make_study):
    study = make_study(epochs=3)
    (panel,) = panels_of(study, "test accuracy")
    assert [line.arm for line in panel.lines] == [0, 1]
    for line, arm in zip(panel.lines, ("without", "with"), strict=True):
        ids = [trial.id for trial in study.trials if trial.arm == arm]
        own = study.metrics.filter(pl.col("trial").is_in(ids), metric="test accuracy")
        means = own.group_by("step").agg(pl.col("value").mean()).sort("step")
        assert line.x == means["step"].to_list() == [0, 45, 90, 135]
        assert line.mean == pytest.approx(means["value"].to_list())
        assert line.pace == 45


def test_a_panel_says_what_its_bands_are(make_study):
    study = make_study(epochs=1, diverged={("with", 0, 0): 20})
    bands = panels_of(study, "test loss")[0].bands
    assert bands["interval"] == "mean and 95 % t interval, 4 to 5 seeds"
    assert bands["range"] == "mean and range, 4 to 5 seeds"
    (single,) = panels_of(make_study(epochs=1, seeds=(0,)), "test loss")
    assert single.bands["interval"] == "one seed: no interval"


def test_grid_points_are_panels_on_one_scale(make_study):
    grids = [{"training.optimizer.lr": 0.1}, {"training.optimizer.lr": 1.0}]
    figure = curves_of(make_study(grids=grids, epochs=3))["train loss"]
    (view,) = figure.views
    assert [panel.title for panel in view.panels] == ["lr = 0.1", "lr = 1.0"]


@pytest.mark.parametrize(("seeds", "epochs"), [((0, 1), 30), ((0, 1, 2, 3, 4), 30), ((0,), 1)])
def test_scale_shows_every_trial_and_says_when_a_band_is_cut(make_study, seeds, epochs):
    for figure in curves_of(make_study(seeds=seeds, epochs=epochs)).values():
        (view,) = figure.views
        bottom, top = view.scale.linear
        lines = view.panels[0].lines
        assert bottom < min(value for line in lines for value in line.least)
        assert top > max(value for line in lines for value in line.most)
        edges = [v for line in lines for v in (*line.low, *line.high) if v is not None]
        is_cut = any(not bottom <= edge <= top for edge in edges)
        assert view.scale.is_cut == is_cut
        assert any("cut off" in note for note in figure.notes) == is_cut


def with_value(study, trial, step, value):
    """Return the study with one trial's values at one step replaced."""
    chosen = (pl.col("trial") == trial.id) & (pl.col("step") == step)
    changed = study.metrics.with_columns(value=pl.when(chosen).then(value).otherwise("value"))
    return replace(study, metrics=changed)


def test_an_exploding_loss_does_not_flatten_the_others(make_study):
    study = make_study(epochs=3, diverged={("with", 0, 0): 100})
    (trial,) = [trial for trial in study.trials if trial.status == "diverged"]
    usual = curves_of(study)["test loss"].views[0]
    view = curves_of(with_value(study, trial, 90, 1e30))["test loss"].views[0]
    assert view.scale.linear[1] < 2 * usual.scale.linear[1]
    assert view.scale.is_cut
    ((mark,),) = [line.marks for line in view.panels[0].lines if line.marks]
    assert "last value 1.000e30" in mark.text
    assert view.scale.powers[1] > 30


def test_shares_have_no_logarithmic_scale(make_study):
    found = curves_of(make_study(epochs=2))
    can_be_log = {name for name, figure in found.items() if figure.can_be_log}
    assert can_be_log == {"test loss", "train loss"}


def test_diverged_trials_are_marked_and_counted(make_study):
    study = make_study(epochs=3, diverged={("with", 0, 1): 50})
    figure = curves_of(study)["test loss"]
    panel = figure.views[0].panels[0]
    (mark,) = panel.lines[1].marks
    assert mark.x == 50
    assert mark.text.startswith("seed 1 diverged at step 50")
    assert figure.notes[0] == "1 trial diverged."
    assert "1 trial of with diverged" in panel.label


def test_label_tells_where_each_arm_ends(make_study):
    (panel,) = panels_of(make_study(epochs=2), "test accuracy")
    for line, arm in zip(panel.lines, ("without", "with"), strict=True):
        assert f"{arm} ends at {line.mean[-1]:#.4g} after 90 steps, 5 seeds" in panel.label


def test_grid_labels():
    assert grid_label({}) == ""
    assert grid_label({"training.optimizer.lr": 0.1, "data.name": "x"}) == "lr = 0.1, name = x"
    assert grid_label({"data.name": "x", "network.name": "y"}) == "data.name = x, network.name = y"
    assert grid_label({"affine": True, "sizes": [1, 2]}) == "affine = true, sizes = [1, 2]"
