"""The guide to fold: its blocks, one after the other, print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "fold.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def test_the_blocks_print_what_the_guide_says() -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    printed = []
    for language, text in BLOCKS:
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "fold.md", "exec"), names)
            printed.append(out.getvalue())
    assert printed == [text for language, text in BLOCKS if language == "text"]


def test_every_link_leads_somewhere() -> None:
    prose = re.sub(r"^```.*?^```", "", GUIDE, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (ROOT / "docs" / "guides" / target).exists(), target
