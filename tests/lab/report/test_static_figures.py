"""Figures as files: every one, with the page's palette, whole or not at all."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import polars as pl
import pytest
from PIL import Image

from bnkit.errors import StoreError
from bnkit.lab.report import write_figures
from bnkit.lab.report.figures import figures_of
from bnkit.page.palette import ARM_COLOURS


def test_a_file_per_figure_in_the_pages_colours(make_study, tmp_path):
    made = make_study(epochs=2, seeds=(0, 1), diverged={("with", 0, 1): 50})
    losses = made.metrics.filter(pl.col("metric").is_in(["train loss", "test loss"]))
    study = replace(made, metrics=losses)
    paths = write_figures(study, tmp_path / "new", "svg")
    found = figures_of(study.settings, study.trials, study.metrics, study.summaries)
    assert [path.stem for path in paths] == [figure.id for figure in found.all]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    text = paths[0].read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert all(colour in text for colour in ARM_COLOURS["light"][:2])
    assert "mean and 95 % t interval" in text
    again = write_figures(study, tmp_path / "again", "svg")
    assert again[0].read_bytes() == paths[0].read_bytes()


def test_png_has_something_drawn(make_study, tmp_path):
    study = make_study(epochs=1, seeds=(0,))
    one = replace(study, metrics=study.metrics.filter(metric="test loss"), summaries=[])
    (path,) = write_figures(one, tmp_path, "png")
    assert path.suffix == ".png"
    with Image.open(path) as image:
        assert len(image.convert("RGB").getcolors(10**6)) > 20


def test_names_with_dollars_and_slashes(make_study, tmp_path):
    study = make_study(arms=("$a$", "b/../c"), epochs=1, seeds=(0,))
    one = replace(study, metrics=study.metrics.filter(metric="test loss"), summaries=[])
    assert len(write_figures(one, tmp_path)) == 1


def test_another_format_is_refused(make_study, tmp_path):
    with pytest.raises(StoreError, match=r"format 'pdf'.*svg, png"):
        write_figures(make_study(epochs=1), tmp_path, "pdf")


def test_a_file_in_the_folders_way_is_one_message(make_study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write .*file"):
        write_figures(make_study(epochs=1), tmp_path / "file")


def test_a_file_says_what_marks_a_diverged_trial(make_study, tmp_path):
    made = make_study(epochs=2, seeds=(0, 1), diverged={("with", 0, 1): 50})
    one = replace(made, metrics=made.metrics.filter(metric="test loss"), summaries=[])
    (path,) = write_figures(one, tmp_path, "svg")
    assert ">diverged</text>" in path.read_text(encoding="utf-8")
