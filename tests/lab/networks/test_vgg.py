from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.vgg import vgg


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_depth_counts_the_convolutions_and_the_papers_three_linear_layers(depth: int) -> None:
    network = vgg((3, 32, 32), 10, depth=depth, width=2)
    assert sum(isinstance(m, nn.Conv2d) for m in network) == depth - 3
    assert sum(isinstance(m, nn.MaxPool2d) for m in network) == 5
    assert network[-1].in_features == 16


def test_at_full_width_it_has_the_parameters_that_others_count() -> None:
    """VGG-16 with batch norm and one linear layer on CIFAR-10: 14.73 million."""
    with torch.device("meta"):
        network = vgg((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == 14_728_266


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 40), (1, 1, 1), (3, 96, 96)])
def test_images_of_any_size_pass(shape: tuple[int, ...]) -> None:
    network = vgg(shape, 4, depth=11, width=2).eval()
    assert network(torch.randn(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "args", "words"),
    [
        ((5,), {}, "needs images"),
        ((3, 32, 32), {"depth": 12}, "depth = 12; one of 11, 13, 16, 19"),
        ((3, 32, 32), {"width": 0}, "width = 0"),
        ((3, 32, 32), {"dropout": 1.0}, "dropout = 1.0"),
    ],
)
def test_what_it_cannot_build_is_refused(
    shape: tuple[int, ...], args: dict[str, Any], words: str
) -> None:
    with pytest.raises(NetworkError, match=words):
        vgg(shape, 10, **args)
