"""SARIF reports are valid by models generated from the official 2.1.0 schema.

pydantic-sarif holds those models: they refuse unknown keys, wrong types and unknown levels.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Schema

import bnkit
from helpers.healthy_architectures import HEALTHY
from helpers.rule_case import conv_net, images, look_trained


def broken_report() -> Any:
    """Return a report with an error, infos, a silenced finding and rules that did not run."""
    model = look_trained(conv_net(bias=True))
    model[4].running_mean[0] = float("nan")
    silence = [{"code": "BN401", "layer": "0", "reason": "old checkpoints"}]
    return bnkit.check(model, images(), silence=silence, target="net.py:build")


def test_a_report_is_valid() -> None:
    log = Schema.model_validate_json(broken_report().to_sarif())
    (run,) = log.runs
    levels = [result.level.value for result in run.results]
    assert levels[0] == "error"
    assert set(levels) == {"error", "note"}
    assert any(result.suppressions for result in run.results)


@pytest.mark.parametrize("name", ["resnet", "densenet", "conformer", "detector"])
def test_reports_of_architectures_are_valid(name: str) -> None:
    report = bnkit.check(HEALTHY[name].build(), HEALTHY[name].example())
    assert report.findings or name == "conformer"
    Schema.model_validate_json(report.to_sarif())


def test_rules_are_found_by_their_index() -> None:
    (run,) = json.loads(broken_report().to_sarif())["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


@pytest.mark.parametrize("damage", ["level", "unknown key", "missing message"])
def test_the_validation_can_fail(damage: str) -> None:
    log = json.loads(broken_report().to_sarif())
    result = log["runs"][0]["results"][0]
    if damage == "level":
        result["level"] = "fatal"
    elif damage == "unknown key":
        result["severity"] = "E"
    else:
        del result["message"]
    with pytest.raises(ValidationError):
        Schema.model_validate(log)
