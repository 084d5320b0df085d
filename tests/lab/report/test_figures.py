"""Figures: plain dictionaries that Plotly accepts and that hold the curves' numbers."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from bnkit.lab.report.curves import learning_curves
from bnkit.lab.report.figures import is_loss, metric_figures, plotly_text
from bnkit.lab.report.trial_groups import arm_names, grid_label


def figures_of(study):
    curves = learning_curves(study.settings, study.trials, study.metrics)
    return curves, metric_figures(curves, arm_names(study.settings, study.trials))


def traces(figure, role):
    return [trace for trace in figure.plot["data"] if trace["meta"]["role"] == role]


def test_lines_are_the_curves(make_study):
    curves, metrics = figures_of(make_study(epochs=3))
    assert [metric.metric for metric in metrics] == [curve.metric for curve in curves[::2]]
    lines = traces(metrics[0].figures[0], "mean")
    for line, curve in zip(lines, curves[:2], strict=True):
        assert line["name"] == curve.arm
        assert line["y"] == [point.mean for point in curve.checkpoints]
        assert line["x"] == [point.epoch for point in curve.checkpoints]
        assert line["meta"]["steps"] == [point.step for point in curve.checkpoints]


def test_bands_run_along_the_lower_and_back_along_the_upper_edge(make_study):
    curves, metrics = figures_of(make_study(epochs=3))
    points = curves[0].checkpoints
    edges = {"interval": ("low", "high"), "range": ("least", "most")}
    for role, (lower, upper) in edges.items():
        band = traces(metrics[0].figures[0], role)[0]
        bottom = [getattr(point, lower) for point in points]
        top = [getattr(point, upper) for point in points]
        assert band["y"] == bottom + top[::-1]
        assert band["meta"]["steps"] == [0, 45, 90, 135, 135, 90, 45, 0]
        assert band["visible"] == (role == "interval")


def test_single_trials_are_separated_by_gaps(make_study):
    _, metrics = figures_of(make_study(epochs=1, seeds=(0, 4)))
    trace = traces(metrics[0].figures[0], "trials")[0]
    assert trace["x"] == [0, 1, None, 0, 1, None]
    assert trace["customdata"] == [0, 0, None, 4, 4, None]


def test_figure_says_what_its_band_is(make_study):
    _, metrics = figures_of(make_study(epochs=1, diverged={("with", 0, 0): 20}))
    layout = metrics[0].figures[0].plot["layout"]
    assert layout["title"]["text"] == "mean and 95 % t interval, 4 to 5 seeds"
    assert layout["meta"]["titles"]["range"] == "mean and range, 4 to 5 seeds"
    _, single = figures_of(make_study(epochs=1, seeds=(0,)))
    assert single[0].figures[0].plot["layout"]["title"]["text"] == "one seed: no interval"
    assert not traces(single[0].figures[0], "interval")


def test_panels_of_a_metric_share_their_scale_and_are_named(make_study):
    grids = [{"training.optimizer.lr": 0.1}, {"training.optimizer.lr": 1.0}]
    _, metrics = figures_of(make_study(grids=grids, epochs=3))
    for metric in metrics:
        layouts = [figure.plot["layout"] for figure in metric.figures]
        assert layouts[0]["yaxis"]["range"] == layouts[1]["yaxis"]["range"]
        assert [layout["title"]["text"].split("<br>")[0] for layout in layouts] == [
            "<b>lr = 0.1</b>",
            "<b>lr = 1.0</b>",
        ]


@pytest.mark.parametrize(("seeds", "epochs"), [((0, 1), 30), ((0, 1, 2, 3, 4), 30), ((0,), 1)])
def test_scale_shows_every_trial_and_says_when_a_band_is_cut(make_study, seeds, epochs):
    curves, metrics = figures_of(make_study(seeds=seeds, epochs=epochs))
    for metric in metrics:
        points = [
            point
            for curve in curves
            if curve.metric == metric.metric
            for point in curve.checkpoints
        ]
        bottom, top = metric.figures[0].plot["layout"]["yaxis"]["range"]
        assert bottom < min(point.least for point in points)
        assert top > max(point.most for point in points)
        edges = [edge for point in points for edge in (point.low, point.high) if edge is not None]
        is_cut = any(not bottom <= edge <= top for edge in edges)
        assert metric.figures[0].is_cut == is_cut


def with_value(study, trial, step, value):
    """Return the study with one trial's values at one step replaced."""
    chosen = (pl.col("trial") == trial.id) & (pl.col("step") == step)
    changed = study.metrics.with_columns(value=pl.when(chosen).then(value).otherwise("value"))
    return replace(study, metrics=changed)


def test_wide_band_is_cut(make_study):
    study = make_study(seeds=(0, 1), epochs=3)
    assert not figures_of(study)[1][1].figures[0].is_cut
    wide = with_value(study, study.trials[0], 135, 3.0)
    assert figures_of(wide)[1][1].figures[0].is_cut


def test_an_exploding_loss_does_not_flatten_the_others(make_study):
    study = make_study(epochs=3, diverged={("with", 0, 0): 100})
    (trial,) = [trial for trial in study.trials if trial.status == "diverged"]
    _, usual = figures_of(study)
    _, metrics = figures_of(with_value(study, trial, 90, 1e30))
    figure = metrics[1].figures[0]
    top = figure.plot["layout"]["yaxis"]["range"][1]
    assert top < 2 * usual[1].figures[0].plot["layout"]["yaxis"]["range"][1]
    assert figure.is_cut
    (mark,) = traces(figure, "diverged")
    assert mark["y"] == [top]
    assert "last value 1.000e30" in mark["customdata"][0]
    assert figure.plot["layout"]["meta"]["ranges"]["log"][1] > 30


def test_logarithmic_scale_is_for_losses():
    assert is_loss("train loss")
    assert not is_loss("test accuracy")
    assert not is_loss("loss variation")


def test_diverged_trials_are_marked_inside_the_figure(make_study):
    study = make_study(epochs=3, diverged={("with", 0, 1): 50})
    _, metrics = figures_of(study)
    figure = metrics[1].figures[0]
    (trace,) = traces(figure, "diverged")
    assert trace["meta"]["steps"] == [50]
    assert trace["x"] == pytest.approx([50 / 45])
    assert "seed 1 diverged at step 50" in trace["customdata"][0]
    bottom, top = figure.plot["layout"]["yaxis"]["range"]
    assert bottom <= trace["y"][0] <= top
    assert figure.diverged == 1
    assert "1 trial of with diverged" in figure.label


def test_grid_labels():
    assert grid_label({}) == ""
    assert grid_label({"training.optimizer.lr": 0.1, "data.name": "x"}) == "lr = 0.1, name = x"
    assert grid_label({"data.name": "x", "network.name": "y"}) == "data.name = x, network.name = y"
    assert grid_label({"affine": True, "sizes": [1, 2]}) == "affine = true, sizes = [1, 2]"


def test_plotly_shows_markup_as_text():
    assert plotly_text('<b>a</b> & "c"') == '&lt;b&gt;a&lt;/b&gt; &amp; "c"'


def test_label_tells_where_each_arm_ends(make_study):
    curves, metrics = figures_of(make_study(epochs=2))
    label = metrics[0].figures[0].label
    for curve in curves[:2]:
        assert f"{curve.arm} ends at {curve.checkpoints[-1].mean:#.4g} after 90 steps" in label
    assert "5 seeds" in label
