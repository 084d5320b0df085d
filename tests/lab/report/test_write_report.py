"""Writing the file: whole or not at all, quickly, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnkit.errors import MissingExtraError, StoreError
from bnkit.lab.report import plotly_script, write_report
from bnkit.lab.report.page import render_page

LARGEST_PAGE = 6 * 2**20


def test_writes_the_page_and_makes_the_folder(make_study, tmp_path):
    path = tmp_path / "new" / "report.html"
    study = make_study()
    assert write_report(study, path) == path
    assert path.read_text(encoding="utf-8") == render_page(study)
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_size < LARGEST_PAGE


def test_same_study_same_page(make_study):
    assert render_page(make_study()) == render_page(make_study())


def test_interrupted_writing_leaves_the_earlier_page(make_study, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier", encoding="utf-8")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError, match=r"cannot write the report to .*No space left"):
        write_report(make_study(), path)
    assert path.read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_half_a_page(make_study, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier", encoding="utf-8")
    seen = []
    replace = Path.replace

    def look_and_replace(self, target):
        seen.append((path.read_text(encoding="utf-8"), self.read_text(encoding="utf-8")))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look_and_replace)
    study = make_study()
    write_report(study, path)
    assert seen == [("earlier", render_page(study))]


def test_a_folder_in_the_way_is_one_message(make_study, tmp_path):
    with pytest.raises(
        StoreError, match=r"cannot write the report to .*which is a folder.*Name a file in it"
    ):
        write_report(make_study(), tmp_path)


def test_without_plotly_says_what_to_install(make_study, monkeypatch):
    monkeypatch.setattr(plotly_script, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"plotly is not installed.*bnkit\[lab\]"):
        render_page(make_study())


def test_import_loads_nothing_heavy():
    code = (
        "import sys, bnkit.lab.report as report; assert 'write_report' in dir(report);"
        "heavy = {'torch', 'polars', 'plotly', 'jinja2', 'scipy', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_writing_loads_neither_torch_nor_the_plotly_package():
    code = (
        "import sys; from bnkit.lab.report import write_report;"
        "heavy = {'torch', 'plotly'} & set(sys.modules); assert not heavy, heavy;"
        "assert 'polars' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
