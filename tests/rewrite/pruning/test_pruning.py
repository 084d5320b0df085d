"""Pruning: what is followed, what is refused, what is absorbed, and the account of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import bnkit
from bnkit.errors import ArgumentError, BnkitError, ForwardError, RewriteError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.rewrite import Pruning
from helpers.architectures import CASES
from helpers.healthy_architectures import HEALTHY
from helpers.prunable import PRUNABLE, Head, unit

EVERY = {
    **{f"case-{name}": (case.build, case.example) for name, case in CASES.items()},
    **{f"healthy-{n}": (c.build, c.example) for n, c in HEALTHY.items() if n not in CASES},
    **{name: (case.build, case.example) for name, case in PRUNABLE.items()},
}
# All of their channels are returned, come from an embedding, or are attended to.
REFUSED = {"case-recurrent", "healthy-repvgg"}


def trained(build: Callable[[], nn.Module], *, zeros: int = 0) -> nn.Module:
    """Return a network with statistics as after training; every so many γ are 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for tensor in (module.weight, module.running_var):
                        tensor.copy_(torch.rand_like(tensor) + 0.5)
                    for tensor in (module.bias, module.running_mean):
                        tensor.copy_(torch.randn_like(tensor) * 0.5)
                    if zeros:
                        module.weight[::zeros] = 0
    return model.eval()


def example_of(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return make()


def outputs(model: nn.Module, example: Any) -> list[Tensor]:
    with torch.no_grad():
        return tensors_in(model(**example) if isinstance(example, dict) else model(example))


@pytest.mark.parametrize("name", EVERY)
def test_architectures_are_pruned_and_run_and_train(name: str) -> None:
    build, make = EVERY[name]
    amount = 0.3 if name in PRUNABLE else 0.7
    model, example = trained(build, zeros=3), example_of(make)
    if name in REFUSED:
        with pytest.raises(RewriteError, match="no channel can be removed"):
            bnkit.prune(model, example, amount=amount)
        return
    rewrite = bnkit.prune(model, example, amount=amount)
    assert rewrite.parameters_after < rewrite.parameters_before
    assert rewrite.multiply_adds_after < rewrite.multiply_adds_before
    shapes = [tensor.shape for tensor in outputs(model, example)]
    assert [tensor.shape for tensor in outputs(rewrite.model, example)] == shapes
    trains = rewrite.model.train()
    found = trains(**example) if isinstance(example, dict) else trains(example)
    sum(t.sum() for t in tensors_in(found) if t.is_floating_point()).backward()
    assert any(p.grad is not None for p in trains.parameters())


@pytest.mark.parametrize("name", [name for name, case in PRUNABLE.items() if case.kept])
def test_what_cannot_be_followed_stays_and_is_told(name: str) -> None:
    case = PRUNABLE[name]
    rewrite = bnkit.prune(trained(case.build), example_of(case.example), amount=0.5, scope="layer")
    for path in case.kept:
        assert path not in rewrite.channels
        assert path in {item.path for item in rewrite.skipped}
    assert rewrite.channels


FOLLOWED = {
    "case-resnet": {"layer1.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2"},
    "case-densenet": {"features.0", "features.1.conv1", "features.2.conv1"},
    "case-mobilenet-v3": {"1.block.0.0", "1.block.1.0", "1.block.2.fc2", "1.block.3"},
    "case-unet-2d": {"down.0", "down.3", "bottom.3", "level.0"},
    "resnext": {"body.1.inner.0.0", "body.1.inner.1.0", "body.1.outer.0"},
    "csp": {"body.1.first.0", "body.1.inner.1.0", "body.1.last.0"},
    "shuffle": {"body.1.first.0", "body.1.depthwise.0", "body.1.last.0"},
    "fusion": {"body.1.high.0", "body.1.low.0", "body.1.up.0", "body.1.down.0", "body.1.join.0"},
    "training-branch": {"stem.0", "side.0", "body.0"},
    "flattened": {"0.0", "2.0", "4"},
    "generator": {"0", "3", "5"},
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_layers_are_followed(name: str) -> None:
    build, make = EVERY[name]
    rewrite = bnkit.prune(trained(build), example_of(make), amount=0.5, scope="layer")
    assert FOLLOWED[name] <= rewrite.channels.keys()


EXACT = ["standardized", "siamese", "training-branch", "flattened", "shuffle-free-of-padding"]


def unpadded() -> nn.Module:
    body = nn.Sequential(unit(3, 9, 3), unit(9, 9, 3, 9), nn.MaxPool2d(2), unit(9, 6), nn.SiLU())
    return Head(body, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EXACT)
def test_channels_whose_scale_is_zero_go_without_a_difference(
    name: str, dtype: torch.dtype
) -> None:
    build = PRUNABLE[name].build if name in PRUNABLE else unpadded
    model, x = trained(build, zeros=3).to(dtype), torch.randn(2, 3, 8, 8, dtype=dtype)
    zeros = sum(
        int((m.weight == 0).sum())
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
    )
    assert zeros
    before = model.eval()(x).detach()
    rewrite = bnkit.prune(model, x, amount=0.3)
    assert rewrite.changes
    scale = float(before.abs().max())
    tolerance = 200 * torch.finfo(dtype).eps * scale
    torch.testing.assert_close(rewrite.model(x), before, rtol=0, atol=tolerance)
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference <= 200 * torch.finfo(dtype).eps


def test_without_absorption_the_difference_would_be_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bnkit.rewrite.pruning import pruning
    from bnkit.rewrite.pruning.channel_removal import Absorption

    model, x = trained(unpadded, zeros=3), torch.randn(2, 3, 8, 8)
    monkeypatch.setattr(pruning, "absorb", lambda *_: Absorption())
    rewrite = bnkit.prune(model, x, amount=0.3)
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference > 1e-3


def test_beta_that_the_activation_makes_zero_is_exact_with_padding() -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 8), unit(8, 6, 3, padding=1)), 6), zeros=2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias[module.weight == 0] = -0.3
    rewrite = bnkit.prune(model, torch.randn(2, 3, 8, 8), amount=0.5)
    assert rewrite.channels == {"body.0.0": (8, 4), "body.1.0": (6, 3)}
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-5


def test_constants_go_into_a_bias_a_running_mean_or_a_new_bias() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            unit(3, 8),
            nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 6, 1),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 4, 1, bias=False),
        )

    rewrite = bnkit.prune(trained(build, zeros=2), torch.randn(2, 3, 8, 8), amount=0.5)
    said = {change.path: change.what for change in rewrite.changes if "constants" in change.what}
    assert "the running mean of 2" in said["1"]
    assert said["3"].endswith("its bias")
    assert "a bias that it did not have" in said["5"]
    assert rewrite.added_keys == ("5.bias",)
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-5


def test_a_border_of_zeros_is_told() -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 8), unit(8, 6, 3, padding=1)), 6), zeros=2)
    with torch.no_grad():
        model.body[0][1].bias.fill_(1.0)
    rewrite = bnkit.prune(model, torch.randn(2, 3, 8, 8), amount=0.3)
    assert any("not at the border" in note for note in rewrite.notes)


@given(
    st.floats(0.05, 0.95),
    st.sampled_from(["scale", "norm", "random"]),
    st.sampled_from(["global", "layer"]),
    st.integers(1, 4),
    st.integers(1, 5),
)
@settings(max_examples=8, deadline=None)
def test_counts_keep_to_what_was_asked(
    amount: float, by: str, scope: str, round_to: int, minimum: int
) -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 8), unit(8, 12), unit(12, 8)), 8))
    options: dict[str, Any] = {"by": by, "scope": scope, "round_to": round_to, "minimum": minimum}
    try:
        rewrite = bnkit.prune(model, torch.randn(2, 3, 4, 4), amount=amount, **options)
    except RewriteError as error:
        assert "removes none" in str(error)
        return
    assert 0 < rewrite.amount <= amount + 1e-9
    for _, after in rewrite.channels.values():
        assert after >= minimum
        assert after % round_to == 0
    removed = sum(before - after for before, after in rewrite.channels.values())
    assert rewrite.amount == pytest.approx(removed / 28)
    if round_to == 1 and rewrite.amount < int(amount * 28 + 1e-9) / 28 and scope == "global":
        assert any("minimum" in note for note in rewrite.notes)


def test_the_lowest_scales_go_and_ties_go_by_order() -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 6), unit(6, 4)), 4))
    with torch.no_grad():
        model.body[0][1].weight.copy_(torch.tensor([3.0, 1, 2, 1, 1, 9]))
        model.body[1][1].weight.fill_(5.0)
    kept = model.body[0][0].weight[[0, 2, 4, 5]]
    rewrite = bnkit.prune(model, torch.randn(2, 3, 4, 4), amount=0.2)
    torch.testing.assert_close(rewrite.model.body[0][0].weight, kept, rtol=0, atol=0)


def test_ties_are_spread_over_the_layers() -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 8), unit(8, 16), unit(16, 4)), 4))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)
    rewrite = bnkit.prune(model, torch.randn(2, 3, 4, 4), amount=0.5)
    assert [after for _, after in rewrite.channels.values()] == [4, 8, 2]


def test_random_channels_depend_on_the_seed_alone() -> None:
    model = trained(lambda: Head(nn.Sequential(unit(3, 32), unit(32, 4)), 4))
    x, state = torch.randn(2, 3, 4, 4), torch.get_rng_state()
    made = []
    for seed in (1, 1, 2):
        torch.rand(seed + len(made))
        made.append(bnkit.prune(model, x, amount=0.5, by="random", seed=seed).model.state_dict())
    torch.set_rng_state(state)
    bnkit.prune(model, x, amount=0.5, by="random", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (found["body.0.0.weight"] for found in made)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype(dtype: torch.dtype) -> None:
    model = trained(unpadded, zeros=3).to(dtype)
    rewrite = bnkit.prune(model, torch.randn(2, 3, 8, 8, dtype=dtype), amount=0.3)
    assert {p.dtype for p in rewrite.model.parameters()} == {dtype}
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 32 * torch.finfo(dtype).eps


def test_a_misplaced_channel_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset of one in a concatenation is refused, and so is a channel that is not tied."""
    from bnkit.rewrite.pruning.channel_functions import FunctionRules

    plain = FunctionRules._appended

    def shifted(self: Any, axes: Any, sizes: Any) -> Any:
        found = plain(self, axes, sizes)
        return None if found is None else (*found[1:], found[0])

    monkeypatch.setattr(FunctionRules, "_appended", shifted)
    case = PRUNABLE["csp"]
    rewrite = bnkit.prune(trained(case.build), example_of(case.example), amount=0.3)
    reasons = {item.path: item.reason for item in rewrite.skipped}
    assert "what it gives when they are masked" in reasons["body.1.first.0"]


@pytest.mark.parametrize(("value", "said"), [("nan", "NaN alone"), ("inf", "no finite value")])
def test_outputs_that_are_not_finite_prove_nothing(value: str, said: str) -> None:
    model = trained(unpadded)
    with torch.no_grad():
        model.fc.bias.fill_(float(value))
    with pytest.raises(RewriteError, match=said):
        bnkit.prune(model, torch.randn(2, 3, 8, 8), amount=0.3)


def test_layers_are_chosen_by_pattern() -> None:
    build, make = EVERY["case-resnet"]
    model, example = trained(build), example_of(make)
    rewrite = bnkit.prune(model, example, amount=0.5, layers="layer1.*.conv1")
    assert rewrite.channels.keys() == {"layer1.0.conv1", "layer1.1.conv1"}
    with pytest.raises(RewriteError, match="go with those of"):
        bnkit.prune(model, example, amount=0.5, layers="layer1.0.conv2")
    with pytest.raises(RewriteError, match="names no conv or linear layer"):
        bnkit.prune(model, example, amount=0.5, layers="layer9")


def _with_hook(model: nn.Module) -> None:
    model.body[0][0].register_forward_hook(lambda *_: None)


def _parametrized(model: nn.Module) -> None:
    nn.utils.parametrizations.weight_norm(model.body[0][0])


def _tied(model: nn.Module) -> None:
    model.body[1][0].weight = model.body[0][0].weight


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_with_hook, "has hooks"), (_parametrized, "parametrization"), (_tied, "is tied to")],
)
def test_layers_that_may_count_on_their_channels_are_left(change: Any, reason: str) -> None:
    model = trained(lambda: Head(nn.Sequential(unit(6, 6), unit(6, 6), unit(6, 8)), 8))
    change(model)
    rewrite = bnkit.prune(model, torch.randn(2, 6, 4, 4), amount=0.5, scope="layer")
    reasons = {item.path: item.reason for item in rewrite.skipped}
    assert any(reason in text for text in reasons.values()), reasons
    assert "body.2.0" in rewrite.channels


def test_the_result_is_an_ordinary_model(tmp_path: Any) -> None:
    model, x = trained(unpadded, zeros=3), torch.randn(2, 3, 8, 8)
    rewrite = bnkit.prune(model, x, amount=0.4)
    conv, depthwise = rewrite.model.body[0][0], rewrite.model.body[1][0]
    assert conv.out_channels == len(conv.weight) == depthwise.groups == depthwise.in_channels
    assert rewrite.model.body[1][1].num_features == depthwise.out_channels
    exported = torch.export.export(rewrite.model, (x,)).module()
    torch.testing.assert_close(exported(x), rewrite.model(x))
    rewrite.save(tmp_path / "pruned.safetensors")
    loaded = bnkit.load(unpadded(), tmp_path / "pruned.safetensors")
    torch.testing.assert_close(loaded.model.eval()(x), rewrite.model(x), rtol=0, atol=0)
    other = pickle.loads(pickle.dumps(rewrite))
    assert isinstance(other, Pruning)
    assert other.channels == rewrite.channels
    text = str(copy.deepcopy(rewrite))
    assert f"{rewrite.parameters_before:,} → {rewrite.parameters_after:,}" in text
    assert "an optimizer" in text


def test_multiply_adds_are_those_of_conv_and_linear_layers() -> None:
    model = trained(lambda: Head(unit(3, 8, 3), 8))
    rewrite = bnkit.prune(model, torch.randn(2, 3, 6, 6), amount=0.5)
    assert rewrite.multiply_adds_before == 2 * (16 * 8 * 27 + 8 * 5)
    assert rewrite.multiply_adds_after == 2 * (16 * 4 * 27 + 4 * 5)


@pytest.mark.parametrize("amount", [0, 1, -0.1, 1.5, float("nan"), float("inf"), True, "0.3", None])
def test_an_amount_outside_the_open_interval_is_refused(amount: Any) -> None:
    with pytest.raises(ArgumentError, match="amount"):
        bnkit.prune(trained(unpadded), torch.randn(2, 3, 8, 8), amount=amount)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "scales"}, "Did you mean 'scale'"),
        ({"by": 3}, "by=3"),
        ({"scope": "layers"}, "Did you mean 'layer'"),
        ({"round_to": 0}, "round_to=0"),
        ({"minimum": True}, "minimum=True"),
        ({"seed": -1}, "seed=-1"),
        ({"layers": []}, "holds no pattern"),
        ({"minimum": 100}, "removes none"),
    ],
)
def test_wrong_arguments_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BnkitError, match=said):
        bnkit.prune(trained(unpadded), torch.randn(2, 3, 8, 8), amount=0.3, **options)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda x: x, "model is a function"),
        (nn.ReLU, "model is the class ReLU.*such as ReLU"),
        (None, "model is a NoneType"),
    ],
)
def test_what_is_no_network_is_told(model: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        bnkit.prune(model, torch.randn(2, 3, 8, 8), amount=0.3)


def test_it_works_within_inference_mode() -> None:
    model, x = trained(unpadded, zeros=3), torch.randn(2, 3, 8, 8)
    expected = bnkit.prune(model, x, amount=0.3)
    with torch.inference_mode():
        found = bnkit.prune(trained(unpadded, zeros=3), x, amount=0.3)
    assert found.channels == expected.channels
    assert found.multiply_adds_after == expected.multiply_adds_after
    assert found.relative_difference is not None
    assert found.relative_difference < 1e-5


def test_examples_that_do_not_fit_are_told() -> None:
    with pytest.raises(ForwardError, match="forward raised"):
        bnkit.prune(trained(unpadded), torch.randn(2, 4, 8, 8), amount=0.3)
    with pytest.raises(ArgumentError, match="prune got no example"):
        bnkit.prune(trained(unpadded), amount=0.3)
    with pytest.raises(ArgumentError, match="an example without samples"):
        bnkit.prune(trained(unpadded), torch.randn(0, 3, 8, 8), amount=0.3)
    with pytest.raises(RewriteError, match="no conv or linear layer"):
        bnkit.prune(nn.ReLU(), torch.randn(2, 4), amount=0.3)
    with pytest.raises(RewriteError, match="0: the model returns its channels"):
        bnkit.prune(nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4), amount=0.3)
