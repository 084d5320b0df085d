"""Whatever conv and batch norm are folded, the folded layer gives what the two give."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import bnkit
from bnkit.rewrite.folding.fold_arithmetic import LinearMap, linear_map, with_norm_after
from bnkit.rewrite.folding.fold_proof import LIMITS
from helpers.drawn import drawn

CONVS = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    """Draw a conv with a batch norm on either side or both, and an input."""
    rank = draw(st.integers(1, 3))
    conv, transposed, norm = CONVS[rank]
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inside, outside = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    options: dict[str, Any] = {
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, 1)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    layer: nn.Module
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
        layer = conv(inside, outside, kernel, padding_mode=mode, **options)
    else:
        extra = draw(st.integers(0, max(options["stride"], options["dilation"]) - 1))
        layer = transposed(inside, outside, kernel, output_padding=extra, **options)
    sides = draw(st.sampled_from(["before", "after", "both"]))
    affine = draw(st.booleans())
    layers = [] if sides == "after" else [norm(inside, affine=affine)]
    layers += [layer] if sides == "before" else [layer, norm(outside, affine=affine)]
    dtype = draw(st.sampled_from(list(LIMITS)))
    model = drawn(nn.Sequential(*layers).to(dtype), draw(st.integers(0, 1000)))
    shape = (draw(st.integers(1, 3)), inside, *(draw(st.integers(5, 7)) for _ in range(rank)))
    return model, torch.randn(shape).to(dtype)


@settings(max_examples=120, deadline=None)
@given(pairs(), st.sampled_from(["refuse", "correct"]))
def test_every_pair_that_is_folded_is_within_its_limit(
    drawn_pair: tuple[nn.Sequential, Tensor], border: Any
) -> None:
    model, x = drawn_pair
    rewrite = bnkit.fold(model, x, border=border)
    if border == "correct" and x.dtype in (torch.float32, torch.float64):
        assert not rewrite.skipped, str(rewrite)
    assert {p.dtype for p in rewrite.model.parameters()} == {x.dtype}
    for seed in range(2):
        other = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.dtype)
        with torch.no_grad():
            exact = copy.deepcopy(model).double()(other.double())
            found = rewrite.model(other).double()
            apart = model(other).double()
        limit = LIMITS[x.dtype] * float(exact.abs().max())
        # On inputs that were not the example's, rounding may come out twice as large.
        assert float((found - exact).abs().max()) <= max(
            2 * limit, 2 * float((apart - exact).abs().max())
        )


def test_the_numbers_of_a_linear_layer_by_hand() -> None:
    norm = drawn(nn.BatchNorm1d(1, eps=0.0))
    norm.running_mean.fill_(3.0)
    norm.running_var.fill_(4.0)
    norm.weight.data.fill_(6.0)
    norm.bias.data.fill_(1.0)
    layer = nn.Linear(2, 1)
    layer.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    layer.bias.data.fill_(5.0)
    folded = with_norm_after(linear_map(layer), norm)
    assert folded.weight.tolist() == [[3.0, 6.0]]
    assert folded.bias is not None
    assert folded.bias.tolist() == [3.0 * (5.0 - 3.0) + 1.0]


def test_numbers_that_are_not_finite_are_seen() -> None:
    numbers = LinearMap(torch.ones(1, 1), torch.tensor([1e6]), None, 1, False)
    assert numbers.is_finite
    assert not numbers.rounded(torch.float16).is_finite
