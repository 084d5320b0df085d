"""The tensors of a case: the same for every peer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as torch_functional
from torch import Tensor

from bnkit.bench.cases import Case

EPS = 1e-5
MOMENTUM = 0.1
_SEED = 0
# Closer to zero than so many units of rounding, in the dtype of x or of the sums over it, the sign
# of what the activation sees is a matter of rounding. torch's float32 sums are off by 50 and more.
_UNITS_OF_X, _UNITS_OF_SUMS = 4, 1024


@dataclass(frozen=True)
class Inputs:
    """What each peer is given.

    Args:
        x: (N, C, *S) in the dtype and layout of the case; wants a gradient.
        residual: as x, or None where nothing is added.
        grad_output: as x. It is zero where rounding decides the sign that the activation sees, so
            that there the gradients do not depend on it.
        weight, bias, running_mean, running_var: (C,) in the dtype of parameters.
    """

    x: Tensor
    residual: Tensor | None
    grad_output: Tensor
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor


def inputs_of(case: Case) -> Inputs:
    """Draw the tensors of a case; the same for the same case.

    Parameters are float32 under a narrower x, as autocast and mixed precision have them.
    """
    generator = torch.Generator().manual_seed(_SEED)
    dtype = getattr(torch, case.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    channels = case.shape[1]

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def activations(mean: float = 0.0) -> Tensor:
        return _laid_out((draw(*case.shape) + mean).to(dtype), case.layout)

    weight = (1 + 0.25 * draw(channels)).to(wide)
    bias = (0.25 * draw(channels)).to(wide)
    running_mean = (0.5 + 0.1 * draw(channels)).to(wide)
    running_var = (1 + 0.1 * draw(channels).abs()).to(wide)
    x, grad_output = activations(mean=0.5), activations()
    residual = activations() if case.operation == "bn-add-relu" else None
    if case.operation != "bn":
        before = _before_activation(
            x, residual, (running_mean, running_var), (weight, bias), case.mode == "training"
        ).abs_()
        eps_of_x, eps_of_sums = torch.finfo(dtype).eps, torch.finfo(wide).eps
        share = max(_UNITS_OF_X * eps_of_x, _UNITS_OF_SUMS * eps_of_sums)
        grad_output.masked_fill_(before <= share * before.max(), 0)
    x.requires_grad_()
    if residual is not None:
        residual.requires_grad_()
    return Inputs(x, residual, grad_output, weight, bias, running_mean, running_var)


def _before_activation(
    x: Tensor,
    residual: Tensor | None,
    running: tuple[Tensor, Tensor],
    affine: tuple[Tensor, Tensor],
    training: bool,
) -> Tensor:
    """Return what the activation sees, to about the precision of the parameters."""
    wide = x.to(affine[0].dtype)
    mean, var = (None, None) if training else running
    y = torch_functional.batch_norm(wide, mean, var, *affine, training, MOMENTUM, EPS)
    return y if residual is None else y.add_(residual)


def _laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "contiguous":
        return x
    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=last)
