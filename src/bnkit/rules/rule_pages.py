"""The rules' pages as files: `python -m bnkit.rules.rule_pages docs/rules` writes all of them.

`make fix` does so; a test holds docs/rules/ against what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from bnkit.rules.registry import all_rules
from bnkit.rules.rule import Rule
from bnkit.rules.rule_page import needs_in_words, rule_page

INDEX = "README.md"
NOTE = (
    "<!-- Written by `make fix` from src/bnkit/rules/; change the rule and not this page. -->\n\n"
)
# First digit of a code → what those rules are about.
GROUPS = {
    "1": "Statistics",
    "2": "The batch",
    "3": "Modes and freezing",
    "4": "Place in the network",
    "5": "Training set-up",
    "6": "Many devices",
    "7": "Conversion and inference",
}


def page_name(rule: Rule) -> str:
    """Return the file name of a rule's page: its name, as its source file is called."""
    return rule.name.replace("-", "_") + ".md"


def pages() -> Mapping[str, str]:
    """Return file name → content, of every rule's page and of the index."""
    found = {page_name(rule): NOTE + rule_page(rule) for rule in all_rules()}
    return {INDEX: NOTE + index_page()} | found


def index_page() -> str:
    """Return the list of all rules, by group."""
    parts = [
        "# The rules of `bnkit check`",
        f"{len(all_rules())} rules. E error, W warning, I info.",
    ]
    for digit, rules in groupby(all_rules(), key=lambda rule: rule.code[2]):
        rows = ["| code | name | severity | needs |", "|---|---|---|---|"]
        for rule in rules:
            severities = "/".join(rule.severities or (rule.severity,))
            link = f"[{rule.name}]({page_name(rule)})"
            rows.append(f"| {rule.code} | {link} | {severities} | {needs_in_words(rule)} |")
        parts += [f"## {GROUPS[digit]}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def write_pages(folder: Path) -> None:
    """Write every page into a folder, and remove pages of rules that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    current = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in current:
            stale.unlink()
    for name, content in current.items():
        (folder / name).write_text(content, "utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
