"""Some of a network's batch norms removed, the others kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bnkit import remove
from bnkit.errors import RewriteError

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Shared(nn.Module):
    """One batch norm under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.again = self.norm

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.linear(self.norm(self.linear(x))))


def three_norms() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for features in (3, 4, 4):
        layers += [nn.Conv2d(features, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("layers", ["4", ["4"], "[4]"])
def test_some_batch_norms_are_removed_and_the_others_stay(layers: str | list[str]) -> None:
    model = three_norms()
    rewrite = remove(model, IMAGES, layers=layers)
    kept = [type(rewrite.model[index]) for index in (1, 4, 7)]
    assert kept == [nn.BatchNorm2d, nn.Identity, nn.BatchNorm2d]
    # The layer that fed the removed one alone gets a bias.
    assert [rewrite.model[index].bias is not None for index in (0, 3, 6)] == [False, True, False]
    expected = copy.deepcopy(model)
    expected[4] = nn.Identity()
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(rewrite.model.train()(x), expected.train()(x), rtol=0, atol=0)
    assert repr(rewrite.undo()) == repr(model)


def test_the_scale_of_those_that_are_removed_is_folded() -> None:
    model = three_norms()
    for _ in range(3):
        model(torch.randn(8, 3, 8, 8) * 2 + 1)  # statistics that are not the initial ones
    rewrite = remove(model, IMAGES, layers=["1", "7"], fold_scale=True)
    assert {change.path for change in rewrite.changes} == {"1", "7"}
    assert isinstance(rewrite.model[4], nn.BatchNorm2d)
    expected = copy.deepcopy(model).eval()(IMAGES)
    torch.testing.assert_close(rewrite.model.eval()(IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_a_pattern_that_names_no_batch_norm_is_refused() -> None:
    with pytest.raises(RewriteError, match="the pattern '0' names no batch norm"):
        remove(three_norms(), IMAGES, layers="0")


def test_a_shared_batch_norm_is_removed_from_each_of_its_places() -> None:
    rewrite = remove(Shared(), torch.randn(5, 3), layers="again")
    assert isinstance(rewrite.model.norm, nn.Identity)
    assert isinstance(rewrite.model.again, nn.Identity)


def test_one_that_a_list_holds_beside_its_module_is_refused_though_others_stay() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
            self.held = [self.first]

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.held[0](x))

    with pytest.raises(RewriteError, match="still runs a batch norm"):
        remove(Listed(), torch.randn(5, 3), layers="first")
    remove(Listed(), torch.randn(5, 3), layers="second")
