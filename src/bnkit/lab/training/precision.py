"""In which dtype a trial computes: float32, float64, or autocast to bfloat16 or float16."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """How a network's forward is run.

    Attributes:
        name: `float32`, `float64`, or what autocast lowers to: `bfloat16`, `float16`.
        device_type: `cpu`, `cuda` …
    """

    name: str = "float32"
    device_type: str = "cpu"

    @property
    def data_dtype(self) -> torch.dtype:
        """The dtype of the images, and of the weights."""
        return torch.float64 if self.name == "float64" else torch.float32

    def convert(self, network: nn.Module) -> nn.Module:
        """Turn a network's weights and buffers into float64 if that is asked for."""
        return network.double() if self.name == "float64" else network

    def run(self, network: nn.Module, images: Tensor) -> Any:
        """Return the network's output; under autocast as float32, in which losses are taken."""
        with self._autocast():
            output = network(images)
        is_lowered = self.name in _AUTOCAST and isinstance(output, Tensor)
        return output.float() if is_lowered else output

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Return what keeps small float16 gradients from vanishing; it does nothing otherwise."""
        return torch.amp.GradScaler(self.device_type, enabled=self.name == "float16")

    def _autocast(self) -> AbstractContextManager[Any]:
        # A caller's own autocast must not reach in here. Inside of it autocast would keep its
        # lowered copies of the weights from step to step, so it must keep none.
        dtype = _AUTOCAST.get(self.name)
        is_lowered = dtype is not None
        return torch.autocast(
            self.device_type, dtype=dtype, enabled=is_lowered, cache_enabled=False
        )
