"""The guides to recalibrate and freeze: their blocks print what they say."""

from __future__ import annotations

import contextlib
import io
import re
from itertools import pairwise
from typing import Any

import pytest

from source_tree import ROOT

NAMES = ("recalibrate", "freeze")
GUIDES = {name: (ROOT / "docs" / "guides" / f"{name}.md").read_text("utf-8") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_print_what_the_guide_says(name: str) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", GUIDES[name], flags=re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"__name__": "guide"}
    ran = 0
    for (language, text), (_, expected) in pairwise(blocks):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, f"{name}.md", "exec"), space)
        assert printed.getvalue() == expected
        ran += 1
    assert ran >= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    prose = re.sub(r"^```.*?^```", "", GUIDES[name], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (ROOT / "docs" / "guides" / target).exists(), target
