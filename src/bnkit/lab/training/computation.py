"""How a trial computes: its dtype (float32, float64, or autocast) and its memory format."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.lab.training.settings import TrainingSettings

IMAGE_BATCH_AXES = 4  # N, C, H, W
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Computation:
    """How a network's forward is run.

    Attributes:
        name: `float32`, `float64`, or what autocast lowers to: `bfloat16`, `float16`.
        device_type: `cpu`, `cuda` …
        is_channels_last: whether images and the weights of 2-d convolutions are kept channels-last.
    """

    name: str = "float32"
    device_type: str = "cpu"
    is_channels_last: bool = False

    @classmethod
    def of(cls, settings: TrainingSettings) -> Computation:
        """Return how trials with these settings compute."""
        device_type = torch.device(settings.device).type
        return cls(settings.precision, device_type, settings.memory_format == "channels-last")

    @property
    def data_dtype(self) -> torch.dtype:
        """The dtype of the images, and of the weights."""
        return torch.float64 if self.name == "float64" else torch.float32

    def convert(self, network: nn.Module) -> nn.Module:
        """Turn a new network's weights into the dtype and the memory format; values stay."""
        if self.name == "float64":
            network.double()
        if self.is_channels_last:
            for module in network.modules():
                weight = getattr(module, "weight", None)
                is_conv = isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
                if is_conv and isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight):
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return network

    def run(self, network: nn.Module, images: Tensor) -> Any:
        """Return the network's output; under autocast as float32, in which losses are taken."""
        if self.is_channels_last and images.dim() == IMAGE_BATCH_AXES:
            images = images.contiguous(memory_format=torch.channels_last)
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
