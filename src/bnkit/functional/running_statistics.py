"""How running statistics follow the batches: the one place where this rule is written."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bnkit.kernels.dispatch import Statistics


def unbiased_variance(statistics: Statistics) -> Float[Tensor, " C"]:
    """Return unbiased_var = var·m/(m − 1), which is NaN or inf for a single value.

    A sample's biased variance is on average (m − 1)/m of the variance it was drawn from.
    """
    # A tensor's division: one value gives 0·1/0 = NaN, as in torch, and not an exception.
    m = statistics.var.new_tensor(float(statistics.m))
    return statistics.var * (m / (m - 1))


def update_running_statistics(
    running_mean: Float[Tensor, " C"],
    running_var: Float[Tensor, " C"],
    statistics: Statistics,
    momentum: float,
) -> None:
    """Move running statistics towards those of a batch, in place.

    running_mean ← (1 − momentum)·running_mean + momentum·mean,
    running_var ← (1 − momentum)·running_var + momentum·unbiased_var.

    Args:
        running_mean, running_var: the buffers, of C values each.
        statistics: the batch's; its variance is the biased one. A batch of no values changes
            nothing.
        momentum: the weight of the NEW batch (PyTorch's sense).
    """
    if statistics.m == 0:
        return
    with torch.no_grad():
        batch = (statistics.mean, unbiased_variance(statistics))
        for running, new in zip((running_mean, running_var), batch, strict=True):
            kept = running.to(new.dtype) * (1 - momentum)
            running.copy_(kept + new * momentum)
