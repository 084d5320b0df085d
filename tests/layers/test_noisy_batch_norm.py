"""Noisy batch norm: its noise against the distributions of its source, drawn one by one."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.errors import ArgumentError, ArgumentTypeError, TorchScriptError
from bnkit.rewrite.named_classes import change_class

CHANNELS, SAMPLES = 300, 1000


def noise_of(value: float, **noise: float) -> Tensor:
    """Return what a layer whose batch norm gives `value` everywhere puts out, (C, samples)."""
    torch.manual_seed(0)
    layer = bnkit.NoisyBatchNorm1d(CHANNELS, **noise)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer(torch.randn(20, CHANNELS, SAMPLES // 20)).movedim(1, 0).flatten(1).detach()


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Hold the moments of values against those of U(low, high), within 5 standard errors."""
    width = high - low
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    error = 5 * width / math.sqrt(12 * values.numel())
    assert values.mean().item() == pytest.approx((low + high) / 2, abs=error)
    assert values.std().item() == pytest.approx(width / math.sqrt(12), rel=0.1)


def test_means_are_uniform_per_channel_and_then_per_value() -> None:
    shifts = noise_of(0.0)
    middles = (shifts.amax(1) + shifts.amin(1)) / 2
    assert_uniform(shifts - middles[:, None], -0.1, 0.1)
    assert_uniform(middles, -0.5, 0.5)


def test_scales_are_uniform_per_channel_and_then_normal_per_value() -> None:
    # At a = 1,000 the shift, at most 0.6, is nothing beside the scale.
    factors = noise_of(1000.0) / 1000
    of_channel = factors.mean(1)
    assert_uniform(of_channel, 1 - 0.015, 1.25 + 0.015)
    of_values = factors - of_channel[:, None]
    assert of_values.std().item() == pytest.approx(0.1, rel=0.02)
    kurtosis = of_values.pow(4).mean() / of_values.square().mean().square()
    assert kurtosis.item() == pytest.approx(3, abs=0.1), "normal, not uniform"


def test_its_own_numbers_set_the_noise() -> None:
    shifts = noise_of(0.0, largest_mean=2.0, mean_spread=0.0)
    assert (shifts.amax(1) == shifts.amin(1)).all(), "one shift per channel"
    assert_uniform(shifts[:, 0], -2.0, 2.0)
    factors = noise_of(1.0, largest_mean=0, mean_spread=0, largest_scale=3.0, scale_std=0)
    assert_uniform(factors[:, 0], 1.0, 3.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_output_and_gradient_are_those_of_batch_norm_moved_and_scaled(dtype: torch.dtype) -> None:
    layer = bnkit.NoisyBatchNorm2d(3, scale_std=0, mean_spread=0).to(dtype)
    torch.manual_seed(1)
    x = torch.randn(4, 3, 5, 6, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    if dtype == torch.bfloat16:
        return
    a = bnkit.BatchNorm2d(3).double()(x)
    a_hat = (a - a.mean((0, 2, 3), keepdim=True)).detach()
    scale = (y * a_hat).sum((0, 2, 3), keepdim=True) / (a * a_hat).sum((0, 2, 3), keepdim=True)
    shift = (y - scale * a).mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(y, scale * a + shift)
    assert (scale > 1).all()
    weights = torch.randn_like(y)
    ours = torch.autograd.grad(y, x, weights)
    torch.testing.assert_close(ours, torch.autograd.grad(a, x, weights * scale.detach()))


def test_noise_is_of_training_alone_and_moves_no_statistics() -> None:
    noisy, plain = bnkit.NoisyBatchNorm1d(5), nn.BatchNorm1d(5)
    x = torch.randn(8, 5)
    assert not torch.allclose(noisy(x), plain(x))
    torch.testing.assert_close(noisy.state_dict(), plain.state_dict())
    torch.testing.assert_close(noisy.eval()(x), plain.eval()(x))
    noisy.train().adds_noise = False
    torch.testing.assert_close(noisy(x), plain.train()(x))


def test_draws_are_of_torchs_generator_and_anew_each_time() -> None:
    layer, x = bnkit.NoisyBatchNorm1d(5), torch.randn(8, 5)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_channels_last_stays_channels_last() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert bnkit.NoisyBatchNorm2d(3)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"largest_mean": -0.1}, ArgumentError, r"largest_mean=-0\.1; a finite number, at least 0"),
        ({"largest_scale": 0.9}, ArgumentError, r"largest_scale=0\.9; a finite .* at least 1"),
        ({"mean_spread": "a"}, ArgumentTypeError, "mean_spread='a'"),
        ({"scale_std": math.inf}, ArgumentError, "scale_std=inf"),
        ({"scale_std": math.nan}, ArgumentError, "scale_std=nan"),
        ({"eps": -1.0}, ArgumentError, r"eps=-1\.0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^NoisyBatchNorm2d: got {message}"):
        bnkit.NoisyBatchNorm2d(3, **keywords)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_says_its_noise_and_is_not_scripted() -> None:
    layer = bnkit.NoisyBatchNorm2d(3)
    assert repr(layer).endswith("largest_scale=1.25, mean_spread=0.1, scale_std=0.1)")
    with pytest.raises(TorchScriptError, match="NoisyBatchNorm2d cannot become TorchScript"):
        torch.jit.script(layer)


def test_model_tools_know_it_as_a_batch_norm_with_noise() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), bnkit.NoisyBatchNorm2d(4), nn.ReLU())
    x = torch.randn(6, 2, 7, 7)
    quiet = copy.deepcopy(model)
    quiet[1].adds_noise = False
    recalibrated = bnkit.recalibrate(model, [x]).model
    torch.testing.assert_close(
        recalibrated.state_dict(), bnkit.recalibrate(quiet, [x]).model.state_dict()
    )
    assert type(recalibrated[1]) is bnkit.NoisyBatchNorm2d
    assert "adds_noise" not in vars(recalibrated[1])
    folded = bnkit.fold(model.eval(), x).model
    torch.testing.assert_close(folded(x), model(x))
    assert not bnkit.accelerate(model).changes
    with pytest.raises(bnkit.BnkitError, match="_normalize of its own"):
        raise bnkit.BnkitError(bnkit.convert(model, "group", example_args=x).skipped[0].reason)


def test_the_class_given_to_a_layer_is_the_same_as_one_that_was_made() -> None:
    class Users(nn.BatchNorm1d):
        pass

    for given, kind in (
        (nn.BatchNorm1d(5), bnkit.NoisyBatchNorm1d),
        (bnkit.BatchNorm2d(5), bnkit.NoisyBatchNorm2d),
        (Users(5), bnkit.NoisyBatchNorm1d),
    ):
        former = type(given)
        shape = (8, 5, 2, 2) if isinstance(given, nn.BatchNorm2d) else (8, 5)
        x = torch.randn(shape)
        torch.manual_seed(2)
        expected = kind(5)(x)
        change_back = change_class(given, "noisy")
        assert isinstance(given, kind)
        assert isinstance(given, former)
        torch.manual_seed(2)
        assert torch.equal(given(x), expected)
        change_back()
        assert type(given) is former
