from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit.errors import ArgumentError, ArgumentTypeError, BnkitError, RewriteError
from bnkit.rewrite.conversion import norm_kinds
from bnkit.rewrite.conversion.norm_kinds import KINDS, NormKind
from helpers.architectures import CASES
from helpers.healthy_architectures import HEALTHY

NETWORKS = {**HEALTHY, **{name: case for name, case in CASES.items() if name not in HEALTHY}}
IMAGES = torch.randn(4, 3, 8, 8)


def built(name: str) -> tuple[nn.Module, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, example = NETWORKS[name].build(), NETWORKS[name].example()
        return drawn(model), example


def drawn(model: nn.Module) -> nn.Module:
    """Give every batch norm values as after training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.weight is not None:
                for tensor in (layer.weight, layer.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
                for tensor in (layer.bias, layer.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return model


def conv_norm(**arguments: Any) -> nn.Sequential:
    return drawn(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, **arguments), nn.ReLU()))


def types_of(model: nn.Module) -> list[tuple[str, str]]:
    return [(type(m).__module__, type(m).__name__) for m in model.modules()]


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    before, after = one.state_dict(), other.state_dict()
    assert list(before) == list(after)
    torch.testing.assert_close(before, after, rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_becomes_bnkits_and_torchs_again_bit_for_bit(name: str) -> None:
    model, _ = built(name)
    there = bnkit.convert(model)
    assert there.changes
    assert {change.what for change in there.changes} <= {
        f"BatchNorm{axes}d became bnkit's" for axes in (1, 2, 3)
    }
    back = bnkit.convert(there.model, "torch").model
    assert types_of(back) == types_of(copy.deepcopy(copy.deepcopy(model)))
    assert_same_state(model, back)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("to", ["group", "instance", "frozen"])
def test_every_network_is_converted_and_undone(name: str, to: str) -> None:
    model, example = built(name)
    rewrite = bnkit.convert(model, to, example_args=example)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    told = [item for item in rewrite.skipped if "LayerNorm" not in item.reason]
    assert len(rewrite.changes) + len(told) == len(norms)
    if to == "frozen":
        assert rewrite.difference == 0
    elif rewrite.changes:
        assert rewrite.difference is not None
        assert rewrite.difference > 0
        assert "train or fine-tune" in rewrite.notes[0]
    assert_same_state(model, rewrite.undo())


@pytest.mark.parametrize("name", ["resnet", "pointnet", "deeplab"])
def test_with_an_example_the_whole_network_is_compared(name: str) -> None:
    model, example = built(name)
    rewrite = bnkit.convert(model, example_args=example)
    assert rewrite.difference is not None
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-5
    assert not rewrite.skipped


@pytest.mark.parametrize("to", KINDS)
def test_what_a_layer_holds_is_carried_over(to: str) -> None:
    # bnkit's kernels for float64 would be compiled first, which takes seconds.
    dtype = torch.float32 if to == "bnkit" else torch.float64
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.25, momentum=0.3)).to(dtype)
    drawn(model)
    layer = model[1].eval()
    layer.bias.requires_grad_(False)
    weight, bias = layer.weight, layer.bias
    new = bnkit.convert(model, to, inplace=True, example_args=IMAGES.to(dtype)).model[1]
    assert new.weight is weight
    assert new.bias is bias
    assert weight.dtype == dtype
    assert new.eps == 0.25
    assert new.training is False
    assert weight.requires_grad is (to != "frozen")
    assert not bias.requires_grad
    if to in ("bnkit", "torch", "frozen"):
        assert new is layer
        assert new.momentum == 0.3


@pytest.mark.parametrize(
    ("arguments", "has"), [({"affine": False}, (False, False)), ({"bias": False}, (True, False))]
)
@pytest.mark.parametrize("to", ["group", "instance", "layer", "bnkit"])
def test_a_missing_weight_or_bias_stays_missing(
    to: str, arguments: dict[str, bool], has: tuple[bool, bool]
) -> None:
    model = nn.Sequential(nn.BatchNorm2d(8, **arguments))
    new = bnkit.convert(model, to, example_args=torch.randn(4, 8, 5, 5)).model[0]
    assert (new.weight is not None, new.bias is not None) == has


class WithReLU(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Configured(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)


class Gated(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gate = nn.Parameter(torch.ones(channels))


@pytest.mark.parametrize("to", ["bnkit", "group", "layer", "instance"])
@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: WithReLU(8), "has a forward of its own"),
        (lambda: Gated(8), "holds gate beside what a batch norm holds"),
        (
            lambda: nn.utils.parametrizations.spectral_norm(nn.BatchNorm2d(8), dim=0),
            "is parametrized",
        ),
    ],
)
def test_behaviour_of_its_own_is_never_stripped(to: str, layer: Any, words: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), layer())
    rewrite = bnkit.convert(model, to, example_args=IMAGES)
    assert not rewrite.changes
    (item,) = [item for item in rewrite.skipped if item.path == "1"]
    assert words in item.reason
    torch.testing.assert_close(rewrite.model(IMAGES), copy.deepcopy(model)(IMAGES), rtol=0, atol=0)


def test_torchs_converter_strips_what_ours_freezes_with_the_layer() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 8, 3), WithReLU(8))).eval()
    expected = model(IMAGES)
    stripped = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert (stripped(IMAGES) < 0).any(), "torch's converter drops the ReLU"
    frozen = bnkit.convert(model, "frozen").model.train()
    torch.testing.assert_close(frozen(IMAGES), expected, rtol=0, atol=0)


def test_a_subclass_without_behaviour_stays_one() -> None:
    model = nn.Sequential(Configured(3))
    there = bnkit.convert(model, example_args=IMAGES).model
    assert isinstance(there[0], Configured)
    assert isinstance(there[0], bnkit.BatchNorm2d)
    assert type(bnkit.convert(there, "torch").model[0]) is Configured
    assert bnkit.convert(there, "group").model[0].eps == 1e-3


class Residual(nn.Module):
    def __init__(self, activation: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = bnkit.BatchNormAct2d(8, activation, negative_slope=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x), x)


@pytest.mark.parametrize("to", ["group", "layer", "instance"])
def test_a_fused_layer_goes_on_adding_and_activating(to: str) -> None:
    model, x = drawn(Residual("leaky_relu")), torch.randn(2, 8, 6, 6)
    rewrite = bnkit.convert(model, to, example_args=x, groups=4 if to == "group" else 32)
    norm = model.norm
    normalized = F.group_norm(
        model.conv(x), {"group": 4, "layer": 1, "instance": 8}[to], norm.weight, norm.bias, norm.eps
    )
    torch.testing.assert_close(rewrite.model(x), F.leaky_relu(normalized + x, 0.2))
    assert "activation='leaky_relu'" in repr(rewrite.model)
    skipped = bnkit.convert(model, "torch").skipped
    assert "torch has no such layer" in skipped[0].reason


@given(
    channels=st.integers(1, 60), most=st.integers(1, 40), side=st.sampled_from([1, 2]), n=st.just(3)
)
@settings(max_examples=40, deadline=None)
def test_groups_are_as_many_as_divide_and_leave_two_values(
    channels: int, most: int, side: int, n: int
) -> None:
    model, x = nn.Sequential(nn.BatchNorm2d(channels)), torch.randn(n, channels, side, side)
    rewrite = bnkit.convert(model, "group", example_args=x, groups=most)
    fitting = [
        number
        for number in range(1, min(most, max(channels // 2, 1)) + 1)
        if channels % number == 0 and channels // number * side**2 > 1
    ]
    if not fitting:
        assert "normalized to 0 whatever it is" in rewrite.skipped[0].reason
        return
    assert rewrite.model[0].num_groups == max(fitting)
    assert f"with {max(fitting)} group" in rewrite.changes[0].what
    assert rewrite.model(x).std() > 0


def test_over_two_axes_no_group_of_one_value_is_made_without_an_example() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    assert bnkit.convert(model, "group").model[1].num_groups == 4
    assert bnkit.convert(model, "group", example_args=torch.randn(5, 4)).model[1].num_groups == 4


def test_layer_over_two_axes_is_layer_norm() -> None:
    model, x = drawn(nn.Sequential(nn.BatchNorm1d(6))), torch.randn(5, 6)
    expected = F.layer_norm(x, (6,), model[0].weight, model[0].bias, model[0].eps)
    torch.testing.assert_close(bnkit.convert(model, "layer", example_args=x).model(x), expected)


@given(offset=st.floats(-50, 50), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_instance_norm_ignores_what_is_added_to_a_channel(offset: float, seed: int) -> None:
    x = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model = nn.Sequential(nn.BatchNorm1d(8)).double()
    converted = bnkit.convert(model, "instance", example_args=x).model
    moved = x.clone()
    moved[1, 3] += offset
    torch.testing.assert_close(converted(moved), converted(x), rtol=1e-9, atol=1e-9)


def test_where_instance_norm_is_not_defined_it_is_refused() -> None:
    model = nn.Sequential(nn.BatchNorm1d(8))
    flat = bnkit.convert(model, "instance", example_args=torch.randn(5, 8))
    assert "one value per channel and sample" in flat.skipped[0].reason
    assert "give example_args" in bnkit.convert(model, "instance").skipped[0].reason


def test_a_synchronised_layer_needs_a_run_to_become_plain() -> None:
    model = drawn(nn.SyncBatchNorm.convert_sync_batchnorm(conv_norm()))
    assert "give example_args" in bnkit.convert(model, "torch").skipped[0].reason
    for to, kind in (("torch", nn.BatchNorm2d), ("bnkit", bnkit.BatchNorm2d)):
        rewrite = bnkit.convert(model, to, example_args=IMAGES)
        assert type(rewrite.model[1]) is kind
        assert "this process's alone" in rewrite.changes[0].what
        assert rewrite.relative_difference < 1e-6
        assert type(rewrite.undo()[1]) is nn.SyncBatchNorm


def test_a_frozen_layer_is_constant_also_after_train() -> None:
    model = conv_norm()
    expected = model.eval()(IMAGES)
    frozen = bnkit.convert(model, "frozen", example_args=IMAGES).model.train()
    before = copy.deepcopy(frozen.state_dict())
    y = frozen(IMAGES)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    y.sum().backward()
    assert frozen[1].weight.grad is None
    torch.testing.assert_close(dict(frozen.state_dict()), dict(before), rtol=0, atol=0)
    assert "it is frozen already" in bnkit.convert(frozen, "frozen").skipped[0].reason
    assert "unfreeze it first" in bnkit.convert(frozen, "group").skipped[0].reason


def test_a_layer_frozen_under_a_live_optimizer_stands_still_and_is_unfrozen() -> None:
    model, optimizer = trained()
    model.train()
    model[1].bias.requires_grad_(False)
    gradient = model[1].weight.grad
    rewrite = bnkit.convert(model, "frozen", inplace=True)
    assert "their gradients taken away" in rewrite.changes[0].what
    weight = model[1].weight.detach().clone()
    optimizer.step()
    assert torch.equal(model[1].weight, weight), "a gradient was left"
    unfrozen = bnkit.unfreeze(model).model
    for layer in (unfrozen[1], rewrite.undo()[1]):
        assert type(layer) is nn.BatchNorm2d
        assert layer.training
        assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    assert model[1].weight.grad is gradient


def test_what_was_made_in_inference_mode_is_frozen_in_a_copy_alone() -> None:
    with torch.inference_mode():
        model = conv_norm()
    skipped = bnkit.convert(model, "frozen", inplace=True).skipped
    assert "made in inference mode" in skipped[0].reason
    rewrite = bnkit.convert(model, "frozen")
    assert not rewrite.model[1].weight.requires_grad
    assert rewrite.undo()[1].weight.requires_grad


def groups_and_state(optimizer: torch.optim.Optimizer) -> Any:
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    state = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    return groups, state


def trained() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    model = conv_norm()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[1].parameters()}],
        lr=0.1,
        momentum=0.9,
        weight_decay=0.1,
    )
    model(IMAGES).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_frozen_parameters_leave_the_optimizer_and_come_back_with_their_state() -> None:
    model, optimizer = trained()
    before = groups_and_state(optimizer)
    rewrite = bnkit.convert(model, "frozen", inplace=True, optimizer=optimizer)
    assert not optimizer.param_groups[1]["params"]
    weight = model[1].weight.detach().clone()
    optimizer.step()
    assert torch.equal(model[1].weight, weight), "weight decay must not move it"
    model[0].weight.data.copy_(model[0].weight)
    rewrite.undo()
    after = groups_and_state(optimizer)
    assert after[0] == before[0]
    layer = model[1]
    for parameter in (layer.weight, layer.bias):
        for key, value in before[1][id(parameter)].items():
            assert torch.equal(after[1][id(parameter)][key], value)
    assert layer.weight.requires_grad


def test_another_kind_is_trained_by_the_same_optimizer_on() -> None:
    model, optimizer = trained()
    before = groups_and_state(optimizer)
    bnkit.convert(model, "group", inplace=True, optimizer=optimizer)
    assert groups_and_state(optimizer)[0] == before[0]
    weight = model[1].weight.detach().clone()
    optimizer.zero_grad()
    model(IMAGES).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[1].weight, weight)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.block = nn.Sequential(self.norm, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.norm(x))


def test_a_shared_layer_stays_shared_and_one_can_be_the_model() -> None:
    shared = bnkit.convert(Shared(), "group", example_args=IMAGES).model
    assert shared.norm is shared.block[0]
    rewrite = bnkit.convert(nn.BatchNorm2d(3), "instance", example_args=IMAGES)
    assert isinstance(rewrite.model, nn.InstanceNorm2d)
    assert isinstance(rewrite.undo(), nn.BatchNorm2d)


def test_hooks_move_over_and_their_handles_go_on_working() -> None:
    model, seen = conv_norm(), []
    handle = model[1].register_forward_hook(lambda module, *_: seen.append(type(module)))
    rewrite = bnkit.convert(model, "group", inplace=True)
    assert "its hooks moved over" in rewrite.changes[0].what
    model(IMAGES)
    assert seen == [nn.GroupNorm]
    handle.remove()
    model(IMAGES)
    rewrite.undo()(IMAGES)
    assert len(seen) == 1


class Listed(nn.Module):
    """Its batch norm stands in a plain list too, which is what it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.layers = [self.norm]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x)


class Hidden(nn.Module):
    """Another batch norm stands in a plain list alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layers = nn.BatchNorm2d(3), [nn.BatchNorm2d(3)]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](self.norm(x))


def test_what_a_plain_list_holds_is_not_replaced() -> None:
    rewrite = bnkit.convert(Listed(), "group", example_args=IMAGES)
    assert "layers holds it without being registered" in rewrite.skipped[0].reason
    assert type(bnkit.convert(Listed(), example_args=IMAGES).model.layers[0]) is bnkit.BatchNorm2d
    hidden = bnkit.convert(Hidden(), "group", example_args=IMAGES)
    assert "a layer that is not registered" in hidden.skipped[0].reason


class ReadsStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + self.norm.running_mean.sum()


class Closed(nn.Module):
    """A function holds its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = norm = nn.BatchNorm2d(3)
        self.run = lambda x: norm(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ReadsStatistics(), "raised AttributeError"),
        (Closed(), "^norm: still runs after it was replaced"),
    ],
)
def test_what_would_break_the_network_is_refused_and_undone(model: nn.Module, words: str) -> None:
    before = repr(model), [id(module) for module in model.modules()]
    with pytest.raises(RewriteError, match=words):
        bnkit.convert(model, "group", example_args=IMAGES, inplace=True)
    assert (repr(model), [id(module) for module in model.modules()]) == before


@pytest.mark.parametrize("with_example", [True, False])
def test_the_comparison_can_fail(with_example: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(edits: Any, norm: Any, _: int) -> str:
        edits.set_attribute(norm.layer, "eps", 0.5)
        return "wrong"

    monkeypatch.setitem(norm_kinds.KINDS, "torch", NormKind(wrong, ("eval", "training")))
    model = conv_norm()
    with pytest.raises(RewriteError, match="differs"):
        bnkit.convert(model, "torch", inplace=True, example_args=IMAGES if with_example else None)
    assert model[1].eps == 1e-5
    monkeypatch.setitem(norm_kinds.KINDS, "frozen", NormKind(wrong, ("eval",)))
    with pytest.raises(RewriteError, match="an output in eval mode then differs"):
        bnkit.convert(model, "frozen", inplace=True, example_args=IMAGES)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        FORWARDS.append(torch.is_grad_enabled())
        return self.norm(x)


FORWARDS: list[bool] = []


@pytest.mark.parametrize(
    ("to", "forwards", "with_backward"),
    [("bnkit", 6, 4), ("group", 4, 0), ("frozen", 5, 0)],
)
def test_it_costs_what_is_stated(to: str, forwards: int, with_backward: int) -> None:
    FORWARDS.clear()
    bnkit.convert(Counting(), to, example_args=IMAGES)
    assert (len(FORWARDS), sum(FORWARDS)) == (forwards, with_backward)
    assert "four or five forwards" in (bnkit.convert.__doc__ or "")


def test_layers_are_chosen_by_patterns() -> None:
    model, _ = built("resnet")
    rewrite = bnkit.convert(model, "group", layers=["layer1.*", "bn1"])
    assert {change.path.partition(".")[0] for change in rewrite.changes} == {"layer1", "bn1"}
    assert any(isinstance(m, nn.BatchNorm2d) for m in rewrite.model.layer2.modules())


def optimizer_of_others() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("model", "arguments", "kind", "words"),
    [
        (conv_norm(), {"to": "grop"}, ArgumentError, "Did you mean 'group'"),
        (conv_norm(), {"to": "sync"}, ArgumentError, "does not exist yet"),
        (conv_norm(), {"to": 3}, ArgumentTypeError, "no kind 3"),
        (conv_norm(), {"to": "group", "groups": 0}, ArgumentError, "at least one group"),
        (conv_norm(), {"to": "group", "groups": 2.0}, ArgumentTypeError, "a whole number"),
        (conv_norm(), {"groups": 8}, ArgumentError, "for to='group' alone"),
        (conv_norm(), {"layers": "bn*"}, RewriteError, "names no normalization layer.*nearest"),
        (conv_norm(), {"optimizer": optimizer_of_others()}, RewriteError, "Give inplace=True"),
        (
            conv_norm(),
            {"optimizer": optimizer_of_others(), "inplace": True},
            RewriteError,
            "holds none of the parameters",
        ),
        (conv_norm(), {"optimizer": 3, "inplace": True}, ArgumentTypeError, "one of torch.optim"),
        (conv_norm(), {"example_args": 3}, ArgumentTypeError, "example_args is a int"),
        (conv_norm(), {"example_args": torch.randn(2, 5, 9, 9)}, RewriteError, "on the example"),
        (nn.Sequential(nn.LayerNorm(3)), {}, RewriteError, "no batch norm, only LayerNorm"),
        (nn.Sequential(nn.LazyBatchNorm2d()), {}, RewriteError, "uninitialized"),
        (3, {}, ArgumentTypeError, "a network"),
    ],
)
def test_bad_input_is_one_message(
    model: Any, arguments: dict[str, Any], kind: type[BnkitError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        bnkit.convert(model, **arguments)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused() -> None:
    model = nn.Sequential(torch.jit.script(nn.ReLU()), nn.BatchNorm2d(3))
    with pytest.raises(RewriteError, match=r"^0: is TorchScript"):
        bnkit.convert(model)
