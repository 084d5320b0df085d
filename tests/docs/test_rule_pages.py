"""docs/rules: a page per rule, as the rules say it now, with every section."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bnkit.rules import Rule, all_rules, find_rule
from bnkit.rules.rule_page import rule_page
from bnkit.rules.rule_pages import GROUPS, INDEX, page_name, pages, write_pages
from source_tree import ROOT

FOLDER = ROOT / "docs" / "rules"
HEADINGS = ("flags", "Why it", "When it is fine", "Before", "After", "Remedy", "Source")


def sections(page: str) -> dict[str, str]:
    """Return heading → text."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


def lacks(page: str) -> list[str]:
    """Return the headings that a page lacks, or has nothing under."""
    found = sections(page)
    return [
        heading
        for heading in HEADINGS
        if not any(heading in known and text for known, text in found.items())
    ]


def differences(folder: Path) -> set[str]:
    """Return the names of pages that are missing, stale or of no rule."""
    current = pages()
    held = {file.name: file.read_text("utf-8") for file in folder.glob("*.md")}
    names = held.keys() | current.keys()
    return {name for name in names if held.get(name) != current.get(name)}


def test_the_pages_are_what_the_rules_say() -> None:
    assert not differences(FOLDER), "run `make fix`, which writes docs/rules"


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_page_has_every_section(rule: Rule) -> None:
    assert lacks((FOLDER / page_name(rule)).read_text("utf-8")) == []
    assert rule.code[2] in GROUPS


def test_the_index_links_every_page() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (FOLDER / INDEX).read_text("utf-8"))
    assert sorted(links) == sorted(page_name(rule) for rule in all_rules())


def test_these_checks_can_fail(tmp_path: Path) -> None:
    write_pages(tmp_path)
    assert not differences(tmp_path)
    (tmp_path / "redundant_bias.md").write_text("old", "utf-8")
    (tmp_path / "wrong_axis.md").unlink()
    (tmp_path / "gone.md").write_text("a rule that was", "utf-8")
    assert differences(tmp_path) == {"redundant_bias.md", "wrong_axis.md", "gone.md"}
    assert lacks(rule_page(replace(find_rule("BN401"), fine=""))) == ["When it is fine"]
    write_pages(tmp_path)
    assert not differences(tmp_path)
