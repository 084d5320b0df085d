"""The guide to the report: what it links to is there, and so are the options it names."""

from __future__ import annotations

import re

from bnkit.cli.study import report_study
from bnkit.lab.study_result import StudyResult
from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "report.md").read_text("utf-8")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / "guides" / target).exists(), target


def test_options_and_attributes_exist() -> None:
    names = set(re.findall(r"--([a-z]+)", GUIDE))
    assert names == {"out", "figures", "format"}
    assert {"out", "figures", "format_"} <= set(report_study.__annotations__)
    for name in re.findall(r"`\.([a-z_]+)", GUIDE):
        assert hasattr(StudyResult, name), name
