"""The comparisons of a layer and of a network can fail, and say what differs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.errors import RewriteError
from bnkit.rewrite.acceleration.layer_check import check_of, compare, deviation
from bnkit.rewrite.acceleration.network_check import check_of_network, excess
from bnkit.rewrite.network_run import run_network
from bnkit.rewrite.result import Rewrite

IMAGES = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def layer() -> nn.BatchNorm2d:
    torch.manual_seed(0)
    made = nn.BatchNorm2d(3)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.running_mean)
    return made


def moved(made: nn.BatchNorm2d, name: str) -> nn.BatchNorm2d:
    with torch.no_grad():
        getattr(made, name).mul_(1 + 1e-3)
    return made


def with_eps(made: nn.BatchNorm2d) -> nn.BatchNorm2d:
    made.eps = 1e-3
    return made


def with_momentum(made: nn.BatchNorm2d) -> nn.BatchNorm2d:
    made.momentum = 0.101
    return made


def activated(_: nn.BatchNorm2d) -> nn.Module:
    made = bnkit.BatchNormAct2d(3, "leaky_relu")
    made.load_state_dict(layer().state_dict())
    return made


@pytest.mark.parametrize("activation", [None, nn.ReLU(inplace=True), nn.ReLU6()])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: moved(made, "weight"), "output in training mode"),
        (lambda made: moved(made, "running_mean"), "running_mean in training mode"),
        (with_eps, "output in training mode"),
        (with_momentum, "running_mean in training mode"),
        (activated, "output in training mode"),
    ],
)
def test_a_layer_that_differs_is_told_from_torchs(change, words, activation) -> None:
    check = check_of(layer(), None)
    compare("path", check, layer())
    with pytest.raises(RewriteError, match=rf"^path: on random input its {words} differs"):
        compare("path", check, change(layer()))
    with pytest.raises(RewriteError, match="differs from torch's"):
        compare("path", check_of(layer(), activation), activated(layer()))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), 0.5),
        (torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf]), 0.0),
        (torch.tensor([1.0]), torch.tensor([math.nan]), math.inf),
        (torch.tensor([math.inf]), torch.tensor([-math.inf]), math.inf),
        (torch.ones(2), torch.ones(3), math.inf),
        (torch.ones(2), None, math.inf),
        (None, None, 0.0),
        (torch.tensor([3, 4]), torch.tensor([3, 6]), 2.0),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 2j]), 1.0),
        (torch.eye(2).to_sparse(), 3 * torch.eye(2).to_sparse(), 2.0),
        (torch.empty(0), torch.empty(0), 0.0),
    ],
)
def test_a_deviation_counts_what_is_not_finite(
    before: Tensor | None, after: Tensor | None, expected: float
) -> None:
    assert deviation(before, after) == expected


def network() -> nn.Module:
    torch.manual_seed(0)
    blocks = [
        part
        for _ in range(4)
        for part in (nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.LeakyReLU(0.1))
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(108, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_that_differs_is_told_from_the_one_before(dtype: torch.dtype) -> None:
    model, x = network().to(dtype), IMAGES.to(dtype)
    check = check_of_network(model, x)
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    rewrite = Rewrite(model)
    assert excess(rewrite, x, check, layers) == ""
    assert (rewrite.difference, rewrite.relative_difference) == (0, 0)
    model[2].negative_slope = 0.11
    found = excess(rewrite, x, check, layers)
    assert found.startswith("output 0 in eval mode differs by ")
    assert rewrite.difference is not None
    assert rewrite.difference > 1e-4
    model[2].negative_slope, model[1].momentum = 0.1, 0.11
    found = excess(rewrite, x, check, layers)
    assert found.startswith("buffer 1.running_mean in training mode differs by ")
    assert rewrite.difference == 0


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1.01 * grad


class WrongGradient(nn.Module):
    is_wrong = False

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return Backwards.apply(y) if self.is_wrong else y


def test_gradients_of_inputs_and_parameters_are_compared() -> None:
    model = WrongGradient()
    check = check_of_network(model, IMAGES)
    model.is_wrong = True
    rewrite = Rewrite(model)
    found = excess(rewrite, IMAGES, check, [model.norm])
    assert found.startswith("gradient of input 0 in eval mode differs by ")
    assert rewrite.difference == 0
    assert {"gradient of input 0", "gradient of conv.weight", "buffer norm.running_var"} <= set(
        check.before["training"].values
    )


class ReadsNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * float(x.numpy().max())


def test_a_network_that_does_not_run_with_gradients_is_compared_without() -> None:
    rewrite = bnkit.accelerate(ReadsNumbers(), IMAGES)
    assert len(rewrite.changes) == 1
    assert "gradients not compared in eval mode: with gradients recorded" in str(rewrite)


class RaisesOnceSwapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        assert type(self.norm) is nn.BatchNorm2d, "wants torch's"
        return self.norm(x)


def test_a_network_that_no_longer_runs_is_put_back() -> None:
    model = RaisesOnceSwapped()
    with pytest.raises(RewriteError, match="the network raised AssertionError: wants torch's"):
        bnkit.accelerate(model, IMAGES, inplace=True)
    assert type(model.norm) is nn.BatchNorm2d


def test_rounding_that_the_network_amplifies_is_allowed() -> None:
    """Two values per channel in training: the last layer's output is nothing but a sign."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)) for _ in range(20)])
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    with bnkit.use_kernel("reference"):
        assert len(bnkit.accelerate(model, x).changes) == 20


def test_a_run_leaves_no_marks_and_repeats_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    before, random_state = repr(model.state_dict()), torch.get_rng_state()
    runs = [run_network(model, IMAGES, training=True) for _ in range(2)]
    torch.testing.assert_close(runs[0].values, runs[1].values, rtol=0, atol=0)
    assert repr(model.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.training
    assert model[0].weight.grad is None
    assert IMAGES.grad is None
    assert not IMAGES.requires_grad
