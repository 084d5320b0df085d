"""Which activations are fused with and without a run, and which are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit

IMAGES = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Any:
        return self.features(x)


class Slices(Features):
    def forward(self, x: Tensor) -> Any:
        normalized = self.features[0](x)
        return normalized, self.features[1:](normalized)


class Iterates(Features):
    def forward(self, x: Tensor) -> Any:
        for layer in self.features:
            x = layer(x)
        return x


class Lists(Features):
    def __init__(self) -> None:
        super().__init__()
        self.parts = list(self.features)


class Twice(Features):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(self.features[0], nn.Identity())


class SharesActivation(Features):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Sequential(nn.BatchNorm2d(3), self.features[1])

    def forward(self, x: Tensor) -> Any:
        return self.more(super().forward(x))


class Modules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.activation = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        return self.activation(self.norm(x))


class Pair(Modules):
    """Runs batch norm and activation together, several times."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(super().forward(x))


class Keeps(Modules):
    def forward(self, x: Tensor) -> Any:
        self.kept = self.norm(x)
        return self.activation(self.kept)


class Branches(Modules):
    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        return self.activation(y) * y.mean()


class BranchesInTraining(Modules):
    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        return (self.activation(y), y.mean()) if self.training else self.activation(y)


class NeedsLabels(Modules):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        if self.training and labels is None:
            raise ValueError("labels are needed in training")
        return super().forward(self.stem(x))


class BoundSlope(Features):
    def __init__(self) -> None:
        super().__init__()
        self.features[1] = nn.LeakyReLU(-0.1)


class Calls(nn.Module):
    """Uses its Sequential in ways that run all of it or none."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
        for layer in self.features.modules():
            layer.train()

    def forward(self, x: Tensor) -> Any:
        return self.features(input=x)


# network → how many are fused without a run, how many with one, and a part of a reason.
CASES = {
    Features: (1, 1, ""),
    Calls: (1, 1, ""),
    Slices: (0, 0, "Slices does more with 'features' than call it"),
    Iterates: (0, 1, "Iterates does more with 'features' than call it"),
    Lists: (0, 1, "it is held at several places"),
    Twice: (0, 1, "it is held at several places"),
    SharesActivation: (0, 0, "the activation after it is held at several places"),
    BoundSlope: (0, 0, "not fused with the LeakyReLU after it; fused are"),
    Modules: (0, 1, "activations outside of torch.nn.Sequential were not fused"),
    Pair: (0, 1, ""),
    Keeps: (0, 0, "the network returns or keeps its output from before the activation"),
    Branches: (0, 0, "its output goes not only to the activation"),
    BranchesInTraining: (0, 0, "its output goes not only to the activation"),
    NeedsLabels: (1, 1, "fused only inside nn.Sequential: in training mode the network raised"),
}


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_an_activation_is_fused_where_it_alone_takes_the_output(kind: type[nn.Module]) -> None:
    model = kind()
    rewrites = [bnkit.accelerate(model), bnkit.accelerate(model, IMAGES)]
    fused = tuple(
        sum(isinstance(m, bnkit.BatchNormAct2d) for m in rewrite.model.modules())
        for rewrite in rewrites
    )
    *expected, reason = CASES[kind]
    assert fused == tuple(expected)
    assert reason in " | ".join(item.reason for rewrite in rewrites for item in rewrite.skipped)
    for rewrite in rewrites:
        torch.testing.assert_close(rewrite.model.eval()(IMAGES), model.eval()(IMAGES))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("example", [None, IMAGES], ids=["without", "with"])
def test_nothing_is_fused_past_a_hook(index: int, example: Tensor | None) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    seen: list[Tensor] = []
    model[index].register_forward_hook(lambda _, __, y: seen.append(y))
    rewrite = bnkit.accelerate(model, example, inplace=True)
    assert "hooked" in str(rewrite)
    seen.clear()
    y = model(IMAGES)
    assert bool((seen[0] < 0).any()) == (index == 0)
    assert torch.equal(torch.relu(seen[0]), y)


@pytest.mark.parametrize("inplace", [False, True])
def test_an_output_kept_by_the_network_is_the_activations_where_that_works_in_place(
    inplace: bool,
) -> None:
    model = Keeps()
    model.activation = nn.ReLU(inplace=inplace)
    changed = bnkit.accelerate(model, IMAGES).model
    assert isinstance(changed.norm, bnkit.BatchNormAct2d) == inplace
    model(IMAGES), changed(IMAGES)
    torch.testing.assert_close(changed.kept, model.kept)


def test_a_layer_with_an_attribute_of_that_name_is_not_fused() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    model[0].activation = "mine"
    rewrite = bnkit.accelerate(model)
    assert type(rewrite.model[0]) is bnkit.BatchNorm2d
    assert rewrite.model[0].activation == "mine"
    assert "0: skipped, not fused, because it has an attribute activation of its own" in str(
        rewrite
    )
