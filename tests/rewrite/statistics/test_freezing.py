"""freeze and unfreeze: parameters and statistics stand still, and come back as they were."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import bnkit
from bnkit.errors import ArgumentTypeError, RewriteError
from helpers.architectures import ResNet
from helpers.process_group import process_group


class Named(nn.BatchNorm2d):
    """A subclass that a pickle finds by its name."""


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(3), (4, 3)),
    "2d": (lambda: nn.BatchNorm2d(3), (4, 3, 5, 5)),
    "3d": (lambda: nn.BatchNorm3d(3), (4, 3, 2, 2, 2)),
    "sync": (lambda: nn.SyncBatchNorm(3), (4, 3, 5)),
    "bnkit": (lambda: bnkit.BatchNorm2d(3), (4, 3, 5, 5)),
    "bnkit-act": (lambda: bnkit.BatchNormAct1d(3), (4, 3)),
    "subclass": (lambda: Named(3), (4, 3, 5, 5)),
    "no-affine": (lambda: nn.BatchNorm1d(3, affine=False), (4, 3)),
    "momentum-none": (lambda: nn.BatchNorm1d(3, momentum=None), (4, 3)),
    "instance": (lambda: nn.InstanceNorm1d(3, affine=True, track_running_stats=True), (4, 3, 5)),
}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def train(model: nn.Module, x: Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        (model(x).square().sum() + x.sum()).backward()
        optimizer.step()


@pytest.mark.parametrize("name", LAYERS)
def test_training_moves_nothing_of_a_frozen_layer(name: str) -> None:
    build, shape = LAYERS[name]
    model = nn.Sequential(build(), nn.Linear(shape[-1], 2)).train()
    x = (torch.randn(shape) * 3 + 1).requires_grad_()
    frozen = bnkit.freeze(model).model
    before, kind = state(frozen[0]), type(frozen[0])
    expected = copy.deepcopy(frozen[0]).eval()(x)
    train(frozen, x)
    frozen.apply(lambda module: module.train())
    torch.testing.assert_close(frozen[0](x), expected, rtol=0, atol=0)
    assert_equal(before, frozen[0].state_dict())
    assert isinstance(frozen[0], type(model[0]))
    assert kind.__name__ == type(model[0]).__name__
    assert repr(frozen) == repr(model)
    thawed = bnkit.unfreeze(frozen).model
    assert type(thawed[0]) is type(model[0])
    train(thawed, x)
    assert any(not torch.equal(before[key], v) for key, v in thawed[0].state_dict().items())


def copies(model: nn.Module, folder: Path) -> list[nn.Module]:
    """Return a frozen model deep-copied, pickled, saved by torch, and loaded by bnkit."""
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
        copy.deepcopy(copy.deepcopy(model)),
    ]


def test_unfreeze_brings_back_modes_and_flags_of_any_copy(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = ResNet().train()
        model.layer1[0].bn1.eval()
        model.layer1[0].bn2.weight.requires_grad_(False)
        return model

    model = build()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    types = {name: type(m) for name, m in model.named_modules()}
    rewrite = bnkit.freeze(model)
    rewrite.save(tmp_path / "frozen.safetensors")
    loaded = bnkit.load(build(), tmp_path / "frozen.safetensors").model
    for frozen in (*copies(rewrite.model, tmp_path), loaded):
        frozen.train()
        norms = [m for m in frozen.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert not any(p.requires_grad for norm in norms for p in norm.parameters())
        thawed = bnkit.unfreeze(frozen, inplace=True).model
        assert {name: p.requires_grad for name, p in thawed.named_parameters()} == flags
        assert {name: m.training for name, m in thawed.named_modules()} == modes
        assert {name: type(m) for name, m in thawed.named_modules()} == types
        assert all("_before_freeze" not in vars(m) for m in thawed.modules())


def test_layers_are_chosen_by_patterns_and_the_others_go_on() -> None:
    model = bnkit.freeze(ResNet().train(), "layer1.*.bn1").model.train()
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    frozen = [name for name, norm in norms.items() if not norm.training]
    assert frozen
    assert all(name.startswith("layer1") and name.endswith("bn1") for name in frozen)
    back = bnkit.unfreeze(model, ["layer1", "bn1"])
    assert [item.reason for item in back.skipped if item.path == "bn1"] == [
        "it was not frozen by bnkit.freeze"
    ]
    with pytest.raises(RewriteError, match="The nearest are"):
        bnkit.freeze(model, "layre1")


def test_gradients_and_optimizer_of_a_model_frozen_in_place() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    model(torch.randn(5, 2)).square().mean().backward()
    optimizer.step()
    parameter, gradient = model[1].weight, model[1].weight.grad
    rewrite = bnkit.freeze(model, inplace=True)
    assert model[1].weight is parameter
    assert "their gradients taken away" in rewrite.changes[0].what
    before = state(model[1])
    optimizer.step()
    assert_equal(before, model[1].state_dict())
    rewrite.undo()
    assert parameter.grad is gradient
    assert parameter.requires_grad


def test_what_cannot_be_frozen_is_skipped_with_the_reason() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(2))
            self.register_buffer("running_var", torch.ones(2))

    model = nn.Sequential(
        nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), Fixed(), nn.BatchNorm1d(2)
    )
    model[3].train = lambda mode=True: model[3]  # type: ignore[assignment]
    rewrite = bnkit.freeze(model)
    reasons = {item.path: item.reason for item in rewrite.skipped}
    assert [change.path for change in rewrite.changes] == ["0"]
    assert "no running statistics" in reasons["1"]
    assert "is a Fixed" in reasons["2"]
    assert "train() was replaced" in reasons["3"]
    again = bnkit.freeze(rewrite.model, "0")
    assert again.skipped[0].reason == "it is frozen already"


def test_tied_and_parametrized_weights() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    model[1].weight = model[0].weight
    assert bnkit.freeze(model, "0").notes == [
        "1.weight is tied to a parameter of 0: it is not trained"
    ]
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(2, 2)), nn.BatchNorm1d(2))
    torch.nn.utils.parametrize.register_parametrization(
        model[1], "weight", nn.Softplus(), unsafe=True
    )
    frozen = bnkit.freeze(model.train()).model.train()
    assert not any(p.requires_grad for p in frozen[1].parameters())
    assert not frozen[1].training
    assert all(p.requires_grad for p in bnkit.unfreeze(frozen).model[1].parameters())


def test_the_rules_of_check_find_nothing_in_a_frozen_model() -> None:
    model = ResNet().train()
    frozen = bnkit.freeze(model, ["bn1", "layer1"]).model.train()
    found = bnkit.check(frozen, torch.randn(4, 3, 32, 32), select=["BN3"]).findings
    assert not found, found


def test_ranks_of_a_process_group_go_on(tmp_path: Path) -> None:
    model = bnkit.freeze(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()).model
    with process_group(str(tmp_path)):
        wrapped = nn.parallel.DistributedDataParallel(model).train()
        before = state(model[1])
        wrapped(torch.randn(4, 2)).sum().backward()
        assert_equal(before, model[1].state_dict())


def test_bad_input() -> None:
    with pytest.raises(ArgumentTypeError, match="model is a int"):
        bnkit.freeze(3)  # type: ignore[arg-type]
    with pytest.raises(RewriteError, match="no layer with running statistics"):
        bnkit.freeze(nn.Linear(2, 2))
    with pytest.raises(RewriteError, match=r"no layer that bnkit\.freeze froze"):
        bnkit.unfreeze(nn.BatchNorm1d(2))
