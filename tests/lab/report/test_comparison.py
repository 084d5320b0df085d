"""Several studies on one page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bnkit.lab.report.comparison import combined, labels, render_comparison


def named(study, name):
    return replace(study, settings={**study.settings, "study": {"name": name}})


def test_curves_of_all_studies_are_in_the_same_figures(make_study, parse_page):
    studies = {"a": make_study(epochs=2), "b": make_study(epochs=2, seeds=(0, 1))}
    page = parse_page(render_comparison(studies))
    plots = json.loads(page.all("script", id="plots")[0].text)
    arms = json.loads(page.all("script", id="arm-names")[0].text)
    assert arms == ["a: without", "a: with", "b: without", "b: with"]
    assert [line["arm"] for line in plots["test-loss"]["views"][0]["panels"][0]["lines"]] == [
        0, 1, 2, 3,
    ]  # fmt: skip


def test_verdicts_stand_side_by_side(make_study, make_verdict, parse_page):
    other = make_study(verdicts=[make_verdict(outcome="refuted"), make_verdict(id="more")])
    page = parse_page(render_comparison({"a": make_study(), "b": other}))
    table = page.all("table")[0]
    first, second = table.all("tr")[1:]
    assert [cell.all("strong")[0].text for cell in first.all("td")] == ["supported", "refuted"]
    assert second.all("td")[0].text == "not stated"


def test_trials_of_the_same_name_stay_apart(make_study):
    together = combined({"a": make_study(epochs=1), "b": make_study(epochs=1)})
    ids = [trial.id for trial in together.trials]
    assert len(ids) == len(set(ids)) == 20
    assert set(together.metrics["trial"]) == set(ids)


def test_studies_of_the_same_name_are_told_apart_by_folder(make_study):
    studies = [named(make_study(epochs=1), "digits") for _ in range(3)]
    folders = [Path("x/first"), Path("x/second"), Path("y/second")]
    found = labels(folders, studies)
    assert found[0] == "digits (first)"
    assert len(set(found)) == 3


def test_folders_of_the_same_name_are_told_apart_by_where_they_lie(make_study):
    studies = [named(make_study(epochs=1), "digits") for _ in range(2)]
    found = labels([Path("x/digits"), Path("y/digits")], studies)
    assert found == ["digits (x/digits)", "digits (y/digits)"]
