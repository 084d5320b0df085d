"""Every arm on networks of ours and of a user: what it does, what it leaves, what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import NetworkError
from bnkit.lab.networks import build_network, named_builder
from bnkit.lab.study.arm_names import NORMS
from bnkit.lab.study.arms import apply_arm
from bnkit.lab.training.full_batch import FullBatchNorm
from bnkit.layers import BatchNormAct2d, NoisyBatchNorm2d
from bnkit.rewrite.kept_in_eval import is_kept_class
from source_tree import ROOT

SHAPES = {"three-conv": (1, 8, 8), "sigmoid": (1, 8, 8), "resnet": (1, 8, 8), "keras-dense": (5,)}
# Networks that an arm refuses.
REFUSED = {
    ("sigmoid", "instance"): r"2: left as it is, because its input has one value.*3 layers in all",
    ("keras-dense", "instance"): r"3: left as it is, because its input has one value",
    ("keras-dense", "batch-after-activation"): r"3: is behind the activation 2 already",
    ("resnet", "batch-after-activation"): (
        r"3.norm2: cannot be moved behind an activation: behind 3.conv2 .*torch.Tensor.add"
    ),
}
PAIRS = [(network, norm) for network in SHAPES for norm in NORMS]


def built(network: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(named_builder(network), network, SHAPES[network], 3, {})


def example(network: str) -> Tensor:
    return torch.randn(4, *SHAPES[network], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("network", "norm"), [pair for pair in PAIRS if pair not in REFUSED])
def test_weights_that_remain_are_equal_bit_for_bit(network: str, norm: str) -> None:
    given, images = built(network), example(network)
    changed = apply_arm(built(network), norm, images, network).model
    weighted = (nn.Linear, nn.modules.conv._ConvNd)
    before = [layer for layer in given.modules() if isinstance(layer, weighted)]
    after = [layer for layer in changed.modules() if isinstance(layer, weighted)]
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.weight, other.weight)
        if other.bias is None:
            assert one.bias is None
            continue
        assert torch.equal(
            other.bias, torch.zeros_like(other.bias) if one.bias is None else one.bias
        )
    changed.train()(images).sum().backward()
    assert changed.eval()(images).shape == (4, 3)


@pytest.mark.parametrize(("network", "norm"), REFUSED)
def test_an_arm_that_cannot_apply_names_layer_and_reason(network: str, norm: str) -> None:
    with pytest.raises(NetworkError, match=REFUSED[network, norm]):
        apply_arm(built(network), norm, example(network), network)


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "batch"])
def test_a_network_without_batch_norm_has_no_arms(norm: str) -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(NetworkError, match="no batch norm"):
        apply_arm(bare, norm, torch.randn(4, 1, 8, 8), "bare")


KINDS: dict[str, Callable[[nn.Module], bool]] = {
    "batch": lambda layer: isinstance(layer, _BatchNorm),
    "batch-without-scale": lambda layer: isinstance(layer, _BatchNorm) and layer.weight is None,
    "full-batch": lambda layer: isinstance(layer, FullBatchNorm),
    "noisy-batch": lambda layer: isinstance(layer, NoisyBatchNorm2d),
    "group": lambda layer: isinstance(layer, nn.GroupNorm) and layer.num_groups == 8,
    "layer": lambda layer: isinstance(layer, nn.GroupNorm) and layer.num_groups == 1,
    "instance": lambda layer: isinstance(layer, nn.InstanceNorm2d),
    "frozen": lambda layer: is_kept_class(type(layer)),
    "none": lambda layer: isinstance(layer, nn.Identity),
}


@pytest.mark.parametrize("norm", KINDS)
def test_each_batch_norm_becomes_what_the_arm_says(norm: str) -> None:
    network = apply_arm(built("three-conv"), norm, example("three-conv"), "three-conv").model
    assert isinstance(network, nn.Sequential)
    assert [KINDS[norm](layer) for layer in network] == [
        index in (1, 4, 7) for index in range(len(network))
    ]


class Own(nn.Module):
    """A user's network: a convolution without bias, and a batch norm with settings of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6, eps=0.25, momentum=0.01)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def test_a_moved_batch_norm_is_the_same_layer_behind_the_activation() -> None:
    torch.manual_seed(0)
    network, images = Own(), example("three-conv")
    norm = network.norm
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(0.5)
    features = torch.relu(network.conv(images))
    mean, var = features.mean(dim=(0, 2, 3)), features.var(dim=(0, 2, 3), correction=0)
    scaled = (features - mean[:, None, None]) / torch.sqrt(var + 0.25)[:, None, None]
    expected = network.head((3 * scaled + 0.5).mean(dim=(2, 3)))
    rewrite = apply_arm(network, "batch-after-activation", images, "own")
    assert any(module is norm for module in network.modules())
    torch.testing.assert_close(network.train()(images), expected)
    said = {change.path: change.what for change in rewrite.changes}
    assert said["norm"] == "moved behind the activation relu"
    assert "bias of zeros added" in said["conv"]
    assert torch.equal(network.conv.bias, torch.zeros(6))


def test_without_scale_a_batch_norm_only_normalizes() -> None:
    torch.manual_seed(0)
    network, images = Own(), example("three-conv")
    with torch.no_grad():
        network.norm.weight.fill_(3.0)
    apply_arm(network, "batch-without-scale", images, "own")
    assert not [key for key in network.state_dict() if key in ("norm.weight", "norm.bias")]
    assert not network.norm.affine
    out = network.train().norm(network.conv(images))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-5, rtol=0)
    assert float(out.detach().abs().max()) < 4, "γ = 3 is gone"


def test_a_noisy_arm_is_noisy_in_training_alone_and_refuses_what_activates() -> None:
    torch.manual_seed(0)
    network, images = Own(), example("three-conv")
    before = network.eval()(images)
    rewrite = apply_arm(network, "noisy-batch", images, "own")
    torch.testing.assert_close(network(images), before)
    network.train()
    assert not torch.equal(network(images), network(images))
    assert network.norm.eps == 0.25
    assert [change.path for change in rewrite.changes] == ["norm"]
    network.norm = BatchNormAct2d(6)
    with pytest.raises(NetworkError, match="norm: it activates too"):
        apply_arm(network, "noisy-batch", images, "own")
    assert type(network.norm) is BatchNormAct2d


class Functional(nn.Module):
    """A registered batch norm, and one called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        x = nn.functional.batch_norm(x, None, None, training=True)
        return self.head(torch.relu(x))


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_mixture_is_refused(norm: str) -> None:
    with pytest.raises(NetworkError, match="calls batch norm as a function"):
        apply_arm(Functional(), norm, torch.randn(4, 8), "functional")


class FunctionalActivation(Own):
    """An activation that no module makes."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def test_a_batch_norm_before_a_function_cannot_be_moved() -> None:
    with pytest.raises(NetworkError, match=r"norm: cannot be moved .*called as a function"):
        apply_arm(FunctionalActivation(), "batch-after-activation", example("three-conv"), "own")


def test_the_guide_lists_every_norm_as_the_table_does() -> None:
    guide = (ROOT / "docs" / "guides" / "study-file.md").read_text("utf-8")
    for name, entry in NORMS.items():
        assert f"| `{name}` | {entry.what} |" in guide


def sigmoid_of(depth: int) -> nn.Module:
    torch.manual_seed(0)
    return named_builder("sigmoid")((1, 8, 8), 3, hidden=[6], depth=depth)


def norms_of(network: nn.Module) -> list[bool]:
    """Return, for each hidden layer, whether a batch norm follows it."""
    layers = list(network)
    return [
        isinstance(layers[index + 1], _BatchNorm)
        for index, layer in enumerate(layers[:-1])
        if isinstance(layer, nn.Linear)
    ]


@pytest.mark.parametrize(
    ("depth", "share", "kept"),
    [(8, 0.25, [2, 6]), (8, 0.5, [1, 3, 5, 7]), (3, 0.5, [0, 2]), (4, 0.01, [2]), (2, 0.8, [0, 1])],
)
def test_a_share_of_the_batch_norms_is_kept_evenly_spread(
    depth: int, share: float, kept: list[int]
) -> None:
    images = example("sigmoid")
    given, rewrite = sigmoid_of(depth), apply_arm(sigmoid_of(depth), "batch", images, "own", share)
    assert norms_of(rewrite.model) == [index in kept for index in range(depth)]
    assert len(rewrite.changes) == depth - len(kept)
    told = [item.reason for item in rewrite.skipped]
    expected = f"norm_share = {share:g} keeps all {depth} of its batch norms"
    assert told == ([expected] if len(kept) == depth else [])
    for before, after in zip(given, rewrite.model, strict=True):
        if isinstance(before, nn.Linear):
            assert torch.equal(before.weight, after.weight)
    rewrite.model.train()(images).sum().backward()


def test_a_share_of_another_norm() -> None:
    images = example("three-conv")
    changed = apply_arm(built("three-conv"), "group", images, "three-conv", 0.34).model
    kinds = [type(changed[index]) for index in (1, 4, 7)]
    assert kinds == [nn.Identity, nn.GroupNorm, nn.Identity]


def test_a_share_of_no_batch_norm_is_refused() -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(NetworkError, match="no batch norm"):
        apply_arm(bare, "batch", torch.randn(4, 1, 8, 8), "bare", 0.5)
