"""Bands, paths, surfaces and grids hold the numbers that were recorded."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from bnkit.lab.report.figures.across_grid import grid_figures
from bnkit.lab.report.figures.surfaces import place_of
from bnkit.lab.report.figures.words import diverged_count_as
from bnkit.lab.store import Summary


def test_percentiles_are_pairs_around_the_middle(rows, draw):
    content = []
    for key, value in (("85", 3), ("5", -2), ("50", 1), ("15", 0), ("95", 5)):
        content += rows("activation percentile", ("a", key), [value, value + 1])
    (view,) = draw(content).probes[0].views
    (span,) = view.panels[0].spans
    assert [band.name for band in span.bands] == ["5 to 95", "15 to 85"]
    assert [(band.low, band.high) for band in span.bands] == [
        ([-2, -1], [5, 6]),
        ([0, 1], [3, 4]),
    ]
    assert (span.middle, span.middle_name) == ([1, 2], "50")


def test_percentiles_are_means_over_seeds_and_a_panel_per_arm(rows, draw, trial):
    trials = [trial(arm, seed) for arm in ("none", "batch") for seed in (0, 1)]
    content = []
    for place, owner in enumerate(trials):
        for key in ("15", "85"):
            content += rows("activation percentile", ("a", key), [place], owner)
    (view,) = draw(content, trials).probes[0].views
    assert [panel.title for panel in view.panels] == ["none", "batch"]
    assert [panel.spans[0].bands[0].low for panel in view.panels] == [[0.5], [2.5]]


def test_landscape_is_smallest_to_largest_of_each_trial_then_the_mean(rows, draw, trial):
    trials = [trial(seed=0), trial(seed=1)]
    values = {0: {"0.5": 1.0, "1": 2.0, "4": 4.0}, 1: {"0.5": 8.0, "1": 6.0, "4": 5.0}}
    content = []
    for owner in trials:
        for key, value in values[owner.seed].items():
            content += rows("loss along gradient", (None, key), [value], owner)
    figure = draw(content, trials).probes[0]
    recorded, percent = (view.panels[0].spans[0].bands[0] for view in figure.views)
    assert figure.selections[0].options == ["as recorded", "in percent"]
    assert (recorded.low, recorded.high) == ([fmean([1, 5])], [fmean([4, 8])])
    centres = [fmean(each.values()) for each in values.values()]
    lows = [100 * (low / centre - 1) for low, centre in zip((1, 5), centres, strict=True)]
    assert percent.low == pytest.approx([fmean(lows)])


def test_percent_is_of_the_value_at_0_where_that_was_recorded(rows, draw):
    content = rows("loss along gradient", (None, "0"), [2.0])
    content += rows("loss along gradient", (None, "1"), [3.0])
    figure = draw(content).probes[0]
    band = figure.views[1].panels[0].spans[0].bands[0]
    assert (band.low, band.high) == ([0.0], [50.0])


def test_percent_is_of_the_loss_at_the_step_where_that_was_recorded(rows, draw):
    content = rows("loss along gradient", (None, "0.5"), [1.0, 3.0])
    content += rows("loss along gradient", (None, "4"), [3.0, 5.0])
    content += rows("loss at step", (None, None), [2.0, 4.0])
    (figure,) = draw(content).probes
    panel = figure.views[1].panels[0]
    band = panel.spans[0].bands[0]
    assert (band.low, band.high) == ([-50.0, -25.0], [50.0, 25.0])
    assert "above or below the loss at step" in panel.bands["interval"]


def test_a_path_has_the_loss_of_the_same_step(rows, draw):
    content = rows("train loss", (None, None), [9, 4, 1])
    content += rows("weight", ("conv", "0,0"), [0.1, 0.2, 0.3])
    content += rows("weight", ("conv", "1,1"), [1, math.nan, 3])
    (figure,) = draw(content).probes
    path = figure.views[0].panels[0].path
    assert figure.modes == ("3-D", "flat")
    assert (path.steps, path.x, path.z) == ([0, 10, 20], [0.1, 0.2, 0.3], [9, 4, 1])
    assert path.y == [1, None, 3]
    assert figure.views[0].axes.x == "[0,0]"


def test_weights_without_a_loss_are_lines(rows, draw):
    content = rows("weight", ("conv", "0,0"), [1, 2]) + rows("weight", ("conv", "1,1"), [3, 4])
    assert draw(content).probes[0].views[0].panels[0].kind == "lines"


def test_a_surface_has_its_heights_in_place(rows, draw):
    content = []
    for x in (-0.5, 0, 0.5):
        for y in (-1, 0, 2):
            content += rows("loss surface", (None, f"{x:g},{y:g}"), [0, 10 * x + y])
    figure = draw(content).probes[0]
    surface = figure.views[0].panels[0].surface
    assert (surface.x, surface.y) == ([-0.5, 0, 0.5], [-1, 0, 2])
    assert surface.z[2] == [-3, 2, 7]
    assert "lowest −6.000 at (-0.5, -1)" in figure.views[0].panels[0].label
    assert any("last step" in note for note in figure.notes)


def test_a_hole_in_a_surface_stays_one(rows, draw):
    places = [(x, y) for x in range(3) for y in range(3) if (x, y) != (1, 1)]
    content = [row for x, y in places for row in rows("loss surface", (None, f"{x},{y}"), [1.0])]
    surface = draw(content).probes[0].views[0].panels[0].surface
    assert surface.z[1] == [1, None, 1]


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("0.5,-1", (0.5, -1)),
        ("(1, 2)", (1, 2)),
        ("−1,0", (-1, 0)),
        ("1", None),
        ("1,2,3", None),
        ("a,b", None),
        ("nan,1", None),
        (None, None),
    ],
)
def test_places_of_a_plane(key, place):
    assert place_of(key) == place


def summary(arm, rate, mean, diverged=0, **grid):
    point = {"training.optimizer.lr": rate, **grid}
    interval = (mean - 0.1, mean + 0.1)
    return Summary(arm, "test accuracy", mean, *interval, 3, diverged, point, "share")


def test_a_grid_is_drawn_along_its_numbers_with_diverged_trials_marked():
    summaries = [summary("batch", rate, mean) for rate, mean in ((1.0, 0.5), (0.01, 0.9))]
    summaries += [summary("none", 0.01, 0.8), summary("none", 1.0, 0.1, diverged=2)]
    (figure,) = grid_figures(summaries, ["none", "batch"])
    (view,) = figure.views
    none, batch = view.panels[0].lines
    assert (figure.title, view.axes.x_kind) == ("Test accuracy against lr", "log")
    assert (batch.x, batch.mean) == ([0.01, 1.0], [0.9, 0.5])
    assert none.low == pytest.approx([0.7, 0.0])
    assert [(mark.x, mark.y, mark.text) for mark in none.marks] == [
        (1.0, 0.1, "2 of 3 trials diverged")
    ]
    assert figure.notes[0].startswith("2 trials diverged.")


def test_other_grid_keys_are_chosen():
    summaries = [
        summary("batch", rate, rate, **{"data.batch_size": size})
        for rate in (0.1, 0.2)
        for size in (8, 32)
    ]
    by_rate, by_size = grid_figures(summaries, ["batch"])
    assert by_rate.selections[0].options == ["batch_size = 8", "batch_size = 32"]
    assert by_size.selections[0].options == ["lr = 0.1", "lr = 0.2"]
    assert by_size.views[1].panels[0].lines[0].mean == [0.2, 0.2]


def test_words_along_a_grid_are_categories():
    summaries = [summary("batch", rate, 0.5) for rate in ("small", "large")]
    (figure,) = grid_figures(summaries, ["batch"])
    assert figure.views[0].axes.x_kind == "category"
    assert figure.views[0].panels[0].lines[0].x == ["small", "large"]


def test_one_value_is_no_grid():
    assert grid_figures([summary("batch", 0.1, 0.5)], ["batch"]) == []


def test_intervals_over_three_seeds_are_seen_whole():
    across = [
        Summary("a", "test accuracy", 0.97, 0.94, 1.0, seeds=3, diverged=0, grid={"lr": 0.1}),
        Summary("a", "test accuracy", 0.98, 0.90, 1.06, seeds=2, diverged=0, grid={"lr": 1.0}),
    ]
    (figure,) = grid_figures(across, ["a"])
    bottom, top = figure.views[0].scale.linear
    assert bottom < 0.94
    assert 1.0 < top < 1.06
    assert figure.notes == ["What lies beyond the scale is cut off at the figure's edge."]


def test_words_say_that_accuracy_without_classes_is_left_out(trial):
    owner = trial(status="diverged", diverged_step=20, classes=None, grid={"lr": 1.0})
    assert "left out" in diverged_count_as([owner])
    assert "left out" not in diverged_count_as([trial(status="diverged", diverged_step=20)])
