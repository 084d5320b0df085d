"""The input of a batch norm → what `InputValues` says of it, before the layer runs."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the largest value: what rounding makes of positions that are equal.
_ROUNDING = 1e-6
# How many positions after a constant tail may differ: a conv that pads the sequence with zeros,
# where its tail is not 0, makes as many as its kernel reaches beyond the end.
_BORDER = 8


def input_values(samples: int, place: str, x: Tensor) -> dict[str, object] | None:
    """Return the fields of `InputValues`, but for the call; None if it is no input of a batch norm.

    Args:
        samples: N of the example, which may be less than the length of x.
        place: path of the layer.
        x: floats of shape (N, C) or (N, C, *S).

    Cost: some passes over x in float64, and copies of it.
    """
    if x.dim() < 2 or x.numel() == 0 or not x.is_floating_point():
        return None
    x = x.detach()
    length, trailing, leading = _tails(x, samples)
    by_sample = x.reshape(*x.shape[:2], -1).double()
    var, mean = torch.var_mean(by_sample, (0, 2), correction=0)
    errors = _standard_errors(by_sample, samples, mean, var)
    return {
        "layer": place,
        "count": by_sample.shape[0] * by_sample.shape[2],
        "mean": tuple(mean.tolist()),
        "var": tuple(var.tolist()),
        "minimum": tuple(by_sample.amin((0, 2)).tolist()),
        "maximum": tuple(by_sample.amax((0, 2)).tolist()),
        "mean_error": tuple(errors[0].tolist()),
        "var_error": tuple(errors[1].tolist()),
        "length": length,
        "trailing_constant": trailing,
        "leading_constant": leading,
    }


def _standard_errors(x: Tensor, samples: int, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Return s/√N of the samples' means and of their mean squares, per channel.

    x is (N·K, C, S), where the K rows of a sample follow each other.
    """
    groups = samples if samples > 0 and len(x) % samples == 0 else len(x)
    if groups < 2:
        return var.sqrt(), var
    squares = (x - mean[:, None]).square()
    of_samples = (
        part.reshape(groups, -1, *x.shape[1:]).mean((1, 3)).std(0) / groups**0.5
        for part in (x, squares)
    )
    mean_error, var_error = of_samples
    return mean_error, var_error


def _tails(x: Tensor, samples: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return the length of an axis, and per sample its trailing and leading constant positions."""
    if x.dim() == 2:
        if samples < 1 or len(x) % samples or len(x) == samples:
            return 0, (), ()
        views = [x.reshape(samples, -1, x.shape[1]).transpose(1, 2)]
    else:
        views = [x.movedim(axis, -1) for axis in range(x.dim() - 1, 1, -1)]
    tolerance = _ROUNDING * x.abs().amax()
    found = [_tails_along_last(view, tolerance) for view in views]
    return max(found, key=_padding_first)


def _padding_first(found: tuple[int, tuple[int, ...], tuple[int, ...]]) -> tuple[bool, float]:
    """Rank an axis by whether its tails differ, as padding's do, and by their share of it."""
    length, trailing, _ = found
    # A sample without a tail has 1.
    return len(set(trailing)) > 1, sum(count - 1 for count in trailing) / length


def _tails_along_last(x: Tensor, tolerance: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    length = x.shape[-1]
    if length < 2:
        return length, (1,) * len(x), (1,) * len(x)
    same = (x.diff(dim=-1).abs() <= tolerance).flatten(1, -2).all(1)
    backwards = same.flip(-1)
    border = min(_BORDER, length // 8)
    runs = torch.stack([_leading_run(backwards[:, skipped:]) for skipped in range(border + 1)])
    trailing = 1 + runs.amax(0)
    return length, tuple(trailing.tolist()), tuple((1 + _leading_run(same)).tolist())


def _leading_run(same: Tensor) -> Tensor:
    """Return how many True each row begins with."""
    return same.long().cumprod(-1).sum(-1)
