from __future__ import annotations

import pytest
import torch
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.resnet import ResidualBlock, resnet


@pytest.mark.parametrize(("blocks", "million"), [(3, 0.27), (5, 0.46), (9, 0.85), (18, 1.7)])
def test_it_has_the_papers_layers_and_parameters(blocks: int, million: float) -> None:
    network = resnet((3, 32, 32), 10, blocks=blocks)
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 6 * blocks + 2
    parameters = sum(p.numel() for p in network.parameters())
    assert f"{parameters / 1e6:.2g}" == f"{million:.2g}"


def test_stages_halve_the_image_and_double_the_channels() -> None:
    network = resnet((3, 32, 32), 10, blocks=1, width=4).eval()
    x = torch.randn(1, 3, 32, 32)
    shapes = [tuple(network[:n](x).shape[1:]) for n in (3, 4, 5, 6)]
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8)]


def test_a_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    block = ResidualBlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 2, 5, 5) + 1
    y = block(x)
    torch.testing.assert_close(y[:, 1:3], x[:, :, ::2, ::2])
    assert not y[:, [0, 3]].any()


def test_small_images_pass_and_counts_are_checked() -> None:
    assert resnet((1, 3, 5), 4, blocks=1, width=2).eval()(torch.randn(1, 1, 3, 5)).shape == (1, 4)
    with pytest.raises(NetworkError, match="blocks = 0"):
        resnet((3, 32, 32), 10, blocks=0)
    with pytest.raises(NetworkError, match="needs images"):
        resnet((5,), 10)
