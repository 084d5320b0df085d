"""A report in SARIF 2.1.0, the format in which code hosts take findings of linters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnkit import __version__
from bnkit.rules.registry import find_rule
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.rule_page import rule_page

if TYPE_CHECKING:
    from bnkit.checker.report import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"E": "error", "W": "warning", "I": "note"}


def sarif_log(report: Report) -> dict[str, Any]:
    """Return the report as a SARIF log: one run, a result per finding.

    A finding's place is the path of its layer, as a logical location; a target that is a file is
    its physical location. Rules that did not run stand among the notifications.
    """
    mentioned = dict.fromkeys(
        [*(finding.code for finding in report.findings), *report.ran]
        + [item.code for item in report.not_run]
    )
    rules = sorted((find_rule(code) for code in mentioned), key=lambda rule: rule.code)
    places = {rule.code: index for index, rule in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "bnkit",
                        "version": __version__,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolConfigurationNotifications": [
                            {
                                "level": "note",
                                "message": {"text": f"{item.code} was not run: it {item.reason}."},
                                "associatedRule": {"id": item.code, "index": places[item.code]},
                            }
                            for item in report.not_run
                        ],
                    }
                ],
                "results": [
                    _result(finding, places[finding.code], report.target)
                    for finding in report.findings
                ],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.flags},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy, "markdown": rule_page(rule)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, index: int, target: str) -> dict[str, Any]:
    place = finding.layer or "(model)"
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": place, "kind": "member"}]
    }
    file = target.rpartition(":")[0]
    if file.endswith(".py"):
        # Layers have no line; hosts show nothing without one.
        location["physicalLocation"] = {
            "artifactLocation": {"uri": file.replace("\\", "/")},
            "region": {"startLine": 1},
        }
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{place}: {finding.message}. {finding.remedy}"},
        "locations": [location],
        # Lines move and paths of layers stay: hosts recognise a finding by this.
        "partialFingerprints": {"layer/v1": f"{finding.code}:{finding.layer}"},
    }
    if finding.silenced:
        result["suppressions"] = [{"kind": "external", "justification": finding.silenced}]
    return result
