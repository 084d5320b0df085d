"""The arm `full-batch`: what becomes of a batch norm, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import NetworkError
from bnkit.lab.study.arms import apply_arm
from bnkit.lab.training.full_batch import FullBatchNorm


class Own(nn.BatchNorm2d):
    """A user's batch norm that computes in a way of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Twice(nn.Module):
    """One batch norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.relu(self.norm(x)))


def test_a_batch_norm_stays_the_same_object_with_its_settings() -> None:
    norm = nn.BatchNorm2d(3, eps=0.5, momentum=0.25)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), norm)
    keys = list(network.state_dict())
    rewrite = apply_arm(network, "full-batch", torch.randn(4, 1, 5, 5), "own")
    assert isinstance(norm, FullBatchNorm)
    assert rewrite.model[1] is norm
    assert (norm.eps, norm.momentum) == (0.5, 0.25)
    assert list(network.state_dict()) == keys
    rewrite.undo()
    assert type(norm) is nn.BatchNorm2d


@pytest.mark.parametrize(
    ("network", "x", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 3, 3), Own(3)), torch.randn(4, 1, 5, 5), "1: .*an? Own, which"),
        (Twice(), torch.randn(4, 4), "norm: it runs 2 times in one forward"),
    ],
    ids=["own-forward", "called-twice"],
)
def test_what_cannot_take_other_statistics_is_refused(
    network: nn.Module, x: Tensor, message: str
) -> None:
    classes = [type(module) for module in network.modules()]
    with pytest.raises(NetworkError, match=message):
        apply_arm(network, "full-batch", x, "own")
    assert [type(module) for module in network.modules()] == classes
