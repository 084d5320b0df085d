"""`bnkit study report`: pages, comparisons and figures of stored studies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.command_line import Bnkit
from helpers.made_studies import write_store


@pytest.fixture
def bnkit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bnkit:
    return Bnkit(monkeypatch, capsys)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "made", epochs=2, seeds=(0, 1, 2), rates=(0.1,), diverged=())


def test_several_studies_are_compared_on_one_page(bnkit: Bnkit, store: Path) -> None:
    other = Path(shutil.copytree(store, store.with_name("other")))
    code, out, err = bnkit("study", "report", str(store), str(other))
    assert code == 0, err
    assert f"The comparison: {store / 'comparison.html'}" in out
    page = (store / "comparison.html").read_text(encoding="utf-8")
    assert "made (made): none" in page
    assert "made (other): batch" in page
    assert (other / "report.html").is_file()


def test_the_page_goes_where_it_is_told(bnkit: Bnkit, store: Path) -> None:
    out_file = store.parent / "new" / "page.html"
    code, out, err = bnkit("study", "report", str(store), "--out", str(out_file))
    assert code == 0, err
    assert f"The report: {out_file}" in out
    assert out_file.is_file()


def test_figures_are_written_beside(bnkit: Bnkit, store: Path, monkeypatch) -> None:
    seen = []

    def write(study, folder, format_):
        seen.append((folder, format_))
        return [folder / "one", folder / "two"]

    monkeypatch.setattr("bnkit.lab.report.write_figures", write)
    folder = store.parent / "figures"
    arguments = ("study", "report", str(store), "--figures", str(folder))
    code, out, err = bnkit(*arguments, "--format", "png")
    assert code == 0, err
    assert f"2 figures in {folder}" in out
    assert bnkit(*arguments)[0] == 0
    assert seen == [(folder, "png"), (folder, "svg")]


def test_a_format_of_figures_without_figures_is_one_message(bnkit: Bnkit, store: Path) -> None:
    code, _, err = bnkit("study", "report", str(store), "--format", "svg")
    assert code == 2
    assert "Name a folder with --figures" in err


def test_json_says_where_the_page_is(bnkit: Bnkit, store: Path) -> None:
    code, out, err = bnkit("study", "report", str(store), "--format", "json")
    assert code == 0, err
    assert json.loads(out)["report"] == str(store / "report.html")
