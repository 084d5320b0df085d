"""Statistics of many images in place of the batch's, against plain torch written out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.lab.study.full_batch_arm import FullBatchNorm1d, FullBatchNorm2d
from bnkit.lab.training import Split
from bnkit.lab.training.full_batch import FULL_BATCH_IMAGES, FullBatch, full_batch_images
from helpers.training_cases import run, settings, splits


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 3


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), FullBatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5), FullBatchNorm1d(5)]
    return nn.Sequential(*layers, nn.Linear(5, 2)).double()


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 5, 2)])
def test_given_the_batchs_own_statistics_it_is_batch_norm(shape: tuple[int, ...]) -> None:
    flat = len(shape) == 2
    ours = (FullBatchNorm1d if flat else FullBatchNorm2d)(3).double()
    theirs = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(3).double()
    for layer in (ours, theirs):
        layer.weight.data = drawn(3, seed=1)
        layer.bias.data = drawn(3, seed=2)
    x, weight = drawn(*shape, seed=3), drawn(*shape, seed=4)
    axes = [0, *range(2, len(shape))]
    ours.given = (x.mean(axes), x.var(axes, correction=0))
    found, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = ours(found)
    torch.testing.assert_close(y, theirs(expected))
    (y * weight).sum().backward()
    (theirs(expected) * weight).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_other_statistics_give_the_worked_values_and_the_batchs_gradient() -> None:
    """x = 1, 5 by mean 2 and variance 4: (1 − 2)/2 and (5 − 2)/2.

    With g = ∂L/∂y = (1, 0), σ = 2 and x − μ = (−1, 3), the gradient through x alone is
    g/σ = (½, 0); through the batch's mean −Σg/σ/2 = −¼ each; through its variance
    −½ Σ g·(x − μ)/σ³ · 2(x − x̄)/2 = (1/16)·(x − x̄) = (−⅛, ⅛).
    """
    layer = FullBatchNorm1d(1, eps=0.0, affine=False).double()
    layer.given = (torch.tensor([2.0]).double(), torch.tensor([4.0]).double())
    x = torch.tensor([[1.0], [5.0]], dtype=torch.float64, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y.detach().ravel(), torch.tensor([-0.5, 1.5]).double())
    y[0].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.ravel(), torch.tensor([0.125, -0.125]).double())


def test_each_layer_gets_the_statistics_that_the_whole_set_gives() -> None:
    network, images = normed(), drawn(30, 4)
    plain = nn.Sequential(*(nn.BatchNorm1d(m.num_features).double() if isinstance(
        m, nn.BatchNorm1d) else copy.deepcopy(m) for m in network))  # fmt: skip
    FullBatch(network, Split(images, torch.zeros(30, dtype=torch.int64))).refresh()
    whole = plain(images)
    # A batch of the set comes out as it does among all images.
    torch.testing.assert_close(network(images[:5]), whole[:5])
    for ours, theirs in zip(network, plain, strict=True):
        if isinstance(ours, FullBatchNorm1d):
            torch.testing.assert_close(ours.running_mean, theirs.running_mean)
            torch.testing.assert_close(ours.running_var, theirs.running_var)
            assert ours.num_batches_tracked == 1, "the batch is not counted"
            assert not ours.is_collecting


def test_eval_mode_uses_the_running_statistics() -> None:
    network = normed()
    plain = copy.deepcopy(network)
    for layer in network:
        if isinstance(layer, FullBatchNorm1d):
            layer.given = (torch.full((layer.num_features,), 9.0).double(),) * 2
    x = drawn(3, 4, seed=5)
    torch.testing.assert_close(network.eval()(x), plain.eval()(x), rtol=0, atol=0)


def test_dropout_in_the_pass_draws_none_of_the_trainings_numbers() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3), FullBatchNorm1d(3))
    before = torch.get_rng_state()
    FullBatch(network, splits()[0]).refresh()
    assert torch.equal(torch.get_rng_state(), before)


def test_training_with_all_images_in_one_batch_is_training_with_batch_norm() -> None:
    """One batch of all images has the statistics of all images: losses agree in float64."""
    torch.manual_seed(1)
    full = nn.Sequential(nn.Linear(4, 8), FullBatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    plain = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    plain.load_state_dict(full.state_dict())
    ours = run(full.double(), settings(precision="float64"), batch_size=50)
    theirs = run(plain.double(), settings(precision="float64"), batch_size=50)
    for one, other in zip(ours.checkpoints, theirs.checkpoints, strict=True):
        assert one == pytest.approx(other, rel=1e-10)
    small = run(full, settings(precision="float64"), batch_size=10)
    assert small.diverged_step is None


class _GivenNorm(torch.autograd.Function):
    """(x − μ)/σ with its gradient in closed form: μ and σ moved by the batch alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean, std)
        return (x - mean) / std

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, mean, std = ctx.saved_tensors
        through_var = (x - x.mean(0)) * (grad * (x - mean)).mean(0) / std**3
        return (grad - grad.mean(0)) / std - through_var, None, None


def test_the_loop_takes_the_statistics_anew_before_each_step() -> None:
    """A loop written out: all 50 images through the weights of each step, then batches of 10."""
    torch.manual_seed(1)
    layers = [nn.Linear(4, 8), FullBatchNorm1d(8, affine=False), nn.Tanh(), nn.Linear(8, 2)]
    network = nn.Sequential(*layers).double()
    first, last = copy.deepcopy(network[0]), copy.deepcopy(network[3])
    found = run(network, settings(precision="float64", epochs=2), batch_size=10)

    train_split, _ = splits(dtype=torch.float64)
    optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
    order = torch.Generator().manual_seed(3)
    losses: list[float] = []
    for _ in range(2):
        for index in torch.randperm(50, generator=order).split(10):
            with torch.no_grad():
                hidden = first(train_split.images)
            std = torch.sqrt(hidden.var(0, correction=0) + 1e-5)
            x = _GivenNorm.apply(first(train_split.images[index]), hidden.mean(0), std)
            loss = F.cross_entropy(last(torch.tanh(x)), train_split.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    means = [sum(losses[:5]) / 5, sum(losses[5:]) / 5]
    assert [each.train_loss for each in found.checkpoints[1:]] == pytest.approx(means, rel=1e-12)
    torch.testing.assert_close(network[0].state_dict(), first.state_dict(), rtol=1e-10, atol=1e-12)


def test_at_most_4096_images_always_the_same() -> None:
    many = Split(torch.arange(5000.0), torch.zeros(5000, dtype=torch.int64))
    images = full_batch_images(many)
    assert len(images.unique()) == FULL_BATCH_IMAGES
    assert torch.equal(images, full_batch_images(many))
    assert images.mean() == pytest.approx(2499.5, rel=0.02), "drawn from all over the split"
    few = Split(torch.arange(10.0), torch.zeros(10, dtype=torch.int64))
    assert full_batch_images(few) is few.images
