"""A rule → its page, in Markdown: what `bnkit rule CODE` prints and docs/rules/ holds."""

from __future__ import annotations

from dataclasses import fields

from bnkit.rules.rule import INPUTS, NEEDS, Rule

SEVERITY_NAMES = {"E": "error", "W": "warning", "I": "info"}


def rule_page(rule: Rule) -> str:
    """Return the page of a rule."""
    severities = " or ".join(SEVERITY_NAMES[s] for s in rule.severities or (rule.severity,))
    safety = f" Safety of the remedy: {rule.safety}." if rule.safety else ""
    parts = [
        f"# {rule.code}: {rule.name}",
        f"Severity: {severities}. Needs {needs_in_words(rule)}.",
        f"## What it flags\n{rule.flags}",
        f"## Why it matters\n{rule.why}",
        f"## When it is fine\n{rule.fine}",
        f"## Before\n```python\n{rule.before.strip()}\n```",
        f"## After\n```python\n{rule.after.strip()}\n```",
        f"## Remedy\n{rule.remedy}{safety}",
    ]
    if rule.thresholds:
        rows = [f"`{rule.code}.{name} = {value:g}`" for name, value in rule.thresholds.items()]
        parts.append("## Thresholds\nIn `[tool.bnkit.thresholds]`: " + ", ".join(rows) + ".")
    parts.append(f"## Source\n{rule.source}")
    return "\n\n".join(parts) + "\n"


def needs_in_words(rule: Rule) -> str:
    """Return what must be given so that the rule runs, as words."""
    words = []
    for alternatives in rule.needs.split("+"):
        letters = [letter for letter in alternatives.split("/") if letter != "T"]
        if letters:
            words.append(" or ".join(dict.fromkeys(NEEDS[letter] for letter in letters)))
    words += [INPUTS[path] for path in rule.requires]
    return ", and ".join(words)


def rule_table(rule: Rule) -> dict[str, object]:
    """Return all that a rule says of itself, as JSON-able data."""
    names = [field.name for field in fields(rule) if field.name not in ("find", "lacks")]
    held = {name: getattr(rule, name) for name in names}
    return held | {"severities": list(rule.severities or (rule.severity,))}
