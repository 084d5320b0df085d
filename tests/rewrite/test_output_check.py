from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.errors import RewriteError

X = torch.randn(4, 3, 8, 8)


class Closure(nn.Module):
    """Its forward goes through a function that deepcopy takes as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)
        self.run = lambda x: self.norm(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(x))


def test_a_copy_that_runs_the_given_models_layers_is_refused() -> None:
    model = Closure().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(RewriteError, match=r"conv: the copy .* runs the given model's layer"):
        bnkit.convert(model, "group", example_args=X)
    with pytest.raises(RewriteError, match="Give inplace=True"):
        bnkit.insert(model, X, after="head")
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert bnkit.convert(model, "group", example_args=X, inplace=True).difference
