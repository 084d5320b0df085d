"""Group and instance norm that add and activate as `BatchNormAct` does, for conversions of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bnkit.functional.activation import (
    DEFAULT_NEGATIVE_SLOPE,
    Following,
    add_and_activate,
    check_activation,
)


class _Following(nn.Module):
    """What comes after the normalization: the activation, and the addition before it.

    Args:
        args, keywords: of the normalization.
        activation, negative_slope: as of `BatchNormAct1d`.

    Raises:
        ArgumentError: an unknown activation.
    """

    def __init__(
        self,
        *args: Any,
        activation: str | None = "relu",
        negative_slope: float = DEFAULT_NEGATIVE_SLOPE,
        **keywords: Any,
    ) -> None:
        check_activation(activation, negative_slope)
        super().__init__(*args, **keywords)
        self.activation, self.negative_slope = activation, negative_slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return activation(norm(input) + residual)."""
        following = Following(self.activation, self.negative_slope, residual)
        return add_and_activate(super().forward(input), following)

    def extra_repr(self) -> str:
        """Return the normalization's arguments and the activation."""
        text = f"{super().extra_repr()}, activation={self.activation!r}"
        return f"{text}, negative_slope={self.negative_slope}"


class GroupNormAct(_Following, nn.GroupNorm):
    """y = activation(group_norm(x) + residual)."""


class InstanceNormAct1d(_Following, nn.InstanceNorm1d):
    """y = activation(instance_norm(x) + residual) over (N, C, L)."""


class InstanceNormAct2d(_Following, nn.InstanceNorm2d):
    """y = activation(instance_norm(x) + residual) over (N, C, H, W)."""


class InstanceNormAct3d(_Following, nn.InstanceNorm3d):
    """y = activation(instance_norm(x) + residual) over (N, C, D, H, W)."""
