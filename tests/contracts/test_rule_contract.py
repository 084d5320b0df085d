"""Every rule: a model on which it fires at the right layer, near misses, a whole page, no torch.

A rule's cases lie in `tests/rule_cases`, in a file named as the rule's own.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bnkit
from bnkit.inspection.facts.whole import Facts
from bnkit.rules import Rule, all_rules
from bnkit.rules.rule import INPUTS, NEEDS, SAFETIES, SEVERITIES
from bnkit.rules.rule_page import rule_page
from helpers.healthy_architectures import HEALTHY
from helpers.rule_case import RuleCase, look_trained

HOME = Path(__file__).resolve().parents[1] / "rule_cases"
SECTIONS = ("flags", "why", "fine", "before", "after", "remedy", "source")


def stem(rule: Rule) -> str:
    return rule.name.replace("-", "_")


def cases_of(rule: Rule) -> list[RuleCase]:
    if not (HOME / f"{stem(rule)}.py").is_file():
        return []
    cases: list[RuleCase] = import_module(f"rule_cases.{stem(rule)}").CASES
    return cases


ALL = [
    pytest.param(rule, case, id=f"{rule.code}: {case.name}")
    for rule in all_rules()
    for case in cases_of(rule)
]
each_rule = pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)


@pytest.mark.parametrize(("rule", "case"), ALL)
def test_it_fires_where_it_must_and_nowhere_else(rule: Rule, case: RuleCase) -> None:
    report = case.run(select=[rule.code], **case.given())
    assert report.ran == (rule.code,), report.not_run
    assert sorted(finding.layer for finding in report.findings) == sorted(case.layers)
    for finding in report.findings:
        assert finding.severity == (case.severity or rule.severity)
        assert case.message in finding.message
        assert finding.message
        assert not finding.message.endswith(".")
        assert finding.remedy.endswith(".")


@each_rule
def test_it_has_a_case_of_each_kind(rule: Rule) -> None:
    cases = cases_of(rule)
    assert any(case.layers for case in cases), f"no firing case in {HOME.name}/{stem(rule)}.py"
    assert any(not case.layers for case in cases), f"no near miss in {HOME.name}/{stem(rule)}.py"


def test_no_case_is_of_a_rule_that_is_gone() -> None:
    files = {file.stem for file in HOME.glob("*.py")}
    assert files <= {stem(rule) for rule in all_rules()}


@each_rule
def test_it_says_what_it_needs_and_is_not_run_without(rule: Rule) -> None:
    letters = [letter for part in rule.needs.split("+") for letter in part.split("/")]
    assert set(letters) <= set(NEEDS)
    assert set(rule.requires) <= set(INPUTS)
    if "T" in letters:
        assert rule.requires, "a rule that needs T names the fields of the facts that it reads"
    for path in rule.requires:
        top, name = path.split(".")
        assert top in {field.name for field in dataclasses.fields(Facts)}
        home = import_module(f"bnkit.inspection.facts.{top}")
        assert any(
            name in {field.name for field in dataclasses.fields(kind)}
            for kind in vars(home).values()
            if dataclasses.is_dataclass(kind)
        )
    report = bnkit.check(nn.Sequential(nn.BatchNorm2d(3)), select=[rule.code])
    assert bool(report.not_run) == (letters != ["M"] or bool(rule.requires))


@each_rule
def test_it_is_whole(rule: Rule) -> None:
    assert re.fullmatch(r"BN[1-7]\d\d", rule.code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert rule.find.__module__ == f"bnkit.rules.{stem(rule)}"
    assert set(rule.severities or (rule.severity,)) <= set(SEVERITIES)
    assert rule.severity in (rule.severities or (rule.severity,))
    assert rule.safety in SAFETIES
    page = rule_page(rule)
    for section in SECTIONS:
        text = getattr(rule, section).strip()
        assert text, section
        assert text in page
    assert rule.remedy.endswith(".")
    for code in (rule.before, rule.after):
        ast.parse(code)
    assert rule.before.strip() != rule.after.strip()


def test_codes_and_names_are_distinct() -> None:
    for key in ("code", "name"):
        values = [getattr(rule, key) for rule in all_rules()]
        assert len(set(values)) == len(values)


STATES: dict[str, Any] = {
    "fresh, training": lambda model: model.train(),
    "fresh, evaluation": lambda model: model.eval(),
    "trained, training": lambda model: look_trained(model).train(),
    "trained, evaluation": lambda model: look_trained(model).eval(),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", HEALTHY)
def test_well_known_architectures_have_no_errors_or_warnings(name: str, state: str) -> None:
    torch.manual_seed(0)
    model = STATES[state](HEALTHY[name].build())
    report = bnkit.check(
        model,
        HEALTHY[name].example(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4),
        batch_size=32,
    )
    assert report.exit_code == 0, report.to_text()
