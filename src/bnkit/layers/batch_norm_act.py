"""BatchNormAct1d, 2d and 3d: batch norm, an optional residual add, and an activation, in one."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bnkit.errors import BnkitError, TorchScriptError
from bnkit.functional.activation import (
    DEFAULT_NEGATIVE_SLOPE,
    LEAKY_RELU,
    Following,
    add_and_activate,
    check_activation,
)
from bnkit.layers.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, _BatchNormLayer
from bnkit.layers.symbolic_call import called_as_module, is_symbolic


class _BatchNormActLayer(_BatchNormLayer):
    """What the three layers share: everything but the ranks that they take."""

    def __init__(
        self,
        num_features: int,
        activation: str | None = "relu",
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        negative_slope: float = DEFAULT_NEGATIVE_SLOPE,
    ) -> None:
        try:
            check_activation(activation, negative_slope)
        except BnkitError as error:
            error.where = type(self).__name__
            raise
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return activation(batch_norm(input) + residual), and in training move the statistics.

        Args:
            input: as of the batch norm of the same rank.
            residual: the shape of `input`, or None.

        Raises:
            BnkitError: what was given does not fit; its message begins with the path of this layer
                within the model that is running. The layer is left as it was.
        """
        if is_symbolic(input):
            return called_as_module(self, input, residual)  # type: ignore[no-any-return]
        return self._normalize(
            input,
            activation=self.activation,
            negative_slope=self.negative_slope,
            residual=residual,
        )

    def without_batch_norm(self) -> nn.Module:
        """Return a module that adds and activates as this layer does, and does nothing else."""
        return AddAndActivate(self.activation, self.negative_slope).train(self.training)

    def extra_repr(self) -> str:
        """Return the batch norm's arguments and the activation."""
        text = f"{super().extra_repr()}, activation={self.activation!r}"  # type: ignore[no-untyped-call]
        if self.activation == LEAKY_RELU:
            text += f", negative_slope={self.negative_slope}"
        return text

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse: torch has no namesake that TorchScript could read in its place."""
        raise TorchScriptError(
            f"{type(self).__name__} cannot become TorchScript",
            remedy="Use BatchNorm and the activation as two layers, or torch.export",
        )


class AddAndActivate(nn.Module):
    """y = activation(x + residual): what is left of a `BatchNormAct` without its batch norm."""

    def __init__(self, activation: str | None, negative_slope: float) -> None:
        super().__init__()
        self.activation, self.negative_slope = activation, negative_slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return activation(input + residual)."""
        return add_and_activate(input, Following(self.activation, self.negative_slope, residual))

    def extra_repr(self) -> str:
        """Return the activation."""
        return f"activation={self.activation!r}, negative_slope={self.negative_slope}"


class BatchNormAct1d(_BatchNormActLayer, BatchNorm1d):
    """Batch norm, residual add and activation over (N, C) and (N, C, L), in one pass.

    y = activation((x − mean)/√(var + eps)·weight + bias + residual).

    Args:
        num_features: C.
        activation: "relu", "leaky_relu", "relu6" …, one of `functional.activation_names()`, or
            None for none. It holds no parameters, so the `state_dict` is that of the batch norm.
        eps, momentum, affine, track_running_stats, device, dtype, bias: as of `BatchNorm1d`.
        negative_slope: of "leaky_relu".

    Raises:
        ArgumentError: an unknown activation, or what `BatchNorm1d` refuses.

    Cost: with an activation that the kernel fuses, one tensor of x's size less than the layers
    one after the other keep for backward.
    """


class BatchNormAct2d(_BatchNormActLayer, BatchNorm2d):
    """Batch norm, residual add and activation over (N, C, H, W), in one pass.

    y = activation((x − mean)/√(var + eps)·weight + bias + residual). Arguments as in
    `BatchNormAct1d`.
    """


class BatchNormAct3d(_BatchNormActLayer, BatchNorm3d):
    """Batch norm, residual add and activation over (N, C, D, H, W), in one pass.

    y = activation((x − mean)/√(var + eps)·weight + bias + residual). Arguments as in
    `BatchNormAct1d`.
    """
