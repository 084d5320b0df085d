"""A batch normalized by moments that are known: as the layer does it that sums for itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.rewrite.statistics.channel_moments import moments_of
from bnkit.rewrite.statistics.known_moments import normalized

LAYERS = {
    "1d": (nn.BatchNorm1d, (64, 3)),
    "1d of sequences": (bnkit.BatchNorm1d, (8, 3, 5)),
    "2d": (nn.BatchNorm2d, (8, 3, 5, 4)),
    "bnkit's 2d": (bnkit.BatchNorm2d, (8, 3, 5, 4)),
    "3d": (nn.BatchNorm3d, (8, 3, 2, 5, 4)),
}


def in_a_pass(layer: nn.Module) -> nn.Module:
    """Return a layer with uncommon parameters, as it is in a pass: it tracks nothing."""
    layer.track_running_stats = False
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.linspace(0.5, 2.0, len(parameter)))
    return layer.train()


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.5, 1e4])
@pytest.mark.parametrize("affine", [True, False])
def test_it_is_what_the_layer_makes(
    case: str, dtype: torch.dtype, offset: float, affine: bool
) -> None:
    kind, shape = LAYERS[case]
    layer = in_a_pass(kind(3, eps=1e-3, affine=affine, dtype=dtype))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype) + offset
    y = normalized(layer, x, moments_of(x))
    assert y is not None
    assert y.dtype == dtype
    # Each rounds the mean, and x − mean has that error: both are held against float64.
    wide = in_a_pass(kind(3, eps=1e-3, affine=affine, dtype=torch.float64))
    truth, allowed = wide(x.double()), 8 * torch.finfo(dtype).eps * offset
    torch.testing.assert_close(y.double(), truth, rtol=1e-5, atol=1e-6 + allowed)


class Own(nn.BatchNorm2d):
    """A subclass may do more than its base."""


IMAGES = torch.randn(8, 3, 5, 4)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (in_a_pass(Own(3)), IMAGES),
        (in_a_pass(bnkit.BatchNormAct2d(3)), IMAGES),
        (nn.BatchNorm2d(3), IMAGES),  # it tracks its statistics: something has changed it
        (in_a_pass(nn.BatchNorm2d(3)).eval(), IMAGES),
        (in_a_pass(nn.BatchNorm2d(3).bfloat16()), IMAGES.bfloat16()),
        (in_a_pass(nn.BatchNorm2d(3)), IMAGES.bfloat16()),
        (in_a_pass(nn.BatchNorm2d(4)), IMAGES),
        (in_a_pass(nn.BatchNorm1d(3)), IMAGES),
        (in_a_pass(nn.SyncBatchNorm(3)), IMAGES),
    ],
)
def test_what_only_a_layers_own_forward_can_tell_is_left_to_it(layer: nn.Module, x: Tensor) -> None:
    assert normalized(layer, x, moments_of(x)) is None


def test_a_forward_of_ones_own_is_called_in_the_pass() -> None:
    calls: list[tuple[int, ...]] = []

    class Counting(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            calls.append(tuple(input.shape))
            return super().forward(input)

    plain = nn.BatchNorm2d(3)
    former = plain.forward

    def forward(*given: Any) -> Tensor:
        calls.append(tuple(given[0].shape))
        return former(*given)

    for model in (Counting(3), plain):
        calls.clear()
        if model is plain:
            plain.forward = forward  # type: ignore[method-assign]
        bnkit.recalibrate(model, [IMAGES, IMAGES[:5]], inplace=True)
        assert tuple(IMAGES.shape) in calls
