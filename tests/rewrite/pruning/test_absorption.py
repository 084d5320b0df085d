"""Where the constants of removed channels go, how exactly, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit

BORDER, AVERAGE = "not at the border", "absorbed on average, not exact"


class Pruned(nn.Module):
    """Eight channels, of which two are constants of 2, through some layers into others."""

    def __init__(self, inner: Callable[[Tensor], Tensor], last: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.last = inner, last
        with torch.no_grad():
            self.norm.weight[[1, 5]] = 0
            self.norm.bias[[1, 5]] = 2

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.inner(F.relu(self.norm(self.conv(x)))))
        return y


def depthwise(kernel: int = 3, out: int = 8, **options: int) -> nn.Module:
    return nn.Conv2d(8, out, kernel, groups=8, **options)


def transposed(kernel: int, *, groups: int = 1, **options: int) -> nn.Module:
    return nn.ConvTranspose2d(8, 8 if groups == 8 else 4, kernel, groups=groups, **options)


def repeating() -> nn.Module:
    """Return a transposed convolution that repeats each value twice along each axis."""
    layer = nn.ConvTranspose2d(8, 4, 2, stride=2)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, :, :1, :1].expand_as(layer.weight))
    return layer


def bilinear() -> nn.Module:
    """Return a transposed convolution that interpolates, with weights per pair of channels."""
    layer, taps = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1), torch.tensor([1.0, 3, 3, 1])
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, :, :1, :1] * taps[:, None] * taps)
    return layer


def last() -> nn.Module:
    return nn.Conv2d(8, 4, 1)


# Layers between, those that take the channels in, and what is said of their absorption.
ABSORBED: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], str]] = {
    "conv": (nn.Identity, lambda: nn.Conv2d(8, 4, 3), ""),
    "padded conv": (nn.Identity, lambda: nn.Conv2d(8, 4, 3, padding=1), BORDER),
    "depthwise": (depthwise, last, ""),
    "padded depthwise": (lambda: depthwise(padding=1), last, BORDER),
    "two outputs each": (
        lambda: nn.Sequential(depthwise(padding=1, out=16), nn.SiLU()),
        lambda: nn.Conv2d(16, 4, 1),
        BORDER,
    ),
    "depthwise, strided transposed": (lambda: transposed(2, groups=8, stride=2), last, AVERAGE),
    "depthwise, cropped transposed": (lambda: transposed(3, groups=8, padding=2), last, ""),
    "kernel of one, transposed": (nn.Identity, lambda: transposed(1), ""),
    "kernel of one, strided": (nn.Identity, lambda: transposed(1, stride=2), AVERAGE),
    "transposed": (nn.Identity, lambda: transposed(3), BORDER),
    "grouped transposed": (nn.Identity, lambda: transposed(3, groups=2, padding=1), BORDER),
    "cropped transposed": (nn.Identity, lambda: transposed(3, padding=2), ""),
    "strided transposed": (nn.Identity, lambda: transposed(3, stride=2, padding=1), AVERAGE),
    "repeating": (nn.Identity, repeating, ""),
    "bilinear": (nn.Identity, bilinear, BORDER),
}


@pytest.mark.parametrize("name", ABSORBED)
def test_what_is_said_of_an_absorption_is_what_it_is(name: str) -> None:
    torch.manual_seed(0)
    inner, end, said = ABSORBED[name]
    model, x = Pruned(inner(), end()).double().eval(), torch.randn(2, 3, 9, 9).double()
    rewrite = bnkit.prune(model, x, amount=0.25)
    with torch.no_grad():
        off = (model(x) - rewrite.model(x)).abs()
    inside = off[..., 3:-3, 3:-3]
    notes = "\n".join(rewrite.notes)
    assert (BORDER in notes, AVERAGE in notes) == (said == BORDER, said == AVERAGE)
    assert (float(off.max()) > 1e-3) == bool(said)
    assert (float(inside.max()) > 1e-3) == (said == AVERAGE)


def test_a_batch_norm_behind_the_border_has_constants_of_its_own() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        norm.weight[[1, 5]] = 0
        norm.bias[[1, 5]] = 1
    model = Pruned(nn.Sequential(depthwise(padding=1), norm), last()).eval()
    rewrite = bnkit.prune(model, torch.randn(2, 3, 9, 9), amount=0.25)
    assert not any(BORDER in note for note in rewrite.notes)
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-5


FOLLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda x: torch.where(x > 0, x, x * 0.1),
    "where with a number": lambda x: torch.where((x > 0) & (x < 1), x, 0.3),
    "mask": lambda x: x * (x > 1.5),
    "mask as numbers": lambda x: x * (x > 1.5).to(x.dtype),
    "masked_fill": lambda x: x.masked_fill(x < 2.5, -0.5),
    "rounded": lambda x: x + x.round(),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_constants_pass_comparisons(name: str) -> None:
    torch.manual_seed(0)
    model = Pruned(FOLLOWED[name], last()).double().eval()
    rewrite = bnkit.prune(model, torch.randn(2, 3, 9, 9).double(), amount=0.25)
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-12
    assert not any("not absorbed" in note for note in rewrite.notes)


def shuffled(x: Tensor) -> Tensor:
    n, c, height, width = x.shape
    return x.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("inner", [shuffled, lambda x: x + (0.3 * x).long()])
def test_what_is_not_followed_as_a_constant_is_told(inner: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Pruned(inner, last()).double().eval()
    rewrite = bnkit.prune(model, torch.randn(2, 3, 9, 9).double(), amount=0.25)
    assert any("could not be followed as one" in note for note in rewrite.notes)
