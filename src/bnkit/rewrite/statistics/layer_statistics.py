"""A layer's running statistics: whose are estimated anew, what is stored, how far they were off."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.trace import refuse_uninitialized
from bnkit.rewrite.kept_in_eval import is_kept_class
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.result import Rewrite
from bnkit.rewrite.rewrite_arguments import refuse_scripted
from bnkit.rewrite.statistics.channel_moments import Moments


@dataclass(frozen=True)
class StatisticsShift:
    """How far the statistics that a layer had were off what it received.

    Attributes:
        path: of the layer.
        values: M, the values per channel that it received.
        calls: how many calls they came from.
        mean_shift: largest |received mean − running_mean| of a channel, in units of the received
            √(var + eps); not finite if running_mean was not.
        least_ratio, largest_ratio: of the received var + eps to running_var + eps, over channels.
    """

    path: str
    values: int
    calls: int
    mean_shift: float
    least_ratio: float
    largest_ratio: float

    def __str__(self) -> str:
        calls = f"{self.calls:,} batch{'' if self.calls == 1 else 'es'}"
        seen = f"over {self.values:,} values per channel in {calls}"
        if not all(map(math.isfinite, (self.mean_shift, self.least_ratio, self.largest_ratio))):
            return f"the stored statistics were not finite; new ones {seen}"
        return (
            f"running mean off by up to {self.mean_shift:.3g} std, variance {self.least_ratio:.3g} "
            f"to {self.largest_ratio:.3g} times the stored one, {seen}"
        )


@dataclass
class Recalibration(Rewrite):
    """A rewrite of statistics, which also says how far they were off.

    Attributes:
        shifts: one of each layer that was changed, in execution order.
    """

    shifts: list[StatisticsShift] = field(default_factory=list)


def layers_to_estimate(
    model: nn.Module, patterns: Patterns | None
) -> tuple[dict[str, _BatchNorm], dict[str, str]]:
    """Return path → layer of the batch norms to estimate, and path → reason of the others.

    A layer in eval mode within a model in training mode is frozen, and so is one of
    `bnkit.freeze`.

    Raises:
        ArgumentTypeError, RewriteError: as of `chosen_layers`; a part is TorchScript or
            uninitialized.
    """
    refuse_uninitialized(model)
    refuse_scripted(model, "what its layers receive cannot be seen")
    taken: dict[str, _BatchNorm] = {}
    left: dict[str, str] = {}
    for path, layer in chosen_layers(model, patterns, _is_batch_norm, "batch norm").items():
        assert isinstance(layer, _BatchNorm)
        if layer.running_mean is None or layer.running_var is None:
            left[path] = "it keeps no running statistics"
        elif is_kept_class(type(layer)):
            left[path] = "it is frozen; bnkit.unfreeze it first"
        elif model.training and not layer.training:
            left[path] = "it is frozen: in eval mode within a model in training mode"
        else:
            taken[path] = layer
    return taken, left


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm)


def as_stored(
    path: str, layer: nn.Module, moments: Moments, weight: float = 1.0
) -> dict[str, Tensor]:
    """Return running_mean and running_var as a layer stores them: in its dtype, on its device.

    Args:
        path: of the layer.
        layer: a layer with running statistics.
        moments: what it received.
        weight: of what it received; the rest of what it has.

    Raises:
        RewriteError: one value cannot have a variance, or one does not fit into the dtype.
    """
    if moments.count < 2:
        raise RewriteError(
            "received one value per channel in all of the data",
            required="a variance takes two at least",
            remedy="Give more data",
            where=path or "(model)",
        )
    stored = {}
    for name, value in {"running_mean": moments.mean, "running_var": moments.var}.items():
        former = layer._buffers[name]
        assert former is not None
        if weight != 1.0:
            _refuse_stored(path, name, former)
            value = former.cpu().double() * (1.0 - weight) + value.cpu() * weight  # noqa: PLW2901
        stored[name] = value.to(former.dtype).to(former.device)
        if not bool(stored[name].isfinite().all()):
            raise RewriteError(
                f"its {name} would be {float(value.abs().max()):.3g}",
                required=f"that is beyond {str(former.dtype).removeprefix('torch.')}",
                remedy="Keep the layer in a wider dtype, as layer.float() does with a narrower one",
                where=path or "(model)",
            )
    return stored


def _refuse_stored(path: str, name: str, stored: Tensor) -> None:
    if not bool(stored.isfinite().all()):
        raise RewriteError(
            f"its {name} holds NaN or infinity",
            required="only finite statistics can be blended",
            remedy="Give weight=1, or recalibrate it first",
            where=path or "(model)",
        )


def shift_of(path: str, layer: _BatchNorm, moments: Moments) -> StatisticsShift:
    """Return how far a layer's statistics are off what it received."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, var = layer.running_mean.cpu().double(), layer.running_var.cpu().double()
    received = moments.cpu()
    distance = (received.mean - mean).abs() / (received.var + layer.eps).sqrt()
    ratio = (received.var + layer.eps) / (var + layer.eps)
    return StatisticsShift(
        path,
        moments.count,
        moments.calls,
        float(distance.max()),
        float(ratio.min()),
        float(ratio.max()),
    )
