"""The guide to check and the job for continuous integration: what they show is what happens."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Schema
from typer.testing import CliRunner

from bnkit.cli.main import app
from source_tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "check.md"
JOB = ROOT / "examples" / "check_in_ci.md"


def blocks(file: Path) -> list[tuple[str, str]]:
    """Return (language, text) of each block, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", file.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [(str(language), str(text)) for language, text in found]


NET = next(text for language, text in blocks(GUIDE) if language == "python")


def printed(language: str, text: str) -> str:
    """Return what a block prints, run in the current folder."""
    if language == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "check.md", "exec"), {"__name__": "guide"})
        return out.getvalue()
    (command,) = text.splitlines()
    program, *arguments = shlex.split(command)
    assert program == "bnkit"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 1), result.output
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("net", None)


def test_every_block_prints_what_the_guide_says(folder: Path) -> None:
    found = blocks(GUIDE)
    assert {language for language, _ in found} == {"python", "sh", "text", "toml"}
    for number, (language, text) in enumerate(found):
        if language == "toml":
            (folder / "pyproject.toml").write_text(text, "utf-8")
        elif language != "text" and text != NET:
            assert found[number + 1] == ("text", printed(language, text))


def test_the_job_checks_and_uploads_what_it_checked(folder: Path) -> None:
    job = dict(blocks(JOB))
    (step,) = re.findall(r"run: (bnkit .*) > (\S+)", job["yaml"])
    command, file = step
    assert f"sarif_file: {file}" in job["yaml"]
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 1
    Schema.model_validate_json(result.stdout)
    (folder / "pyproject.toml").write_text(job["toml"], "utf-8")
    quiet = CliRunner().invoke(app, shlex.split(job["sh"])[1:])
    assert quiet.exit_code == 0, quiet.stdout
    assert "the published recipe has it" in quiet.stdout
    (run,) = json.loads(CliRunner().invoke(app, shlex.split(command)[1:]).stdout)["runs"]
    assert any("suppressions" in found for found in run["results"])


@pytest.mark.parametrize("file", [GUIDE, JOB], ids=lambda file: file.stem)
def test_every_link_leads_somewhere(file: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (file.parent / target).exists(), target
