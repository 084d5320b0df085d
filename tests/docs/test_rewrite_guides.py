"""The guides to the rewrites: their blocks, one after the other, print what they say."""

from __future__ import annotations

import contextlib
import io
import re
from itertools import pairwise
from typing import Any

import pytest

from source_tree import ROOT

NAMES = ("rewrites", "fold", "recalibrate", "freeze", "convert", "prune")
FOLDER = ROOT / "docs" / "guides"
GUIDES = {name: (FOLDER / f"{name}.md").read_text("utf-8") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_print_what_the_guide_says(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp(name))
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", GUIDES[name], flags=re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"__name__": "guide"}
    ran = 0
    for (language, text), (following, expected) in pairwise([*blocks, ("", "")]):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, f"{name}.md", "exec"), space)
        assert printed.getvalue() == (expected if following == "text" else "")
        ran += 1
    assert ran


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    prose = re.sub(r"^```.*?^```", "", GUIDES[name], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (FOLDER / target).exists(), target
