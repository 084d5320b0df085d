"""Each pair is compared with the layers apart, and what is not shown is not folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bnkit
from bnkit.errors import RewriteError
from bnkit.rewrite.folding import fold_proof
from bnkit.rewrite.folding.fold_arithmetic import LinearMap
from bnkit.rewrite.folding.foldable_pairs import FoldGroup
from helpers.drawn import drawn

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def pair() -> nn.Sequential:
    return drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_wrong_numbers_are_not_folded(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fold_proof.folded_numbers

    def wrong(group: FoldGroup) -> LinearMap:
        numbers = plain(group)
        getattr(numbers, part).view(-1)[0] += 1e-3
        return numbers

    monkeypatch.setattr(fold_proof, "folded_numbers", wrong)
    for example in (X, torch.zeros_like(X)):  # zeros would not show a wrong weight
        rewrite = bnkit.fold(pair(), example)
        assert not rewrite.changes
        assert "it would be off by" in rewrite.skipped[0].reason


def test_of_a_chain_the_outermost_that_does_not_hold_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = fold_proof.folded_numbers

    def wrong_for_two(group: FoldGroup) -> LinearMap:
        numbers = plain(group)
        numbers.weight.view(-1)[0] += 1e-2 * (len(group.after) > 1)
        return numbers

    monkeypatch.setattr(fold_proof, "folded_numbers", wrong_for_two)
    model = drawn(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)))
    rewrite = bnkit.fold(model, torch.randn(8, 4))
    assert [change.path for change in rewrite.changes] == ["1"]
    assert [item.path for item in rewrite.skipped] == ["2"]


def test_means_far_beyond_the_deviation_are_left_and_the_reason_says_whose_error_it_is() -> None:
    model = pair()
    nn.init.constant_(model[0].bias, 2e3)
    model[1].running_mean.fill_(2e3)
    rewrite = bnkit.fold(model, X)
    assert "it is the layers apart that are so far from what they give in float64" in (
        rewrite.skipped[0].reason
    )
    assert len(bnkit.fold(model.double(), X.double()).changes) == 1


def test_an_input_that_shows_nothing_is_replaced() -> None:
    assert len(bnkit.fold(pair(), torch.zeros_like(X)).changes) == 1

    class NoneChosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = pair()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.pair(x[:0]), x

    assert len(bnkit.fold(NoneChosen().eval(), X).changes) == 1


def test_outputs_that_are_not_finite_cannot_be_compared() -> None:
    rewrite = bnkit.fold(pair(), torch.full_like(X, torch.nan))
    assert "is not finite, so nothing can be compared" in rewrite.skipped[0].reason


def test_weights_made_in_inference_mode_are_folded_in_a_copy_only() -> None:
    with torch.inference_mode():
        model = pair()
    assert len(bnkit.fold(model, X).changes) == 1
    with pytest.raises(RewriteError, match="inplace=False"):
        bnkit.fold(model, X, inplace=True)


def test_the_precision_of_cuda_is_put_back() -> None:
    before = torch.backends.cudnn.conv.fp32_precision
    with fold_proof.full_precision():
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == before
