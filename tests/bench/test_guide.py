"""The guide to the bench: its code prints what it says, its commands are commands."""

from __future__ import annotations

import contextlib
import io
import re
import shlex

import pytest
import typer

from bench.rows import row_of
from bnkit.bench.options import read_settings
from bnkit.cli.bench import bench
from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "bench.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
PYTHON = [number for number, (language, _) in enumerate(BLOCKS) if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, code in BLOCKS
    if language == "sh"
    for line in code.splitlines()
]

app = typer.Typer()
app.command("bench")(bench)
COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize("number", PYTHON)
def test_a_block_prints_what_the_guide_says(number):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number][1], "bench.md", "exec"), {"__name__": "guide"})
    assert printed.getvalue() == BLOCKS[number + 1][1]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_bnkit_takes(command):
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("bnkit", "bench")
    given = COMMAND.make_context("bench", arguments).params
    settings = read_settings(
        shapes=given["shapes"] or (),
        dtypes=given["dtype"] or (),
        layouts=given["layout"] or (),
        operations=given["operation"] or (),
        modes=given["mode"] or (),
        passes=given["passes"] or (),
        quick=given["quick"],
    )
    assert len(list(settings.cases())) >= 1


def test_every_option_stands_in_the_guide():
    names = {name for option in COMMAND.params for name in option.opts + option.secondary_opts}
    for name in names - {"--help", "--install-completion", "--show-completion"}:
        assert f"`{name}`" in GUIDE, name


def test_every_key_of_a_row_stands_in_the_guide():
    peers = ("bnkit_", "torch_", "compile_", "limit_reused_", "limit_")
    for key in row_of(bnkit=[1.0], torch=[1.0]).to_dict():
        peer = next((peer for peer in peers if key.startswith(peer)), None)
        said = key if peer is None else f"…_{key.removeprefix(peer)}"
        assert f"`{said}`" in GUIDE, key


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / "guides" / target).exists(), target
