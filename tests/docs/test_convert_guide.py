"""The guide to convert, remove and insert: its blocks print what it says."""

from __future__ import annotations

import contextlib
import io
import re

import pytest

from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "convert.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
PYTHON = [number for number, (language, _) in enumerate(BLOCKS) if language == "python"]


@pytest.mark.parametrize("number", PYTHON)
def test_a_block_prints_what_the_guide_says(number: int) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number][1], "convert.md", "exec"), {"__name__": "guide"})
    assert printed.getvalue() == BLOCKS[number + 1][1]


def test_every_link_leads_somewhere() -> None:
    prose = re.sub(r"^```.*?^```", "", GUIDE, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", prose)
    assert targets
    for target in targets:
        assert (ROOT / "docs" / "guides" / target).exists(), target


def test_the_table_names_every_kind() -> None:
    from bnkit.rewrite.norm_kinds import KINDS

    rows = [line for line in GUIDE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r'`"(\w+)"`', row)}
    assert named == set(KINDS)
