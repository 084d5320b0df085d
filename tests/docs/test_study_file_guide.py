"""The guide to the study file: its study runs, its blocks print what it says, no key is missing."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

import bnkit.lab
from bnkit.lab.study.spec import plan
from bnkit.lab.study.spec_errors import known_keys
from bnkit.lab.study.study_file import find_study, resolve
from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "study-file.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
STUDY = next(code for language, code in BLOCKS if language == "toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide's study has been run as the guide runs it."""
    made = tmp_path_factory.mktemp("guide")
    (made / "my-study.toml").write_text(STUDY, "utf-8")
    with contextlib.chdir(made):
        bnkit.lab.run("my-study.toml", workers=1, quick=True)
    return made


def test_the_study_plans_what_the_guide_says() -> None:
    settings = resolve(find_study(tomllib.loads(STUDY)))
    assert len(plan(settings)) == 2 * 2 * 3


def test_further_claims_are_ones_that_the_study_can_make() -> None:
    _, claims = (code for language, code in BLOCKS if language == "toml")
    settings = resolve(find_study(tomllib.loads(f"{STUDY}\n{claims}")))
    readings = [(claim.reading, claim.across) for claim in settings.claims[1:]]
    assert readings == [("largest-usable", "mean"), ("epochs-to-target", "mean"), ("last", "range")]


def test_a_run_leaves_what_the_guide_says(folder: Path) -> None:
    listed = next(code for language, code in BLOCKS if code.startswith("runs/my-study"))
    for pattern in listed.split():
        assert list(folder.glob(pattern.replace("<id>", "*"))), pattern


PYTHON = [number for number, (language, _) in enumerate(BLOCKS) if language == "python"]


@pytest.mark.parametrize("number", PYTHON)
def test_python_blocks_print_what_the_guide_says(folder: Path, number: int) -> None:
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number][1], "study-file.md", "exec"), {"__name__": "guide"})
    assert printed.getvalue() == BLOCKS[number + 1][1]


def test_commands_are_ones_that_the_command_line_takes() -> None:
    from bnkit.cli.study import _parse_override

    commands = next(code for language, code in BLOCKS if language == "sh").splitlines()
    assert all(command.startswith("bnkit study run my-study.toml") for command in commands)
    (override,) = re.findall(r"--set (\S+)", "\n".join(commands))
    resolve(find_study(tomllib.loads(STUDY)), overrides=dict([_parse_override(override)]))


def test_every_key_is_in_the_table() -> None:
    table = "\n".join(line for line in GUIDE.splitlines() if line.startswith("|"))
    for name, keys in known_keys().items():
        if name in ("", "arms"):
            continue
        for key in keys:
            assert re.search(rf"\b{key}\b", table), f"{name}.{key}"
