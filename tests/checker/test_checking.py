"""`bnkit.check` as a whole: what runs, what is silenced, what it leaves behind."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import bnkit
from bnkit.errors import CheckError, ForwardError, RewriteError
from helpers.rule_case import conv_net, images, look_trained


def findings(report: Any) -> list[tuple[str, str]]:
    return [(finding.code, finding.layer) for finding in report.findings]


def broken_net() -> nn.Sequential:
    """A NaN at "4" and redundant biases at "0" and "3"."""
    model = look_trained(conv_net(bias=True))
    model[4].running_mean[0] = float("nan")
    return model


def test_errors_come_first_then_the_layers_in_order() -> None:
    report = bnkit.check(broken_net(), images(), select=["BN101", "BN401"])
    assert findings(report) == [("BN101", "4"), ("BN401", "0"), ("BN401", "3")]
    assert report.counts == {"E": 1, "W": 0, "I": 2}
    assert report.exit_code == 1
    assert {"BN101", "BN401"} <= set(report.ran)


def test_what_was_not_given_is_told_and_never_passes() -> None:
    report = bnkit.check(conv_net())
    reasons = {item.code: item.reason for item in report.not_run}
    assert "example input" in reasons["BN401"]
    assert "optimizer" in reasons["BN503"]
    assert not set(reasons) & set(report.ran)
    assert "BN401" in report.to_text()


def test_infos_alone_exit_with_0_and_codes_may_be_one_string() -> None:
    report = bnkit.check(broken_net(), images(), select="BN401, BN5", ignore="BN503")
    assert (report.exit_code, {code for code, _ in findings(report)}) == (0, {"BN401"})


def test_a_finding_is_silenced_at_one_layer_with_a_reason() -> None:
    silence = {"code": "nonfinite-statistics", "layer": "4", "reason": "a test"}
    other = {"code": "BN101", "layer": "1", "reason": "not there"}
    report = bnkit.check(broken_net(), images(), silence=[silence, other])
    assert findings(report)[0] == ("BN101", "4")
    assert report.findings[0].silenced == "a test"
    assert report.exit_code == 0
    assert report.unused_silences == (("BN101", "1"),)
    text = report.to_text()
    assert "BN101 nonfinite-statistics, 4: a test" in text
    assert "(1 silenced)" in text


def test_a_pattern_silences_several_layers() -> None:
    silence = [{"code": "BN401", "layer": "*", "reason": "old checkpoints"}]
    report = bnkit.check(conv_net(bias=True), images(), silence=silence, select=["BN401"])
    assert [finding.silenced for finding in report.findings] == ["old checkpoints"] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"silence": [{"code": "BN401", "layer": "0"}]}, "each entry has code, layer and reason"),
        ({"silence": [{"code": "BN401", "layer": "0", "reason": " "}]}, "has no reason"),
        ({"silence": [{"code": "BN999", "layer": "0", "reason": "x"}]}, "no rule 'BN999'"),
        ({"select": ["BN999"]}, "no rule 'BN999'"),
        ({"thresholds": {"BN401": 3}}, "has no threshold"),
        ({"domains": {"a": images()}}, "domains is given without data"),
    ],
)
def test_what_cannot_be_used_is_one_message(given: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        bnkit.check(conv_net(), **given)


def test_a_model_without_normalization_says_so() -> None:
    report = bnkit.check(nn.Linear(3, 2), torch.ones(1, 3))
    assert report.exit_code == 0
    assert report.to_text().endswith("The model has no normalization layer.")


def test_what_is_no_model_or_not_initialized_is_refused() -> None:
    with pytest.raises(CheckError, match="model is a int"):
        bnkit.check(3)  # type: ignore[arg-type]
    with pytest.raises(RewriteError, match=r"0\.weight: is uninitialized"):
        bnkit.check(nn.Sequential(nn.LazyBatchNorm2d()))


def test_data_serve_as_example_and_fill_their_facts() -> None:
    report = bnkit.check(look_trained(conv_net(bias=True)), data=(images(8), torch.zeros(8)))
    assert ("BN401", "0") in findings(report)
    assert not any("real data" in item.reason for item in report.not_run)


class Marks(nn.Module):
    """Hooks, a parametrization, tied weights, half frozen, mixed modes; its forward may raise."""

    def __init__(self, raises: bool) -> None:
        super().__init__()
        self.raises = raises
        self.first = parametrizations.spectral_norm(nn.Conv2d(3, 3, 1))
        self.norm, self.frozen = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.tied = nn.Conv2d(3, 3, 1)
        self.other = nn.Conv2d(3, 3, 1)
        self.other.weight = self.tied.weight
        self.dropout = nn.Dropout(0.5)
        self.frozen.eval().requires_grad_(False)
        self.seen: list[int] = []
        self.norm.register_forward_hook(lambda *_: self.seen.append(1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.frozen(self.tied(self.norm(self.first(x))))
        if self.raises and len(self.seen) > 1:
            raise ValueError("second forward")
        return self.dropout(self.other(x))


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {
            name: (id(tensor), copy.deepcopy(tensor.detach()), tensor.requires_grad)
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        },
        "grads": {
            name: None if held.grad is None else held.grad.clone()
            for name, held in model.named_parameters()
        },
        "modes": [module.training for module in model.modules()],
        "hooks": [
            {key: list(value) for key, value in vars(module).items() if "hook" in key and value}
            for module in model.modules()
        ],
        "random": torch.get_rng_state(),
    }


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("raises", [False, True])
def test_a_check_leaves_no_marks(raises: bool) -> None:
    model = Marks(raises)
    model(images()).sum().backward()
    model.seen.clear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, x, seen = state(model), images(), list(model.seen)
    check: Callable[[], Any] = lambda: bnkit.check(model, data=[x, x], optimizer=optimizer)  # noqa: E731
    if raises:
        with pytest.raises(ForwardError, match="second forward"):
            check()
    else:
        check()
    assert equal(before, state(model))
    assert model.seen == seen
    assert torch.equal(x, images())
    model.norm.num_batches_tracked += 1
    assert not equal(before, state(model)), "the comparison cannot fail"


def test_the_report_is_json_and_text() -> None:
    report = bnkit.check(broken_net(), images())
    content = json.loads(report.to_json())
    assert content["findings"][0]["layer"] == "4"
    assert content["exit_code"] == 1
    assert str(report) == report.to_text()
    assert "E BN101 nonfinite-statistics: 4" in str(report)


def test_many_layers_of_which_the_same_is_said_are_one_entry() -> None:
    model = nn.Sequential(*(nn.BatchNorm2d(3) for _ in range(6)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    text = bnkit.check(model, optimizer=optimizer).to_text()
    assert text.count("BN503") == 1
    assert "0, 1, … 5 (6 layers)" in text


def test_many_infos_of_one_rule_are_one_entry_whatever_they_say() -> None:
    layers = [(nn.Conv2d(3 + n, 4 + n, 3), nn.BatchNorm2d(4 + n), nn.ReLU()) for n in range(5)]
    model = nn.Sequential(*(module for group in layers for module in group))
    text = bnkit.check(model, torch.randn(2, 3, 16, 16), select=["BN401"]).to_text()
    assert text.count("BN401") == 1
    assert "0, 3, … 12 (5 layers)" in text
    assert "At 0: its bias of 4 values is taken out again by 1; of the others alike." in text


def test_sarif_has_a_result_per_finding_with_its_place() -> None:
    silence = [{"code": "BN401", "layer": "0", "reason": "old"}]
    report = bnkit.check(broken_net(), images(), silence=silence, target="net.py:build")
    log = json.loads(report.to_sarif())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(report.findings)
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.code
        (location,) = result["locations"]
        assert location["logicalLocations"][0]["fullyQualifiedName"] == finding.layer
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "net.py"
    silenced = [result for result in run["results"] if "suppressions" in result]
    assert silenced[0]["suppressions"] == [{"kind": "external", "justification": "old"}]


def test_importing_bnkit_does_not_import_the_checker() -> None:
    code = "import sys, bnkit; print('bnkit.checker' in sys.modules); bnkit.check"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 4
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + x)


def test_a_deep_model_is_checked_without_a_forward_in_no_time() -> None:
    model = nn.Sequential(*(Bottleneck(512) for _ in range(50)))
    started = time.perf_counter()
    report = bnkit.check(model)
    assert report.norms == 150
    assert time.perf_counter() - started < 2
