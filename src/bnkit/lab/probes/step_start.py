"""What an optimizer step begins with, so that it can be run again: random state, modes, buffers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class StepStart:
    """Watches the root module's calls of one step, and can restore what the first began with.

    A validation between two steps is none of them: calls in eval mode without gradients do not
    count, and the step begins anew with a call in other modes than those before it.

    Args:
        network: unwrapped; its buffers and modes are kept.
        called: the module that the loop calls, which may wrap it.
    """

    def __init__(self, network: nn.Module, called: nn.Module) -> None:
        self.autocast: Callable[[], AbstractContextManager[Any]] | None = None
        self._buffers: dict[str, Tensor] = {}
        self._modes: dict[str, bool] = {}
        self._random_states: list[RandomState] = []
        self._network = network
        self._keep()
        self._handle = called.register_forward_pre_hook(self._see)

    def close(self) -> None:
        """Stop watching."""
        self._handle.remove()

    @property
    def calls(self) -> int:
        """How often the module was called."""
        return max(len(self._random_states) - 1, 0)

    @contextmanager
    def modes(self, network: nn.Module) -> Iterator[None]:
        """Set every module's training flag as it was; put those of now back."""
        now = [(module, module.training) for module in network.modules()]
        for path, module in network.named_modules():
            module.training = self._modes.get(path, module.training)
        try:
            yield
        finally:
            for module, training in now:
                module.training = training

    def restore_buffers(self, network: nn.Module) -> None:
        """Write back the buffers' values."""
        for name, buffer in network.named_buffers():
            kept = self._buffers.get(name)
            if kept is not None and kept.shape == buffer.shape:
                buffer.data.copy_(kept)

    def restore_random_state(self, index: int) -> None:
        """Set the random state of the step's call number `index`, counted from 0.

        Where the module was not called once per batch, the draws go on from the first call.
        """
        states = self._random_states[1:] or self._random_states
        if index < len(states):
            states[index].restore()

    def _see(self, _: nn.Module, __: Any) -> None:
        if not (self._network.training or torch.is_grad_enabled()):
            return
        is_first = len(self._random_states) == 1
        if is_first or self._modes != _modes_of(self._network):  # what lies before is not replayed
            del self._random_states[1:]
            self._keep()
        else:
            self._random_states.append(RandomState())

    def _keep(self) -> None:
        self._random_states.append(RandomState())
        self._modes = _modes_of(self._network)
        self._buffers = {n: b.detach().clone() for n, b in self._network.named_buffers()}
        self.autocast = _autocast_of_now()


class RandomState:
    """The random state of Python, NumPy and torch, on the CPU and accelerators in use."""

    def __init__(self) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state()
        self._torch = torch.get_rng_state()
        is_cuda_used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda = torch.cuda.get_rng_state_all() if is_cuda_used else None

    def restore(self) -> None:
        """Set it again."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


def _modes_of(network: nn.Module) -> dict[str, bool]:
    return {path: module.training for path, module in network.named_modules()}


def _autocast_of_now() -> Callable[[], AbstractContextManager[Any]] | None:
    """Return what opens the autocast that is open now; None if none is."""
    for device_type in ("cuda", "cpu", "xpu", "mps"):
        if torch.is_autocast_enabled(device_type):
            dtype = torch.get_autocast_dtype(device_type)
            return partial(torch.autocast, device_type, dtype=dtype, cache_enabled=False)
    return None
