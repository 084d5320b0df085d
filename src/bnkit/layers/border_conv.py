"""Convolutions whose bias depends on how many of their taps lie inside: for folds before padding.

A batch norm s·x + t before a conv that pads with zeros adds W t, where a tap outside adds nothing:
conv(s·x + t) = conv with W·s of x + conv with the sums Σ_c W·t of a plane of ones, which has a
single channel and no samples, so that it costs next to nothing whatever the size of x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def _give_taps(layer: _ConvNd, device: Any, dtype: Any) -> None:
    kernel = tuple(layer.kernel_size)
    first = (1, layer.out_channels) if layer.transposed else (layer.out_channels, 1)
    layer.register_buffer("taps", torch.zeros(*first, *kernel, device=device, dtype=dtype))


def _ones_like(input: Tensor, layer: _ConvNd) -> Tensor:
    spatial = input.shape[-len(layer.kernel_size) :]
    return torch.ones((1, 1, *spatial), dtype=input.dtype, device=input.device)


class _BorderConv(_ConvNd):
    """What the three have in common."""

    taps: Tensor
    _convolution: Callable[..., Tensor]

    def __init__(self, *args: Any, device: Any = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, device=device, dtype=dtype, **kwargs)
        _give_taps(self, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return conv(input) + conv of ones with `taps`."""
        border = type(self)._convolution(
            _ones_like(input, self),
            self.taps,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
        )
        inside = self._conv_forward(input, self.weight, None)  # type: ignore[operator]
        return inside + border.to(inside.dtype)  # type: ignore[no-any-return]


class BorderConv1d(_BorderConv, nn.Conv1d):
    """y = conv1d(x) + conv1d of ones with `taps`, a buffer of shape (C_out, 1, K).

    Takes (N, C_in, L). Arguments as in `torch.nn.Conv1d`, of which the padding must be by zeros.

    Cost: beside the conv, one of a single channel and sample, and one addition to the output.
    """

    _convolution = staticmethod(F.conv1d)


class BorderConv2d(_BorderConv, nn.Conv2d):
    """y = conv2d(x) + conv2d of ones with `taps`; see `BorderConv1d`."""

    _convolution = staticmethod(F.conv2d)


class BorderConv3d(_BorderConv, nn.Conv3d):
    """y = conv3d(x) + conv3d of ones with `taps`; see `BorderConv1d`."""

    _convolution = staticmethod(F.conv3d)


class _BorderConvTranspose(_ConvTransposeNd):
    """What the three have in common."""

    taps: Tensor
    _convolution: Callable[..., Tensor]

    def __init__(self, *args: Any, device: Any = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, device=device, dtype=dtype, **kwargs)
        _give_taps(self, device, dtype)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed conv of input + that of ones with `taps`."""
        spatial = len(self.kernel_size)
        padding = self._output_padding(  # type: ignore[operator]
            input, output_size, self.stride, self.padding, self.kernel_size, spatial, self.dilation
        )
        convolution = type(self)._convolution
        options = (self.stride, self.padding, padding)
        ones = _ones_like(input, self)
        border = convolution(ones, self.taps, self.bias, *options, 1, self.dilation)
        inside = convolution(input, self.weight, None, *options, self.groups, self.dilation)
        return inside + border.to(inside.dtype)


class BorderConvTranspose1d(_BorderConvTranspose, nn.ConvTranspose1d):
    """y = conv_transpose1d(x) + that of ones with `taps`, a buffer of shape (1, C_out, K).

    Takes (N, C_in, L). Arguments as in `torch.nn.ConvTranspose1d`.

    Cost: beside the conv, one of a single channel and sample, and one addition to the output.
    """

    _convolution = staticmethod(F.conv_transpose1d)


class BorderConvTranspose2d(_BorderConvTranspose, nn.ConvTranspose2d):
    """y = conv_transpose2d(x) + that of ones with `taps`; see `BorderConvTranspose1d`."""

    _convolution = staticmethod(F.conv_transpose2d)


class BorderConvTranspose3d(_BorderConvTranspose, nn.ConvTranspose3d):
    """y = conv_transpose3d(x) + that of ones with `taps`; see `BorderConvTranspose1d`."""

    _convolution = staticmethod(F.conv_transpose3d)
