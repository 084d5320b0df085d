"""`bnkit rule`: what a rule finds, why, when it is fine, the remedy."""

from __future__ import annotations

from typing import Annotated

import typer

from bnkit.cli.output_format import FormatOption, OutputFormat, print_json, print_text


def rule(
    code: Annotated[str, typer.Argument(help="Code or name of a rule; all lists them.")],
    format_: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show what a rule of `bnkit check` finds, why it matters, when it is fine, the remedy."""
    from bnkit.rules.registry import all_rules, find_rule
    from bnkit.rules.rule_page import rule_page, rule_table

    if code == "all":
        rules = all_rules()
        if format_ is OutputFormat.JSON:
            print_json([rule_table(found) for found in rules])
            return
        width = max(len(found.name) for found in rules)
        for found in rules:
            severities = "/".join(found.severities or (found.severity,))
            print_text(f"{found.code}  {found.name:<{width}}  {severities:<5}  {found.needs}")
        return
    found = find_rule(code)
    if format_ is OutputFormat.JSON:
        print_json(rule_table(found))
    else:
        print_text(rule_page(found).rstrip())
