"""`bnkit.fix`: what it applies, what it leaves alone and why, and the way back."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import bnkit
from bnkit.checker.report import Report
from bnkit.errors import CheckError
from bnkit.rules.rule import Finding
from helpers.architectures import VGG, ResNet
from helpers.rule_case import conv_net, images, look_trained


def reasons(rewrite: Any) -> dict[str, str]:
    return {item.path: item.reason for item in rewrite.skipped}


def changed(rewrite: Any) -> list[str]:
    return [change.path for change in rewrite.changes]


def outputs(model: nn.Module, x: Tensor, *, training: bool) -> Tensor:
    twin = copy.deepcopy(model).train(training)
    y: Tensor = twin(x)
    return y


def same(one: nn.Module, other: nn.Module, x: Tensor, *, modes: tuple[bool, ...]) -> None:
    for training in modes:
        torch.testing.assert_close(
            outputs(one, x, training=training),
            outputs(other, x, training=training),
            rtol=1e-4,
            atol=1e-5,
        )


BOTH = (True, False)


def test_redundant_biases_are_dropped_and_nothing_else_changes() -> None:
    model, x = look_trained(VGG()), torch.randn(4, 3, 16, 16)
    model.classifier[2].p = 0.0
    given = copy.deepcopy(model.state_dict())
    report = bnkit.check(model, x)
    rewrite = bnkit.fix(model, report)
    assert changed(rewrite) == ["features.0", "features.3", "features.6"]
    assert rewrite.model is not model
    assert all(rewrite.model.features[place].bias is None for place in (0, 3, 6))
    assert rewrite.difference is not None
    assert rewrite.difference < 1e-5
    same(model, rewrite.model, x, modes=BOTH)
    for name, value in model.state_dict().items():
        assert torch.equal(value, given[name]), name
    assert bnkit.check(rewrite.model, x, select="BN401").findings == ()
    restored = rewrite.undo().state_dict()
    assert restored.keys() == given.keys()
    assert all(torch.equal(value, given[name]) for name, value in restored.items())
    assert rewrite.undo() is rewrite.model


def test_a_fresh_model_stays_healthy() -> None:
    model, x = VGG(), torch.randn(4, 3, 16, 16)
    fixed = bnkit.fix(model, bnkit.check(model, x)).model
    assert bnkit.check(fixed, x).exit_code == 0


def test_an_optimizer_loses_the_bias_and_gets_it_back() -> None:
    model = look_trained(conv_net(bias=True))
    optimizer = torch.optim.Adam(model.named_parameters(), lr=0.1)
    model(images()).sum().backward()
    optimizer.step()
    held = [list(group["params"]) for group in optimizer.param_groups]
    state = dict(optimizer.state)
    report = bnkit.check(model, images(), select="BN401")
    rewrite = bnkit.fix(model, report, optimizer=optimizer, inplace=True)
    assert rewrite.model is model
    kept = {id(parameter) for parameter in model.parameters()}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == kept
    assert {id(parameter) for parameter in optimizer.state} == kept
    assert "bias" not in optimizer.param_groups[0]["param_names"][1]
    optimizer.step()
    rewrite.undo()
    again = [list(group["params"]) for group in optimizer.param_groups]
    assert [[id(p) for p in group] for group in again] == [[id(p) for p in g] for g in held]
    assert set(optimizer.state) == set(state)


class TwoConvs(nn.Module):
    """One batch norm normalizes what two convs make."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.first(x)) + self.norm(self.second(x))
        return y


class ReadsBias(nn.Module):
    """The bias is read beside the call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.other = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.other(self.norm(self.conv(x)))
        return y if self.conv.bias is None else y + self.conv.bias.sum()


class TwoNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = self.norms[0](x) * self.norms[1](x)
        return y


def test_a_conv_that_feeds_two_norms() -> None:
    model = look_trained(TwoNorms())
    rewrite = bnkit.fix(model, bnkit.check(model, images()))
    assert changed(rewrite) == ["conv"]
    same(model, rewrite.model, images(), modes=BOTH)


def test_a_norm_of_two_convs_is_refused() -> None:
    model = look_trained(TwoConvs())
    rewrite = bnkit.fix(model, bnkit.check(model, images(), select="BN401"))
    assert rewrite.changes == []
    assert "norm normalizes second too" in reasons(rewrite)["first"]


def test_a_bias_that_is_read_elsewhere_is_put_back_and_the_others_are_dropped() -> None:
    model = look_trained(ReadsBias())
    rewrite = bnkit.fix(model, bnkit.check(model, images()))
    assert changed(rewrite) == ["other.0"]
    assert "BN401 was undone: an output in eval mode then differs" in reasons(rewrite)["conv"]
    assert rewrite.model.conv.bias is not None
    assert torch.equal(rewrite.model.norm.running_mean, model.norm.running_mean)
    same(model, rewrite.model, images(), modes=BOTH)


def test_parametrized_hooked_and_tied_layers_are_refused() -> None:
    plain = bnkit.check(conv_net(bias=True), images(), select="BN401")
    model = look_trained(conv_net(bias=True))
    parametrizations.spectral_norm(model[0])
    model[3].register_forward_hook(lambda *_: None)
    found = reasons(bnkit.fix(model, plain))
    assert "its weight is parametrized" in found["0"]
    assert "it has forward hooks" in found["3"]
    model = nn.ModuleDict({"net": conv_net(bias=True), "other": nn.Conv2d(3, 4, 1)})
    model["other"].bias = model["net"][0].bias
    report = Report(
        (Finding("BN401", "redundant-bias", "net.0", "I", "", ".", "exact"),), (), (), 2
    )
    assert "its bias is other.bias too" in reasons(bnkit.fix(model, report))["net.0"]


def test_without_a_forward_a_bias_is_kept() -> None:
    report = Report((Finding("BN401", "redundant-bias", "0", "I", "", ".", "exact"),), (), (), 2)
    assert "give example_args" in reasons(bnkit.fix(conv_net(bias=True), report))["0"]
    fixed = bnkit.fix(conv_net(bias=True), report, example_args=images())
    assert changed(fixed) == ["0"]


def half(dtype: torch.dtype, whole: bool) -> nn.Module:
    model = look_trained(conv_net())
    return model.to(dtype) if whole else nn.Sequential(*model[:4], model[4].to(dtype))


HALF = Finding("BN106", "half-precision-statistics", "4", "E", "half", "To float32.", "exact")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_in_half_precision_become_float32(dtype: torch.dtype) -> None:
    model, x = half(dtype, whole=True), images().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(x).sum().backward()
    optimizer.step()
    report = Report((HALF,), ("BN106",), (), 2)
    rewrite = bnkit.fix(model, report, example_args=x, optimizer=optimizer, inplace=True)
    assert changed(rewrite) == ["4"]
    held = [model[4].weight, model[4].bias, model[4].running_mean, model[4].running_var]
    assert {tensor.dtype for tensor in held} == {torch.float32}
    assert model[1].weight.dtype == dtype
    assert model(x).dtype == dtype
    assert rewrite.difference is not None
    assert rewrite.difference < 0.05
    model(x).sum().backward()
    optimizer.step()
    rewrite.undo()
    assert model[4].running_mean.dtype == model[4].weight.dtype == dtype
    optimizer.step()


def test_momentum_is_turned_round() -> None:
    model = look_trained(conv_net(momentum=0.99))
    model[4].momentum = 1.0
    rewrite = bnkit.fix(model, bnkit.check(model, images(), select="BN501"))
    assert changed(rewrite) == ["1"]
    assert rewrite.model[1].momentum == 0.01
    assert rewrite.difference == 0
    assert "by hand: Set momentum to torch's default" in reasons(rewrite)["4"]
    assert rewrite.undo()[1].momentum == 0.99


def test_groups_are_split_and_joined_again() -> None:
    model = ResNet()
    optimizer = torch.optim.SGD(
        [
            {"params": model.layer1.parameters(), "lr": 0.01},
            {"params": [p for n, p in model.named_parameters() if "layer1" not in n]},
        ],
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
    )
    before = [list(group["params"]) for group in optimizer.param_groups]
    report = bnkit.check(model, optimizer=optimizer, select="BN503")
    rewrite = bnkit.fix(model, report, optimizer=optimizer, inplace=True)
    assert len(rewrite.changes) == 10
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 1e-4, 0, 0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1, 0.1, 0.01]
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    assert bnkit.check(model, optimizer=optimizer, select="BN5").findings == ()
    rewrite.undo()
    after = [list(group["params"]) for group in optimizer.param_groups]
    assert [[id(p) for p in g] for g in after] == [[id(p) for p in g] for g in before]


def frozen_net() -> nn.Sequential:
    model = look_trained(conv_net()).train()
    model[1].requires_grad_(False)
    model[4].track_running_stats = False
    return model


def test_frozen_layers_stay_in_eval_mode() -> None:
    model = frozen_net()
    report = bnkit.check(model, images())
    assert bnkit.fix(model, report).changes == []
    rewrite = bnkit.fix(model, report, "eval-equivalent")
    assert sorted(changed(rewrite)) == ["1", "4"]
    assert rewrite.difference == 0
    for fixed in (rewrite.model, copy.deepcopy(rewrite.model), pickled(rewrite.model)):
        fixed.train()
        assert [layer.training for layer in fixed] == [True, False, True, True, False]
        before = fixed[1].running_mean.clone()
        fixed(images())
        assert torch.equal(fixed[1].running_mean, before)
        assert bnkit.check(fixed).findings == ()
    restored = rewrite.undo()
    assert type(restored[1]) is nn.BatchNorm2d
    assert restored[1].training
    assert not restored[4].track_running_stats


def pickled(model: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(model))


def test_silenced_and_other_findings_are_told() -> None:
    model = look_trained(conv_net(bias=True))
    model[4].running_var[0] = float("nan")
    silence = [{"code": "BN401", "layer": "0", "reason": "old checkpoints"}]
    rewrite = bnkit.fix(model, bnkit.check(model, images(), silence=silence, select="BN1,BN401"))
    found = reasons(rewrite)
    assert found["0"] == "BN401 silenced: old checkpoints"
    assert found["4"].startswith("BN101 is to be remedied by hand")
    assert changed(rewrite) == ["3"]
    assert "BN401: bias dropped" in str(rewrite)


def test_what_cannot_be_is_refused() -> None:
    model = conv_net()
    report = bnkit.check(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CheckError, match=r"safety is 'exakt'.*Did you mean 'exact'"):
        bnkit.fix(model, report, "exakt")
    with pytest.raises(CheckError, match="without inplace=True"):
        bnkit.fix(model, report, optimizer=optimizer)
    with pytest.raises(CheckError, match="optimizer is a int"):
        bnkit.fix(model, report, optimizer=3, inplace=True)
    with pytest.raises(CheckError, match="report is a list"):
        bnkit.fix(model, [])  # type: ignore[arg-type]
    other = Report((Finding("BN501", "x", "nowhere", "W", "", ".", "exact"),), (), (), 2)
    assert "has no such layer" in reasons(bnkit.fix(model, other))["nowhere"]


def test_a_model_that_needs_more_in_training_is_compared_in_eval_mode() -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))
    model = look_trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), pooled))
    rewrite = bnkit.fix(model, bnkit.check(model, images(1), select="BN401"))
    assert changed(rewrite) == ["0"]
    assert "not compared in training mode" in reasons(rewrite)[""]
