"""The rules of `bnkit check`: one file each, pure functions over facts; none imports torch."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.rules.registry import all_rules as all_rules
    from bnkit.rules.registry import find_rule as find_rule
    from bnkit.rules.registry import select_rules as select_rules
    from bnkit.rules.rule import Finding as Finding
    from bnkit.rules.rule import Rule as Rule

__getattr__, __dir__ = attach(
    __name__,
    {
        "Finding": "bnkit.rules.rule",
        "Rule": "bnkit.rules.rule",
        "all_rules": "bnkit.rules.registry",
        "find_rule": "bnkit.rules.registry",
        "select_rules": "bnkit.rules.registry",
    },
)
