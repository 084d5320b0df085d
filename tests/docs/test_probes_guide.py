"""The guide to probes: its blocks print what it says, and its table is that of the registry."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

from bnkit.lab.probes.listing import probe_table
from bnkit.lab.study.spec import validate
from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "probes.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def test_the_loop_prints_what_the_guide_says(tmp_path: Path) -> None:
    number = next(n for n, (_, code) in enumerate(BLOCKS) if "Recorder(" in code)
    printed = io.StringIO()
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number][1], "probes.md", "exec"), {"__name__": "guide"})
    assert printed.getvalue() == BLOCKS[number + 1][1]


def test_the_callback_is_made() -> None:
    pytest.importorskip("pytorch_lightning", reason="the extra `lightning` is missing")
    code = next(code for _, code in BLOCKS if "ProbeCallback(" in code)
    exec(compile(code, "probes.md", "exec"), {"__name__": "guide"})


def test_the_tables_are_those_of_a_study() -> None:
    tables = "\n".join(code for language, code in BLOCKS if language == "toml")
    content = {
        "study": {"name": "guide"},
        "data": {"name": "digits"},
        "network": {"name": "dense"},
        "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
        **tomllib.loads(tables),
    }
    assert len(validate(content, "guide").probes) == 2


def test_the_table_is_that_of_the_registry() -> None:
    """Paste `python -c "from bnkit.lab.probes.listing import *; print(probe_table())"`."""
    table = GUIDE.partition("<!-- probes -->\n")[2].partition("\n<!-- end -->")[0]
    assert table == probe_table()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / "guides" / target).exists(), target
