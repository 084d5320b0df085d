"""BatchNorm1d, 2d and 3d: torch's layers, computed by bnkit's kernels."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import (
    ArgumentError,
    ArgumentTypeError,
    BnkitError,
    TensorShapeError,
    UnusableArgumentError,
)
from bnkit.functional.argument_errors import is_number
from bnkit.functional.normalization import counted_batch_norm
from bnkit.layers.layer_path import layer_path
from bnkit.layers.symbolic_call import called_as_module, is_symbolic

_TORCH_TAKES_BIAS = "bias" in inspect.signature(_BatchNorm.__init__).parameters


class _BatchNormLayer(_BatchNorm):
    """What the three layers share: everything but the ranks that they take."""

    _ranks: ClassVar[tuple[int, ...]]
    _torch_namesake: ClassVar[type[_BatchNorm]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        _check_numbers(type(self).__name__, eps, momentum)
        keywords: dict[str, Any] = {"device": device, "dtype": dtype}
        if _TORCH_TAKES_BIAS:
            keywords["bias"] = bias
        elif not bias:
            raise ArgumentError(
                f"got bias=False with torch {torch.__version__}",
                required="leaving out the bias alone needs torch 2.13",
                remedy="Update torch, or freeze a zero bias",
                where=type(self).__name__,
            )
        try:
            super().__init__(num_features, eps, momentum, affine, track_running_stats, **keywords)
        except (TypeError, RuntimeError) as error:
            better = _explain_construction(type(self).__name__, num_features, dtype)
            if better is None or not isinstance(better, type(error)):
                raise
            raise better from error

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input`, and in training move the running statistics.

        y = (x − mean)/√(var + eps)·weight + bias. In training, or where there are no running
        statistics, mean and var are the batch's; else the running ones. While running statistics
        are tracked, training also counts the batch and moves them by momentum, or with
        momentum=None so that they are the plain average over all batches so far.

        Raises:
            BnkitError: the input does not fit; its message begins with the path of this layer
                within the model that is running. The layer is left as it was.
        """
        if is_symbolic(input):
            return called_as_module(self, input)  # type: ignore[no-any-return]
        return self._normalize(input)

    def _normalize(self, input: Tensor, **following: Any) -> Tensor:
        """Normalize `input`; `following` goes to `batch_norm`: residual and activation."""
        try:
            self._check_input_dim(input)
            training, momentum = self.training, self.momentum
            # In training, running statistics that are not tracked are not even read.
            uses_running = not training or self.track_running_stats
            running_mean = self.running_mean if uses_running else None
            running_var = self.running_var if uses_running else None
            counts = training and uses_running
            counter = self.num_batches_tracked if counts else None
            if momentum is None:
                # The new batch weighs as much as each before it; uncounted, it weighs nothing.
                momentum = 0.0 if counter is None else 1.0 / (float(counter) + 1.0)
            return counted_batch_norm(
                input,
                running_mean,
                running_var,
                self.weight,
                self.bias,
                training or (running_mean is None and running_var is None),
                momentum,
                self.eps,
                counter,
                **following,
            )
        except BnkitError as error:
            error.where = layer_path(self)
            raise

    def _check_input_dim(self, input: Tensor) -> None:
        """Raise if the rank of `input` is not one that this layer takes."""
        # What is no tensor is not judged here: batch_norm says what is wrong with it, and a
        # tracer's stand-in for a tensor has no rank yet.
        rank = input.dim() if isinstance(input, Tensor) else self._ranks[0]
        if rank not in self._ranks:
            shape, name = tuple(input.shape), type(self).__name__
            raise TensorShapeError(
                f"got x of shape {shape}, which has {rank} axes",
                required=f"{name} takes {' or '.join(map(_SHAPES.__getitem__, self._ranks))}",
                remedy=_rank_remedy(rank, self._ranks),
            )

    def __prepare_scriptable__(self) -> nn.Module:
        """Return torch's namesake with the same tensors: TorchScript cannot read this forward."""
        twin = self._torch_namesake.__new__(self._torch_namesake)
        twin.__dict__.update(self.__dict__)
        return twin


class BatchNorm1d(_BatchNormLayer, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` on bnkit's kernels: takes (N, C) and (N, C, L).

    y = (x − mean)/√(var + eps)·weight + bias for each channel; var divides by m = N·L, and the
    running variance is fed with the unbiased one, which divides by m − 1.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the NEW batch in the running statistics; None: the plain average.
        affine: whether there are a weight and a bias, of shape (C,).
        track_running_stats: whether to keep running statistics; without them the batch's own
            normalize in eval mode too.
        device, dtype: of parameters and buffers.
        bias: whether there is a bias where affine; False needs torch 2.13.

    Raises:
        ArgumentError: an argument with which torch could not build the layer, or never run it.

    Source: Ioffe and Szegedy 2015, "Batch Normalization".
    """

    _ranks = (2, 3)
    _torch_namesake = nn.BatchNorm1d


class BatchNorm2d(_BatchNormLayer, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` on bnkit's kernels: takes (N, C, H, W); m = N·H·W.

    y = (x − mean)/√(var + eps)·weight + bias for each channel. Arguments as in `BatchNorm1d`.
    """

    _ranks = (4,)
    _torch_namesake = nn.BatchNorm2d


class BatchNorm3d(_BatchNormLayer, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` on bnkit's kernels: takes (N, C, D, H, W); m = N·D·H·W.

    y = (x − mean)/√(var + eps)·weight + bias for each channel. Arguments as in `BatchNorm1d`.
    """

    _ranks = (5,)
    _torch_namesake = nn.BatchNorm3d


_SHAPES = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
_LAYER_OF_RANK = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}


def _rank_remedy(rank: int, ranks: tuple[int, ...]) -> str:
    if rank == ranks[0] - 1:
        return "If this is one sample, add the batch axis with x.unsqueeze(0)"
    if rank in _LAYER_OF_RANK:
        return f"For {_SHAPES[rank]} use {_LAYER_OF_RANK[rank]}"
    return ""


def _check_numbers(layer: str, eps: Any, momentum: Any) -> None:
    """Raise for an eps or momentum with which every forward would fail."""
    if not is_number(eps):
        raise ArgumentTypeError(f"got eps={eps!r}", required="it must be a number", where=layer)
    if eps < 0:
        raise ArgumentError(f"got eps={eps!r}", required="it must not be negative", where=layer)
    if momentum is not None and not is_number(momentum):
        raise ArgumentTypeError(
            f"got momentum={momentum!r}", required="it must be a number or None", where=layer
        )


def _explain_construction(layer: str, num_features: Any, dtype: Any) -> BnkitError | None:
    if not isinstance(num_features, int) or isinstance(num_features, bool):
        return ArgumentTypeError(
            f"got num_features={num_features!r}",
            required="it must be a whole number, the channels C of the input",
            where=layer,
        )
    if num_features < 0:
        return UnusableArgumentError(
            f"got num_features={num_features}", required="it must not be negative", where=layer
        )
    if isinstance(dtype, torch.dtype) and not (dtype.is_floating_point or dtype.is_complex):
        return UnusableArgumentError(
            f"got dtype={dtype}", required="parameters need a floating-point dtype", where=layer
        )
    return None
