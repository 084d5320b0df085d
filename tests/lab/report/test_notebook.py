"""What a notebook shows."""

from __future__ import annotations

import html
from dataclasses import replace

from bnkit.lab.report import write_report
from bnkit.lab.report.notebook import ReportFile, results_html
from bnkit.lab.study_result import StudyResult


def test_results_show_answer_verdicts_and_arms(make_study, parse_page, tmp_path):
    result = StudyResult(tmp_path, make_study(epochs=1))
    page = parse_page(result._repr_html_())
    assert "Supported" in page.text
    assert len(page.all("table")) == 2
    assert not page.all("script")


def test_names_are_escaped(make_study):
    study = make_study(epochs=1, study={"name": "x", "title": "<script>1</script>"})
    assert "<script>" not in results_html(study, None)


def test_a_report_shows_itself(make_study, tmp_path, parse_page):
    path = ReportFile(write_report(make_study(epochs=1), tmp_path / "report.html"))
    (frame,) = parse_page(path._repr_html_()).all("iframe")
    assert frame.attributes["srcdoc"] == path.read_text(encoding="utf-8")
    assert html.escape("<h1>", quote=True) in path._repr_html_()


def test_frames_hold_summaries_and_verdicts(make_study, tmp_path):
    grids = [{"training.optimizer.lr": rate} for rate in (0.1, 1.0)]
    result = StudyResult(tmp_path, make_study(epochs=1, grids=grids))
    assert result.summary_frame.height == len(result.summaries)
    assert {"arm", "training.optimizer.lr", "metric", "mean"} <= set(result.summary_frame.columns)
    assert result.verdict_frame["outcome"].to_list() == ["supported"]


def test_frames_of_nothing(make_study, tmp_path):
    study = replace(make_study(epochs=1), summaries=[], verdicts=[])
    result = StudyResult(tmp_path, study)
    assert (result.summary_frame.height, result.verdict_frame.height) == (0, 0)
