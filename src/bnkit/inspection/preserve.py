"""The one context that leaves no marks on a user's model."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnkit.inspection.nested_tensors import tensors_in

# Exactly these types: a subclass may do more than hold when it is filled again.
_CONTAINERS = (dict, OrderedDict, defaultdict, list, set)
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def preserve(model: nn.Module, *inputs: Any, copy_parameters: bool = True) -> Iterator[nn.Module]:
    """Run something on a model and put everything back, also when it raises.

    Put back are, for each module, its class and its attributes: the training flag, submodules,
    hooks of every kind, parameters, buffers, and what else the module holds, as well as what the
    dicts, lists and sets among its attributes contain. Of each parameter, buffer and other tensor
    held there: the storage with its dtype and device, the values, `requires_grad` and the gradient;
    a lazy parameter that was initialized inside is lazy again. Then the random state of Python,
    NumPy and torch, on the CPU and every accelerator that was in use at the start.

    Modules that stand in plain lists, tuples and dicts count as the model's.

    Args:
        model: the model that is about to be run.
        inputs: what it is run on; the tensors in it are put back too.
        copy_parameters: False where the caller writes to no parameter and no gradient, or puts
            their values back itself: of these, all but the values is put back.

    Cost: one copy of the tensors and gradients while the context is open; without
    `copy_parameters`, one of the buffers and what else is held.
    """
    modules = [_ModuleState(module) for module in modules_within(model)]
    found = [tensor for state in modules for tensor in tensors_of(state.module)]
    distinct = {id(tensor): tensor for tensor in [*found, *tensors_in(inputs)]}
    tensors = [
        _TensorState(tensor, copied=copy_parameters or not isinstance(tensor, nn.Parameter))
        for tensor in distinct.values()
    ]
    restore_random_state = _random_state_restorers()
    try:
        yield model
    finally:
        for restore in restore_random_state:
            restore()
        for module_state in modules:
            module_state.restore()
        for tensor_state in tensors:
            tensor_state.restore()


def modules_within(model: nn.Module) -> list[nn.Module]:
    """Return the model and the modules in it, also those in plain lists, tuples and dicts."""
    found: list[nn.Module] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, nn.Module | dict | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
            waiting += [*vars(value).values(), *value.children()]
        else:
            waiting += value.values() if isinstance(value, dict) else value
    return found


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the random state of Python, NumPy and torch back afterwards."""
    restorers = _random_state_restorers()
    try:
        yield
    finally:
        for restore in restorers:
            restore()


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Return the tensors that a module itself holds: parameters, buffers, other attributes."""
    values = list(vars(module).values())
    for container in [*values, module._parameters, module._buffers]:
        if isinstance(container, dict):
            values += container.values()
        elif isinstance(container, list | tuple | set):
            values += container
    return [value for value in values if isinstance(value, Tensor)]


class _ModuleState:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.type = type(module)
        self.attributes = dict(vars(module))
        self.contents = [
            (value, copy.copy(value))
            for value in self.attributes.values()
            if type(value) in _CONTAINERS
        ]

    def restore(self) -> None:
        if type(self.module) is not self.type:
            self.module.__class__ = self.type
        _refill(vars(self.module), self.attributes)
        for container, content in self.contents:
            _refill(container, content)


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


class _TensorState:
    def __init__(self, tensor: Tensor, *, copied: bool) -> None:
        self.values = _Values(tensor, copied)
        self.type = type(tensor)
        self.is_leaf, self.requires_grad = tensor.is_leaf, tensor.requires_grad
        self.grad = (
            None if not tensor.is_leaf or tensor.grad is None else _Values(tensor.grad, copied)
        )

    def restore(self) -> None:
        tensor = self.values.tensor
        if self.is_leaf and not tensor.is_leaf:
            tensor.detach_()
        self.values.restore()
        if self.grad is not None:
            self.grad.restore()
        if self.is_leaf:
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
            tensor.grad = None if self.grad is None else self.grad.tensor
        if type(tensor) is not self.type:
            tensor.__class__ = self.type


@dataclass
class _Values:
    """Where a tensor's values lie and what they are."""

    tensor: Tensor
    is_copied: bool

    def __post_init__(self) -> None:
        self.place = self.tensor.data
        has_values = self.is_copied and not is_lazy(self.tensor) and not self.tensor.is_meta
        self.copied = self.tensor.detach().clone() if has_values else None

    def restore(self) -> None:
        if not _lie_alike(self.tensor, self.place):
            self.tensor.data = self.place
        # Values are compared, not version counters: batch norm moves its buffers uncounted.
        # They are written through `.data`, uncounted too: a counted write would invalidate a
        # graph the user still holds, although the values are those that it was recorded with.
        if self.copied is not None and not _are_alike(self.place, self.copied):
            self.place.copy_(self.copied)


def _lie_alike(tensor: Tensor, place: Tensor) -> bool:
    if is_lazy(tensor) or is_lazy(place):
        return is_lazy(tensor) and is_lazy(place) and tensor.dtype == place.dtype
    if (tensor.dtype, tensor.device, tensor.layout) != (place.dtype, place.device, place.layout):
        return False
    if tensor.layout != torch.strided:
        return True
    return (
        tensor.shape == place.shape
        and tensor.stride() == place.stride()
        and tensor.storage_offset() == place.storage_offset()
        and tensor.untyped_storage()._cdata == place.untyped_storage()._cdata
    )


def _are_alike(tensor: Tensor, copied: Tensor) -> bool:
    # As bits, so that NaN equals itself and −0 is not 0.
    bits = _INTEGERS.get(tensor.element_size())
    if bits is None or tensor.layout != torch.strided or type(tensor) is not Tensor:
        return torch.equal(tensor, copied)
    return torch.equal(tensor.view(bits), copied.view(bits))


def _random_state_restorers() -> list[Callable[[], None]]:
    restorers: list[Callable[[], None]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    # One that is not initialized has drawn nothing, and asking for its state would initialize it.
    accelerators: tuple[Any, ...] = (torch.cuda, torch.xpu)
    for accelerator in accelerators:
        if accelerator.is_initialized():
            state = accelerator.get_rng_state_all()
            restorers.append(partial(accelerator.set_rng_state_all, state))
    if torch.backends.mps.is_available():
        restorers.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return restorers
