"""Code or name → rule: the rules are the files of this folder that hold a `RULE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from math import isnan
from pkgutil import iter_modules

import bnkit.rules as home
from bnkit.errors import CheckError, did_you_mean
from bnkit.rules.rule import Rule

_FRAMEWORK = {
    "rule",
    "registry",
    "rule_page",
    "rule_pages",
    "wording",
    "distance",
    "fold_pairs",
    "feature_axis",
}


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule, in the order of the codes."""
    names = sorted(found.name for found in iter_modules(home.__path__))
    rules: list[Rule] = [
        import_module(f"{home.__name__}.{name}").RULE for name in names if name not in _FRAMEWORK
    ]
    return tuple(sorted(rules, key=lambda rule: rule.code))


def find_rule(word: str) -> Rule:
    """Return the rule of a code or name, such as "BN401" or "redundant-bias".

    Raises:
        CheckError: there is none; the nearest is named.
    """
    for rule in all_rules():
        if word.upper() == rule.code or word.lower() == rule.name:
            return rule
    raise _unknown(word)


def select_rules(
    select: Iterable[str] | None = None, ignore: Iterable[str] | None = None
) -> tuple[Rule, ...]:
    """Return the rules that are selected and not ignored.

    Args:
        select: codes, names, or beginnings of codes such as "BN4"; None selects all.
        ignore: the same, taken away.

    Raises:
        CheckError: one of them fits no rule; the nearest is named.
    """
    chosen = _fitting(select) if select is not None else set(all_rules_by_code())
    dropped = _fitting(ignore or ())
    return tuple(rule for rule in all_rules() if rule.code in chosen - dropped)


def all_rules_by_code() -> Mapping[str, Rule]:
    """Return code → rule."""
    return {rule.code: rule for rule in all_rules()}


def resolve_thresholds(given: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """Return code → threshold → value, from what a user wrote.

    Args:
        given: code or name of a rule → a number, for a rule with one threshold, or a mapping.

    Raises:
        CheckError: an unknown rule or threshold, or a value that is no number.
    """
    resolved: dict[str, dict[str, float]] = {}
    for word, value in given.items():
        rule = find_rule(word)
        if not rule.thresholds:
            raise CheckError(f"thresholds.{word}: {rule.code} has no threshold")
        only = next(iter(rule.thresholds))
        values = value if isinstance(value, Mapping) else {only: value}
        if not isinstance(value, Mapping) and len(rule.thresholds) > 1:
            raise CheckError(
                f"thresholds.{word} is {value!r}",
                required=f"{rule.code} has several: {', '.join(rule.thresholds)}",
                remedy=f"Write {rule.code}.{only} = …",
            )
        for name, number in values.items():
            resolved.setdefault(rule.code, {})[str(name)] = _number(rule, str(name), number)
    return resolved


def _number(rule: Rule, name: str, value: object) -> float:
    if name not in rule.thresholds:
        raise CheckError(
            f"thresholds.{rule.code}: unknown threshold {name!r}",
            required=f"one of {', '.join(rule.thresholds)}",
            remedy=did_you_mean(name, rule.thresholds),
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
        raise CheckError(f"thresholds.{rule.code}.{name} is {value!r}", required="a number")
    return float(value)


def _fitting(words: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for word in words:
        begun = {rule.code for rule in all_rules() if rule.code.startswith(word.upper()) and word}
        found |= begun or {find_rule(word).code}
    return found


def _unknown(word: str) -> CheckError:
    names = [text for rule in all_rules() for text in (rule.code, rule.name)]
    near = did_you_mean(word.upper(), names) or did_you_mean(word.lower(), names)
    return CheckError(
        f"there is no rule {word!r}",
        required="a code such as BN401, a beginning of one such as BN4, or a name",
        remedy=near or "`bnkit rule all` lists them",
    )
