"""The guide's commands and code print what the guide says they print."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from bnkit.cli.explain import explain
from bnkit.errors import BnkitError
from bnkit.explain import read_batch, work_through

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "explain.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```console\n\$ (.*?)\n(.*?)\n```", GUIDE, re.S)
CODE = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", GUIDE, re.S)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")

app = typer.Typer()
app.command("explain")(explain)
app.command("other")(lambda: None)  # one command more, so that `explain` is named as in bnkit


def assert_same_text(actual: str, documented: str) -> None:
    """Compare words exactly and numbers to four digits, as rounding differs between machines.

    Below 1e-11 numbers are rounding errors themselves.
    """
    words, documented_words = (
        " ".join(NUMBER.sub(" # ", text).split()) for text in (actual, documented)
    )
    assert words == documented_words
    np.testing.assert_allclose(
        [float(token) for token in NUMBER.findall(actual)],
        [float(token) for token in NUMBER.findall(documented)],
        rtol=1e-4,
        atol=1e-11,
    )


@pytest.mark.parametrize(
    "wrong", ["mean 2.501 of x", "mean 2.5 of y", "mean 2.5", "mean 2.5 of x 3", "mean -2.5 of x"]
)
def test_assert_same_text_can_fail(wrong):
    assert_same_text("mean  2.50001 of x", "mean 2.5 of x")
    with pytest.raises(AssertionError):
        assert_same_text(wrong, "mean 2.5 of x")


def run(command: str) -> str:
    """Return what a line of the guide prints, `echo '…' | bnkit explain …` included."""
    before, pipe, after = command.rpartition(" | ")
    given = shlex.split(before)[1] if pipe else None
    program, *arguments = shlex.split(after)
    assert program == "bnkit"
    result = CliRunner().invoke(app, arguments, input=given)
    if isinstance(result.exception, BnkitError):
        return f"bnkit: {result.exception}"
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_guide_has_what_is_tested_here():
    assert len(COMMANDS) == GUIDE.count("```console") >= 6
    assert len(CODE) == GUIDE.count("```python") >= 1


@pytest.mark.parametrize(("command", "output"), COMMANDS)
def test_commands(command, output):
    assert_same_text(run(command), output)


@pytest.mark.parametrize(("code", "output"), CODE)
def test_code(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "explain.md", "exec"), {})
    assert_same_text(printed.getvalue(), output)


def test_the_file_shown_can_be_read(tmp_path):
    (content,) = re.findall(r"```json\n(.*?)```", GUIDE, re.S)
    path = tmp_path / "batch.json"
    path.write_text(content)
    batch = read_batch(path)
    assert batch.weight.tolist() == [3, 10]
    assert work_through(batch.x, batch.weight, batch.bias).agreement.agrees


def test_the_keys_listed_are_those_printed():
    listed = GUIDE.split("one key per line:")[1].split("```")[0]
    numbers = json.loads(run("echo '[[1], [2]]' | bnkit explain --input - --format json"))
    keys = [*numbers]
    at = keys.index("agreement")
    keys[at + 1 :] = [*numbers["agreement"]]
    keys[at:at] = [*numbers["inference"]]
    assert re.findall(r"`(\w+)`", listed) == keys
