"""Running statistics that are partly those of unlabelled data from where a model is used."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor, nn

from bnkit.errors import ArgumentError, ArgumentTypeError
from bnkit.rewrite.layer_choice import Patterns
from bnkit.rewrite.statistics.batch_source import BatchSource, ForwardFunction
from bnkit.rewrite.statistics.layer_statistics import Recalibration
from bnkit.rewrite.statistics.pass_progress import PassProgress
from bnkit.rewrite.statistics.recalibration import check_model
from bnkit.rewrite.statistics.statistics_estimate import estimate


def adapt(
    model: nn.Module,
    data: Any,
    *,
    weight: float | None = None,
    prior: float | None = None,
    forward_fn: ForwardFunction | None = None,
    layers: Patterns | None = None,
    batch_size: int | None = None,
    inplace: bool = False,
    progress: bool | None = None,
) -> Recalibration:
    """Blend the statistics of unlabelled target data into those that a model has.

    With w the weight of the target's statistics: running_mean = (1 − w)·source + w·target, and
    running_var likewise. It is the plain blend of the two variances, as in both papers, and not the
    variance of the mixture, which would contain w·(1 − w)·(difference of the means)² too. The
    target's are found as `recalibrate` finds them, in one pass; num_batches_tracked and momentum
    stay. `undo` takes it back.

    Args:
        model: any network with a batch norm that keeps statistics, trained on the source.
        data: unlabelled target data, of any form that `recalibrate` takes.
        weight: w, any real number from 0 (the source's alone) to 1 (the target's alone).
        prior: instead of `weight`, how many samples the source counts as: with n samples in the
            data, w = n/(prior + n).
        forward_fn, layers, batch_size, inplace, progress: as of `recalibrate`.

    Returns:
        The rewrite; `.shifts` says how far the source's statistics are off the target's.

    Raises:
        ArgumentError: neither or both of `weight` and `prior`; one is out of its range; as of
            `recalibrate`.
        ForwardError, RewriteError: as of `recalibrate`. The model is then as it was.

    Cost: as of `recalibrate`.

    Source: Schneider et al. 2020, "Improving robustness against common corruptions by covariate
    shift adaptation" (`prior` is their N); Nado et al. 2020, "Evaluating prediction-time batch
    normalization for robustness under covariate shift" (`weight=1`).
    """
    check_model(model)
    if (weight is None) == (prior is None):
        given = "neither weight nor prior" if weight is None else "both weight and prior"
        raise ArgumentError(
            f"{given} was given" if weight is None else f"{given} were given",
            required="how much the target's statistics count, by one of the two",
            remedy="Give weight=1 for the target's alone, or prior=16 where data are few",
        )
    weight, prior = _number("weight", weight, 1.0), _number("prior", prior, math.inf)

    def weight_of(samples: int) -> float:
        if weight is not None:
            return weight
        assert prior is not None
        return samples / (prior + samples) if samples else 0.0

    return estimate(
        "adapt",
        model,
        BatchSource(data, forward_fn, batch_size, repeated=False),
        layers=layers,
        inplace=inplace,
        sequential=False,
        progress=PassProgress(progress),
        weight_of=weight_of,
    )


def _number(name: str, value: Any, largest: float) -> float | None:
    """Return a number of Python, of NumPy or in a tensor without axes as a float; None for None."""
    if value is None:
        return None
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}", required="a number")
    number = float(value)
    if not 0.0 <= number <= largest or math.isinf(number):
        upper = "" if math.isinf(largest) else f" to {largest:g}"
        raise ArgumentError(f"{name}={value!r}", required=f"a number from 0{upper}")
    return number
