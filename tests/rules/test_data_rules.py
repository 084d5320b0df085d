"""What rules over data ask for beyond data: enough samples, several domains."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

import bnkit
from bnkit.rules import find_rule
from bnkit.rules.rule_page import rule_table
from helpers.rule_case import recalibrated, values

X = values(255, 3)


def far_off() -> nn.Sequential:
    model = recalibrated(nn.Sequential(nn.BatchNorm1d(3)), X)
    model[0].running_var *= 0.01
    return model  # type: ignore[return-value]


def reason(code: str, **given: Any) -> str:
    report = bnkit.check(far_off(), data=X, select=[code], **given)
    return report.not_run[0].reason if report.not_run else ""


def test_a_gap_is_not_judged_on_few_samples_and_not_passed() -> None:
    assert reason("BN105") == "needs at least 256 samples (data=, --data), not 255"
    report = bnkit.check(far_off(), data=X, select=["BN105"], thresholds={"BN105": {"samples": 9}})
    assert [finding.layer for finding in report.findings] == ["0"]


def test_one_domain_is_not_several() -> None:
    assert "data of several domains" in reason("BN206")
    assert "not of 1" in reason("BN206", domains={"all": X})
    assert reason("BN206", domains={"one": X[:90], "two": X[90:]}) == ""


def test_a_rule_with_such_a_condition_is_json_able() -> None:
    assert "lacks" not in rule_table(find_rule("BN105"))
    json.dumps(rule_table(find_rule("BN105")))


def test_data_sorted_by_class_are_mixed_and_a_lone_sample_is_not_left() -> None:
    labels = torch.arange(257) // 129
    x = values(257, 3) + 5 * labels[:, None]
    model = recalibrated(nn.Sequential(nn.BatchNorm1d(3)), x)
    held = torch.utils.data.TensorDataset(x, labels)
    for data in (x, held, torch.utils.data.DataLoader(held, batch_size=60, shuffle=True)):
        state = torch.get_rng_state()
        report = bnkit.check(model, data=data, select=["BN104", "BN105"])
        assert report.ran == ("BN104", "BN105")
        assert not report.findings
        assert torch.equal(state, torch.get_rng_state())
