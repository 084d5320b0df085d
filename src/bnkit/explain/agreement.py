"""Whether the worked example and `torch.nn` give the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bnkit.explain.batch import Array, Batch

UNIT_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Agreement:
    """The largest differences from the layer of `torch.nn`, run in float64 on the same batch.

    Attributes:
        layer: its name, `torch.nn.BatchNorm1d` or `torch.nn.BatchNorm2d`.
        max_abs_difference: `y` (training mode), `running_mean`, `running_var` and `inference.y` →
            largest absolute difference.
        rounding_bound: the same keys → the difference that float64 rounding alone can explain.
        agrees: no difference is above its bound.
    """

    layer: str
    max_abs_difference: Mapping[str, float]
    rounding_bound: Mapping[str, float]
    agrees: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the agreement as JSON-able data."""
        return asdict(self)


def compare(
    layer: str,
    ours: Mapping[str, Array],
    theirs: Mapping[str, Array],
    rounding_bound: Mapping[str, float],
) -> Agreement:
    """Compare arrays name by name; a NaN on either side is a disagreement."""
    differences = {name: float(np.max(np.abs(ours[name] - theirs[name]))) for name in ours}
    return Agreement(
        layer=layer,
        max_abs_difference=differences,
        rounding_bound=dict(rounding_bound),
        agrees=all(differences[name] <= rounding_bound[name] for name in ours),
    )


def run_torch(batch: Batch) -> tuple[str, dict[str, Array]]:
    """Run the layer of `torch.nn` in float64: once in training mode, then in eval mode.

    Returns:
        The layer's name, and what it gave under the keys of `Agreement.max_abs_difference`.
    """
    import torch

    kind = torch.nn.BatchNorm2d if batch.x.ndim == 4 else torch.nn.BatchNorm1d
    layer = kind(batch.x.shape[1], eps=batch.eps, momentum=batch.momentum, dtype=torch.float64)
    state = {
        name: torch.tensor(getattr(batch, name))
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    layer.load_state_dict(state | {"num_batches_tracked": torch.tensor(0)})
    x = torch.tensor(batch.x)
    with torch.no_grad():
        y = layer.train()(x)
        inference_y = layer.eval()(x)
    tensors = {
        "y": y,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "inference.y": inference_y,
    }
    return f"torch.nn.{kind.__name__}", {
        name: np.array(tensor.numpy()) for name, tensor in tensors.items() if tensor is not None
    }


def rounding_bounds(
    batch: Batch, var: Array, running_mean: Array, running_var: Array
) -> dict[str, float]:
    """Return how far two careful float64 computations of the same batch can lie apart.

    A sum of m values up to A in magnitude carries an error of at most m·u·m·A (u = 2⁻⁵³), so a mean
    carries m·u·A. Every output multiplies that by its slope, weight/√(var + eps); the further
    operations add a few roundings, which the factor 8·(m + 8) covers with room. Subtracting a mean
    that is off by δ adds δ² to a variance.

    Args:
        batch: what was computed from.
        var, running_mean, running_var: shape (C,), the batch's variance and the updated statistics.
    """
    m = batch.values_per_channel
    relative = 8 * (m + 8) * UNIT_ROUNDOFF
    largest = np.max(np.abs(batch.x), axis=batch.axes)
    weight, bias = np.abs(batch.weight), np.abs(batch.bias)
    slope = weight / np.sqrt(var + batch.eps)
    mean_bound = relative * np.maximum(largest, np.abs(batch.running_mean))
    variance = var * m / (m - 1) + batch.running_var
    var_bound = relative * variance + (2 * m * UNIT_ROUNDOFF * largest) ** 2
    inference_slope = weight / np.sqrt(running_var + batch.eps)
    reach = inference_slope * (largest + np.abs(running_mean))
    inference_bound = relative * (reach + bias) + reach * var_bound / (running_var + batch.eps)
    return {
        "y": float(np.max(relative * (slope * largest + bias))),
        "running_mean": float(np.max(mean_bound)),
        "running_var": float(np.max(var_bound)),
        "inference.y": float(np.max(inference_bound)),
    }
