"""Inputs that batch norm gets wrong first: layouts, prime sizes, mean ≫ std, constant channels."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.results import Problem

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Odd and prime m; all four ranks; one channel; one value per sample and channel.
SHAPES = (
    (2, 3),
    (127, 5),
    (3, 1, 7),
    (5, 4, 31),
    (8, 3, 6, 5),
    (13, 2, 1, 1),
    (1, 6, 3, 3),
    (2, 3, 2, 3, 5),
)
LAYOUTS = ("contiguous", "channels-last", "strided", "expanded", "transposed")


def laid_out(layout: str, seed: int = 0) -> Tensor:
    """Return a (6, 4, 5, 7) tensor in a memory layout."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if layout == "contiguous":
        return draw(6, 4, 5, 7)
    if layout == "channels-last":
        return draw(6, 4, 5, 7).contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        return draw(12, 4, 10, 7)[::2, :, ::2]
    if layout == "expanded":
        return draw(6, 4, 1, 7).expand(6, 4, 5, 7)
    assert layout == "transposed"
    return draw(7, 4, 6, 5).permute(2, 1, 3, 0)


def as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x in another dtype with the same strides, zero strides of expanded axes included."""
    if 0 not in x.stride():
        return x.to(dtype)
    slices = tuple(slice(0, 1) if step == 0 else slice(None) for step in x.stride())
    return x[slices].to(dtype).expand(x.shape)


def problem_of(x: Tensor, *, affine: bool = True, seed: int = 1) -> Problem:
    """Return a problem on x, with weight, bias and grad_output drawn.

    Weight and bias are float32 under a narrower x. The gradient has a mean, so that both its
    projections have something to take away.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = torch.promote_types(x.dtype, torch.float32)
    channels = x.shape[1]
    weight = torch.randn(channels, generator=generator, dtype=torch.float64).to(wide)
    bias = torch.randn(channels, generator=generator, dtype=torch.float64).to(wide)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    grad_output = (noise + 0.3 + 0.5 * x.double()).to(x.dtype)
    if not affine:
        return Problem(x, None, None, grad_output)
    return Problem(x, weight, bias, grad_output)


def drawn(
    shape: tuple[int, ...], dtype: torch.dtype, *, mean: float = 0.0, std: float = 1.0
) -> Tensor:
    """Return normally distributed values in dtype; the same for the same arguments."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (x * std + mean).to(dtype)
