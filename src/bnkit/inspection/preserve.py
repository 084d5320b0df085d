"""The one context that leaves no marks on a user's model."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def preserve(model: nn.Module) -> Iterator[nn.Module]:
    """Run something on a model and put everything back, also when it raises.

    Put back are the training flag of each module, parameters, buffers (values, and the tensors
    themselves where they were exchanged), gradients, `requires_grad`, hooks, and the random state
    of Python, NumPy and torch on every device in use.

    Args:
        model: the model that is about to be run.

    Cost: one copy of parameters, buffers and gradients while the context is open.
    """
    modules = [_ModuleState.of(module) for module in model.modules()]
    tensors: dict[int, _TensorState] = {}
    for module in modules:
        for tensor in module.tensors():
            tensors.setdefault(id(tensor), _TensorState.of(tensor))
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = sorted({t.tensor.device.index or 0 for t in tensors.values() if t.tensor.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices):
            yield model
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for state in modules:
            state.restore()
        for tensor_state in tensors.values():
            tensor_state.restore()


@dataclass(frozen=True)
class _ModuleState:
    module: nn.Module
    training: bool
    parameters: dict[str, nn.Parameter | None]
    buffers: dict[str, Tensor | None]
    hooks: dict[str, OrderedDict[int, Any]]

    @classmethod
    def of(cls, module: nn.Module) -> _ModuleState:
        hooks = {name: OrderedDict(getattr(module, name)) for name in _HOOK_TABLES}
        return cls(module, module.training, dict(module._parameters), dict(module._buffers), hooks)

    def tensors(self) -> list[Tensor]:
        found = [*self.parameters.values(), *self.buffers.values()]
        return [tensor for tensor in found if tensor is not None and not is_lazy(tensor)]

    def restore(self) -> None:
        self.module.training = self.training
        _refill(self.module._parameters, self.parameters)
        _refill(self.module._buffers, self.buffers)
        for name, hooks in self.hooks.items():
            _refill(getattr(self.module, name), hooks)


@dataclass(frozen=True)
class _TensorState:
    tensor: Tensor
    data: Tensor
    requires_grad: bool
    grad: Tensor | None
    grad_data: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> _TensorState:
        grad = tensor.grad if tensor.is_leaf else None
        return cls(
            tensor=tensor,
            data=tensor.detach().clone(),
            requires_grad=tensor.requires_grad,
            grad=grad,
            grad_data=None if grad is None else grad.detach().clone(),
        )

    def restore(self) -> None:
        with torch.no_grad():
            # Written only if it changed: a write would invalidate a graph the user still holds.
            # Values are compared, not version counters: batch norm moves its buffers uncounted.
            if not torch.equal(self.tensor, self.data):
                self.tensor.copy_(self.data)
            if self.grad is not None and self.grad_data is not None:
                self.grad.copy_(self.grad_data)
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.requires_grad)
            self.tensor.grad = self.grad


def _refill(table: dict[Any, Any], content: dict[Any, Any]) -> None:
    table.clear()
    table.update(content)
