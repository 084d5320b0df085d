"""Convs whose bias depends on how many of their taps lie inside."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from bnkit.layers import border_conv

CASES: list[tuple[type[nn.Module], type[nn.Module], dict[str, Any]]] = [
    (border_conv.BorderConv1d, nn.Conv1d, {"stride": 2, "padding": 2}),
    (border_conv.BorderConv2d, nn.Conv2d, {"padding": (0, 1), "groups": 2}),
    (border_conv.BorderConv3d, nn.Conv3d, {"padding": "same", "dilation": 2}),
    (border_conv.BorderConvTranspose1d, nn.ConvTranspose1d, {"stride": 3, "output_padding": 1}),
    (border_conv.BorderConvTranspose2d, nn.ConvTranspose2d, {"stride": 2, "groups": 2}),
    (border_conv.BorderConvTranspose3d, nn.ConvTranspose3d, {"padding": 1}),
]


@pytest.mark.parametrize(("kind", "plain", "options"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_what_the_conv_gives_of_a_shifted_input(
    kind: type[nn.Module], plain: Any, options: dict[str, Any], bias: bool
) -> None:
    layer: Any = kind(4, 6, 3, bias=bias, dtype=torch.float64, **options)
    conv = plain(4, 6, 3, bias=bias, dtype=torch.float64, **options)
    conv.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "taps"})
    shift, rank = torch.randn(4, dtype=torch.float64), len(conv.kernel_size)
    # Σ_c W·t of each tap.
    weight = conv.weight.detach()
    groups = conv.groups
    parts = weight.view(groups, weight.shape[0] // groups, *weight.shape[1:])
    letters = "gio..." if conv.transposed else "goi..."
    taps = torch.einsum(f"{letters},gi->go...", parts, shift.view(groups, -1))
    layer.taps.copy_(taps.reshape(layer.taps.shape))
    for size in (5, 8):
        x = torch.randn(2, 4, *(size,) * rank, dtype=torch.float64)
        expected = conv(x + shift.view(-1, *(1,) * rank))
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_the_size_of_the_output_can_be_asked_for() -> None:
    layer = border_conv.BorderConvTranspose2d(2, 3, 3, stride=2)
    assert layer(torch.zeros(1, 2, 4, 4), output_size=[10, 9]).shape == (1, 3, 10, 9)


@pytest.mark.parametrize(("kind", "plain", "options"), CASES[1:5:2])
def test_it_is_copied_pickled_and_exported(kind: Any, plain: Any, options: dict[str, Any]) -> None:
    layer = kind(4, 6, 3, **options)
    nn.init.normal_(layer.taps)
    x = torch.randn(2, 4, *(7,) * len(layer.kernel_size))
    expected = layer(x)
    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    program = torch.export.export(layer, (x,), dynamic_shapes=(free,)).module()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), program):
        torch.testing.assert_close(other(x), expected)
    more = torch.randn(3, 4, *(9,) * len(layer.kernel_size))
    if len(layer.kernel_size) == 1:
        torch.testing.assert_close(program(more), layer(more))
    assert list(layer.state_dict()) == ["weight", "bias", "taps"]
