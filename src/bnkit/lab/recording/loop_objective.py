"""The objective of a user's own loop: what its batches are, and how its loss is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.inspection.nested_tensors import tensors_in

LossFunction = Callable[[Any, Any], Tensor]
Closure = Callable[[nn.Module, Any], Tensor]


class LoopObjective:
    """Runs a module on a batch as a user's loop does.

    Args:
        loss: (output, target) → scalar, for batches (inputs, target): the module is called with
            the inputs, or with each of them where they are a tuple or a mapping.
        closure: (module, batch) → scalar, for all other batches and losses.
    """

    def __init__(self, loss: LossFunction | None, closure: Closure | None) -> None:
        self._loss, self._closure = loss, closure

    @property
    def has_loss(self) -> bool:
        """Whether a loss can be taken."""
        return self._loss is not None or self._closure is not None

    def output(self, network: nn.Module, batch: Any) -> Any:
        """Return the module's output on a batch, or the closure's loss where there is one."""
        batch = on_device_of(network, batch)
        if self._closure is not None:
            return self._closure(network, batch)
        inputs = _parts(batch)[0] if _is_pair(batch) else batch
        return called(network, inputs)

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the loss of a batch.

        Raises:
            ProbeError: the loop gave neither a loss nor a closure, or the batch is no pair.
        """
        batch = on_device_of(network, batch)
        if self._closure is not None:
            return self._closure(network, batch)
        if self._loss is None:
            raise ProbeError(
                "the recorder knows no loss",
                required="probes that watch a step take its loss again",
                remedy="Give loss=function(output, target) or closure=function(model, batch)",
            )
        if not _is_pair(batch):
            raise ProbeError(
                f"a batch is a {type(batch).__name__}",
                required="with loss= a batch is a pair (inputs, target)",
                remedy="Give closure=function(model, batch), which returns the loss",
            )
        inputs, target = _parts(batch)
        return self._loss(called(network, inputs), target)

    def examples(self, batch: Any) -> int:
        """Return the length of the batch's first tensor that has axes."""
        return next((len(tensor) for tensor in tensors_in(batch) if tensor.dim()), 1)


def called(network: nn.Module, inputs: Any) -> Any:
    """Call a module with one input, or with several in a tuple, list or mapping."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return network(*inputs)
    return network(inputs)


def on_device_of(network: nn.Module, batch: Any) -> Any:
    """Return a batch with its tensors on the device of the module's first parameter.

    A loop moves what its loader gives, and may tell the recorder of what it gave.
    """
    parameter = next(network.parameters(), None)
    if parameter is None or all(each.device == parameter.device for each in tensors_in(batch)):
        return batch
    return _moved(batch, parameter.device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(item, device) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(_moved(item, device) for item in value)
    return value


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and len(batch) == 2


def _parts(batch: Any) -> tuple[Any, Any]:
    return batch[0], batch[1]
