"""Every quantity of batch normalization for one batch, from the textbook formulas."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bnkit.errors import DataError
from bnkit.explain.agreement import Agreement, compare, rounding_bounds, run_torch
from bnkit.explain.batch import EPS, MOMENTUM, Array, Batch, make_batch

INFERENCE_FORMULA = "y = weight · (x − running_mean) / √(running_var + eps) + bias"


@dataclass(frozen=True, eq=False)
class Inference:
    """The batch in eval mode, with the running statistics as updated.

    Attributes:
        formula: in words of `WorkedExample`.
        y: float64, the shape of x.
    """

    formula: str
    y: Array


@dataclass(frozen=True, eq=False)
class WorkedExample:
    """One batch through batch normalization; all arrays are float64.

    Attributes:
        shape: the shape of x.
        axes: the axes that statistics run over, all but the channels'.
        values_per_channel: m, the number of values that each statistic is made of.
        eps, momentum: as given.
        x: the batch.
        mean, var: shape (C,); var divides by m.
        unbiased_var: shape (C,); divides by m − 1, and feeds running_var only.
        mean_reshaped, var_reshaped: the same numbers in shape (1, C), (1, C, 1) or (1, C, 1, 1).
        invstd: shape (C,), 1 / √(var + eps).
        x_hat: the normalized batch, the shape of x.
        weight, bias: shape (C,), γ and β.
        y: the output in training mode, the shape of x.
        y_mean, y_var: shape (C,), statistics of y that check it: bias, and
            weight² · var / (var + eps).
        running_mean_before, running_var_before, running_mean, running_var: shape (C,), the running
            statistics before and after this batch.
        inference: the output in eval mode.
        agreement: the comparison with the layer of `torch.nn`.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    values_per_channel: int
    eps: float
    momentum: float
    x: Array
    mean: Array
    var: Array
    unbiased_var: Array
    mean_reshaped: Array
    var_reshaped: Array
    invstd: Array
    x_hat: Array
    weight: Array
    bias: Array
    y: Array
    y_mean: Array
    y_var: Array
    running_mean_before: Array
    running_var_before: Array
    running_mean: Array
    running_var: Array
    inference: Inference
    agreement: Agreement

    def _repr_html_(self) -> str:
        from html import escape

        from bnkit.explain.render import render_text

        return f"<pre>{escape(render_text(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Return the example as JSON-able data, arrays as nested lists, under the same names."""
        content: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                content[field.name] = value.tolist()
            elif isinstance(value, tuple):
                content[field.name] = list(value)
            else:
                content[field.name] = value
        content["inference"] = {"formula": self.inference.formula, "y": self.inference.y.tolist()}
        content["agreement"] = self.agreement.to_dict()
        return content


def work_through(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = EPS,
    momentum: float = MOMENTUM,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
) -> WorkedExample:
    """Take one batch through batch normalization and keep every quantity on the way.

    With sums over N and the positions, m values per channel:
        mean = Σ x / m,  var = Σ (x − mean)² / m,  unbiased_var = Σ (x − mean)² / (m − 1),
        x_hat = (x − mean) / √(var + eps),  y = weight · x_hat + bias,
        running_mean ← (1 − momentum) · running_mean + momentum · mean,
        running_var ← (1 − momentum) · running_var + momentum · unbiased_var;
    in eval mode y = weight · (x − running_mean) / √(running_var + eps) + bias.

    Args:
        x: shape (N, C), (N, C, L) or (N, C, H, W), at least two values per channel.
        weight, bias: shape (C,); default 1 and 0.
        eps: above 0.
        momentum: weight of this batch in the running statistics, in [0, 1].
        running_mean, running_var: shape (C,), before this batch; default 0 and 1.

    Raises:
        TensorShapeError, TensorMismatchError, ArgumentError, DataError: see `make_batch`; also
            DataError when a result is beyond the range of float64.

    Cost: a handful of passes in numpy and two calls of `torch.nn`; not meant for large batches.

    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; the update as in `torch.nn.BatchNorm2d`.
    """
    batch = make_batch(
        x,
        weight=weight,
        bias=bias,
        eps=eps,
        momentum=momentum,
        running_mean=running_mean,
        running_var=running_var,
    )
    # Overflow is looked for once, in the results.
    with np.errstate(over="ignore", invalid="ignore"):
        arrays = _compute(batch)
        bounds = rounding_bounds(
            batch, arrays["var"], arrays["running_mean"], arrays["running_var"]
        )
    _check_range(arrays)
    _check_range({f"the rounding error of {name}": np.array(b) for name, b in bounds.items()})
    inference = Inference(INFERENCE_FORMULA, arrays.pop("inference.y"))
    ours = {name: arrays[name] for name in ("y", "running_mean", "running_var")}
    layer, theirs = run_torch(batch)
    agreement = compare(layer, ours | {"inference.y": inference.y}, theirs, bounds)
    return WorkedExample(
        shape=batch.x.shape,
        axes=batch.axes,
        values_per_channel=batch.values_per_channel,
        eps=batch.eps,
        momentum=batch.momentum,
        x=batch.x,
        weight=batch.weight,
        bias=batch.bias,
        inference=inference,
        agreement=agreement,
        **arrays,
    )


def _compute(batch: Batch) -> dict[str, Array]:
    """Return the arrays of `WorkedExample`, and the inference output as `inference.y`."""
    x, axes = batch.x, batch.axes
    m = batch.values_per_channel
    per_channel = (1, x.shape[1]) + (1,) * (x.ndim - 2)

    mean = x.sum(axis=axes) / m
    mean_reshaped = mean.reshape(per_channel)
    squares = ((x - mean_reshaped) ** 2).sum(axis=axes)
    var, unbiased_var = squares / m, squares / (m - 1)
    var_reshaped = var.reshape(per_channel)

    weight, bias = batch.weight.reshape(per_channel), batch.bias.reshape(per_channel)
    x_hat = (x - mean_reshaped) / np.sqrt(var_reshaped + batch.eps)
    y = weight * x_hat + bias
    y_mean = y.sum(axis=axes) / m
    y_var = ((y - y_mean.reshape(per_channel)) ** 2).sum(axis=axes) / m

    old, new = 1 - batch.momentum, batch.momentum
    running_mean = old * batch.running_mean + new * mean
    running_var = old * batch.running_var + new * unbiased_var
    running_std = np.sqrt(running_var.reshape(per_channel) + batch.eps)
    return {
        "mean": mean,
        "var": var,
        "unbiased_var": unbiased_var,
        "mean_reshaped": mean_reshaped,
        "var_reshaped": var_reshaped,
        "invstd": 1 / np.sqrt(var + batch.eps),
        "x_hat": x_hat,
        "y": y,
        "y_mean": y_mean,
        "y_var": y_var,
        "running_mean_before": batch.running_mean,
        "running_var_before": batch.running_var,
        "running_mean": running_mean,
        "running_var": running_var,
        "inference.y": weight * (x - running_mean.reshape(per_channel)) / running_std + bias,
    }


def _check_range(arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(
                f"{name} is beyond the range of float64 for this batch",
                required="values, weights and running statistics must be below about 1e100 in "
                "magnitude, because variances square them",
                remedy="Divide x by a power of ten first: batch norm gives the same x_hat "
                "whatever the unit of x, but for eps",
            )
