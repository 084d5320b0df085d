"""Codes, names, selections and thresholds as a user writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bnkit.errors import CheckError
from bnkit.inspection.facts.model import ModelFacts
from bnkit.inspection.facts.setup import SetupFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules import Finding, find_rule, registry, select_rules
from bnkit.rules.rule import Rule
from bnkit.rules.rule_page import rule_page, rule_table

EMPTY = Facts(ModelFacts("Model", False, (), (), ()))


def nothing(facts: Facts) -> Iterator[Finding]:
    yield from ()


def rule_with(**changes: Any) -> Rule:
    return replace(find_rule("BN101"), find=nothing, **changes)


def codes(*args: Any) -> list[str]:
    return [rule.code for rule in select_rules(*args)]


def test_a_rule_is_found_by_code_and_name_in_any_case() -> None:
    assert find_rule("bn401") is find_rule("redundant-bias") is find_rule("BN401")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("BN401x", "there is no rule 'BN401x'.* Did you mean 'BN401'"),
        ("redundant-bais", "Did you mean 'redundant-bias'"),
        ("zzz", "`bnkit rule all` lists them"),
    ],
)
def test_an_unknown_rule_names_the_nearest(word: str, message: str) -> None:
    with pytest.raises(CheckError, match=message):
        find_rule(word)
    with pytest.raises(CheckError, match=message):
        select_rules(None, [word])


def test_rules_are_selected_by_code_name_and_beginning() -> None:
    everything = codes()
    assert everything == sorted(everything)
    assert codes(["BN1"]) == [code for code in everything if code.startswith("BN1")]
    assert codes(["BN1", "redundant-bias"], ["BN101"]) == [
        code for code in everything if code.startswith("BN1") and code != "BN101"
    ] + ["BN401"]
    assert codes([]) == []


def test_alternatives_and_conjunctions_of_needs() -> None:
    setup = replace(EMPTY, setup=SetupFacts(batch_size=4))
    rule = rule_with(needs="G+T", requires=("setup.batch_size",))
    assert rule.missing(EMPTY).startswith("needs an example input")
    assert rule_with(needs="G/M").missing(EMPTY) == ""
    assert rule_with(needs="F/D").missing(EMPTY).startswith("needs real data")
    rule = rule_with(needs="T", requires=("setup.batch_size",))
    assert rule.missing(EMPTY).startswith("needs the training batch size")
    assert rule.missing(setup) == ""
    assert rule_with(needs="D", requires=("data.domains",)).missing(EMPTY) != ""


def test_thresholds_are_the_user_s_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        rule_with(thresholds={"m": 16}),
        rule_with(code="BN104", name="two", thresholds={"mean": 0.25, "variance": 1.5}),
    )
    monkeypatch.setattr(registry, "all_rules", lambda: (one, two))
    resolved = registry.resolve_thresholds({"BN101": 8, "two": {"variance": 2}})
    assert resolved == {"BN101": {"m": 8.0}, "BN104": {"variance": 2.0}}
    facts = replace(EMPTY, thresholds=resolved)
    assert one.threshold(facts, "m") == 8
    assert two.threshold(facts, "mean") == 0.25
    assert "`BN104.mean = 0.25`" in rule_page(two)
    for wrong, message in (
        ({"BN104": 3}, "BN104 has several: mean, variance. Write BN104.mean"),
        ({"BN104": {"meen": 3}}, "unknown threshold 'meen'.* Did you mean 'mean'"),
        ({"BN101": "x"}, "BN101.m is 'x'; a number"),
    ):
        with pytest.raises(CheckError, match=message):
            registry.resolve_thresholds(wrong)


def test_a_rule_without_thresholds_takes_none() -> None:
    with pytest.raises(CheckError, match="BN401 has no threshold"):
        registry.resolve_thresholds({"BN401": 1})


def test_a_severity_that_a_rule_does_not_have_is_refused() -> None:
    with pytest.raises(AssertionError, match="BN101"):
        find_rule("BN101").finding("layer", "message", severity="I")


def test_a_rule_as_data_has_no_function() -> None:
    assert "find" not in rule_table(find_rule("BN401"))
