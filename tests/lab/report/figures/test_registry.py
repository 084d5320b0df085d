"""Which metric is drawn how; whatever was recorded is drawn."""

from __future__ import annotations

import math

import polars as pl
import pytest

from bnkit.lab.probes.names import PROBES
from bnkit.lab.report.figures.registry import REGISTRY, about, figure_of
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.points import recorded
from bnkit.lab.store.trial_store import METRIC_SCHEMA
from bnkit.page.number_format import number


def kinds(figures):
    return {figure.title: figure.views[0].panels[0].kind for figure in figures.all}


def test_known_metrics_get_their_own_figures(rows, draw):
    content = rows("train loss", (None, None), [2, 1, 0.5], unit="nat")
    for key in ("15", "50", "85"):
        content += rows("activation percentile", ("a", key), [1, 2, 3])
    for key in ("0.5", "4"):
        content += rows("loss along gradient", (None, key), [1, 2, 3])
    for key in ("0,0", "1,2"):
        content += rows("weight", ("conv", key), [1, 2, 3])
    for x in (-1, 0, 1):
        for y in (-1, 0, 1):
            content += rows("loss surface", (None, f"{x},{y}"), [x * x + y * y])
    assert kinds(draw(content)) == {
        "Train loss": "lines",
        "Activation percentile": "spans",
        "Loss along gradient": "spans",
        "Loss surface": "surface",
        "Weight": "path",
    }


def test_the_first_view_has_something_to_see(rows, draw):
    content = rows("gradient shift", ("a", None), [0, 0, 0])
    content += rows("gradient shift", ("b", None), [1, 2, 3])
    (figure,) = draw(content).all
    assert figure.selections[0].options[figure.views[0].choice[0]] == "b"
    assert sorted(view.choice for view in figure.views) == [(0,), (1,), (2,)]
    (flat,) = draw(rows("gradient shift", ("a", None), [0, 0, 0])).all
    assert flat.views


@pytest.mark.parametrize("metric", sorted(REGISTRY))
@pytest.mark.parametrize(
    "places",
    [[(None, None)], [("a", None)], [(None, "k")], [("a", "k"), ("a", "l"), ("b", "k")]],
    ids=["whole", "layer", "key", "both"],
)
def test_a_form_that_a_figure_does_not_know_is_drawn_all_the_same(metric, places, rows, draw):
    content = [row for place in places for row in rows(metric, place, [1, 2, 3])]
    figures = draw(content)
    assert [figure.title.lower() for figure in figures.all] == [metric]
    assert figures.all[0].about == about(metric) != ""


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "places",
    [
        [("a", None), ("b", None)],
        [(None, "1"), (None, "2"), (None, "8")],
        [(None, "mean"), (None, "std")],
        [("a", "mean"), ("b", "std")],
        [(f"layer.{k}", None) for k in range(60)],
        [(None, str(k)) for k in range(300)],
    ],
    ids=["layers", "numbers", "words", "sparse", "many layers", "many keys"],
)
def test_an_unknown_metric_is_drawn_by_what_was_recorded(places, steps, rows, draw):
    content = [row for place in places for row in rows("new", place, range(1, steps + 1))]
    (figure,) = draw(content).probes
    assert figure.title == "New"
    for view in figure.views:
        for panel in view.panels:
            assert any(value is not None for line in panel.lines for value in line.mean)
        choice = zip(view.choice, figure.selections, strict=True)
        assert all(place < len(each.options) for place, each in choice)


def test_one_step_is_drawn_along_numeric_keys_in_their_order(rows, draw):
    content = [row for k in ("8", "1", "2") for row in rows("new", (None, k), [float(k) ** 2])]
    (view,) = draw(content).probes[0].views
    assert (view.axes.x, view.axes.x_kind) == ("key", "log")
    assert view.panels[0].lines[0].x == [1, 2, 8]
    assert view.panels[0].lines[0].mean == [1, 4, 64]


def test_layers_can_be_seen_side_by_side_at_the_end(rows, draw):
    content = rows("gradient norm", ("a", None), [1, 2]) + rows(
        "gradient norm", ("b", None), [3, 4]
    )
    figure = draw(content).probes[0]
    assert figure.selections[0].options == ["a", "b", "all, at the last step"]
    last = figure.views[-1]
    assert last.axes.x_kind == "category"
    assert (last.panels[0].lines[0].x, last.panels[0].lines[0].mean) == (["a", "b"], [2, 4])


def test_the_table_holds_the_last_finite_values(rows, draw):
    content = rows("gradient norm", ("a", None), [1, 2.5, math.nan])
    content += rows("gradient norm", ("b", None), [3, 4, 0.125])
    table = draw(content).probes[0].table
    assert table.headings == ["Layer", "batch"]
    assert table.rows == [["a", number(2.5).text], ["b", number(0.125).text]]


def test_what_cannot_be_chosen_is_said(rows, draw):
    content = [row for k in range(60) for row in rows("new", (f"layer.{k}", None), [1, 2])]
    figure = draw(content).probes[0]
    assert figure.selections[0].options[0] == "layer.0"
    assert figure.selections[0].options[-2] == "layer.59"
    assert any(note.startswith("24 of 60 layers can be chosen") for note in figure.notes)


def test_of_many_series_as_many_are_drawn_as_there_is_room_for(rows, trial):
    owners = [trial("none"), trial("batch")]
    content = [
        row
        for owner in owners
        for layer in range(12)
        for key in ("a", "b", "c", "d")
        for row in rows("new", (f"layer.{layer}", key), range(40), owner)
    ]
    frame = pl.DataFrame(content, schema={"trial": pl.String, **METRIC_SCHEMA}, orient="row")
    study = recorded({}, owners, frame)
    room = 2 * 32 * 7 * 16
    figure = figure_of(MetricSource(study, "new", study.points, study.lost, room))
    layers, keys = figure.selections
    assert (layers.options[:-1], keys.options) == (
        ["layer.0", "layer.4", "layer.7", "layer.11"],
        ["a", "b", "c", "d"],
    )
    assert "4 of 12 layers can be chosen, evenly spaced; the store holds all." in figure.notes


def test_a_metric_without_a_finite_value_is_named(rows, draw):
    figures = draw(rows("new", ("a", None), [math.nan, math.inf]))
    assert (figures.all, figures.not_drawn) == ([], ["new"])


def test_gaps_are_counted_on_the_figure(rows, draw):
    figure = draw(rows("new", ("a", None), [1, math.nan, -math.inf, 2])).probes[0]
    assert "2 values are not finite (1 NaN, 1 infinite) and left out: gaps." in figure.notes


def test_figures_have_different_ids(rows, draw):
    content = rows("A b", (None, None), [1, 2]) + rows("a-b", (None, None), [1, 2])
    assert sorted(figure.id for figure in draw(content).all) == ["a-b", "a-b-2"]


def test_every_metric_of_a_probe_can_be_drawn(rows, draw):
    for entry in PROBES.values():
        for metric in entry.metrics:
            layer = "a" if "layer" in metric.per else None
            content = []
            for key in ("1", "2") if "key" in metric.per else (None,):
                content += rows(metric.name, (layer, key), [1, 2], unit=metric.unit)
            assert len(draw(content).all) == 1
