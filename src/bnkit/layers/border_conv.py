"""Convolutions whose bias depends on how many of their taps lie inside: for folds before padding.

A batch norm s·x + t before a conv that pads with zeros adds W t, where a tap outside adds nothing:
conv(s·x + t) = conv with W·s of x + conv with the sums Σ_c W·t of a plane of ones, which has a
single channel and no samples, so that it costs next to nothing whatever the size of x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as torch_functional


class _Border(nn.Module):
    """What all six have in common: the taps."""

    weight: Any
    bias: Any
    taps: Tensor
    kernel_size: Any
    _convolution: Callable[..., Tensor]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shape = list(self.weight.shape)
        is_transposed = isinstance(self, nn.modules.conv._ConvTransposeNd)
        shape[:2] = [1, self.out_channels] if is_transposed else [self.out_channels, 1]
        self.register_buffer("taps", self.weight.detach().new_zeros(shape))

    def _ones_like(self, input: Tensor) -> Tensor:
        return input.new_ones((1, 1, *input.shape[-len(self.kernel_size) :]))


class _BorderConv(_Border):
    """What the three have in common that are not transposed."""

    def forward(self, input: Tensor) -> Tensor:
        """Return conv(input) + conv of ones with `taps`, + bias."""
        convolution = type(self)._convolution
        options = (self.stride, self.padding, self.dilation)
        border = convolution(self._ones_like(input), self.taps, self.bias, *options)
        return convolution(input, self.weight, None, *options, self.groups) + border


class BorderConv1d(_BorderConv, nn.Conv1d):
    """y = conv1d(x) + conv1d of ones with `taps`, a buffer of shape (C_out, 1, K).

    Takes (N, C_in, L). Arguments as in `torch.nn.Conv1d`, of which the padding must be by zeros.

    Cost: beside the conv, one of a single channel and sample, and one addition to the output.
    """

    _convolution = staticmethod(torch_functional.conv1d)


class BorderConv2d(_BorderConv, nn.Conv2d):
    """y = conv2d(x) + conv2d of ones with `taps`; see `BorderConv1d`."""

    _convolution = staticmethod(torch_functional.conv2d)


class BorderConv3d(_BorderConv, nn.Conv3d):
    """y = conv3d(x) + conv3d of ones with `taps`; see `BorderConv1d`."""

    _convolution = staticmethod(torch_functional.conv3d)


class _BorderConvTranspose(_Border):
    """What the three have in common that are transposed."""

    _output_padding: Callable[..., list[int]]

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed conv of input + that of ones with `taps`, + bias."""
        spatial = len(self.kernel_size)
        sizes = (self.stride, self.padding, self.kernel_size, spatial, self.dilation)
        padding = self._output_padding(input, output_size, *sizes)
        convolution, ones = type(self)._convolution, self._ones_like(input)
        options = (self.stride, self.padding, padding)
        border = convolution(ones, self.taps, self.bias, *options, 1, self.dilation)
        inside = convolution(input, self.weight, None, *options, self.groups, self.dilation)
        return inside + border


class BorderConvTranspose1d(_BorderConvTranspose, nn.ConvTranspose1d):
    """y = conv_transpose1d(x) + that of ones with `taps`, a buffer of shape (1, C_out, K).

    Takes (N, C_in, L). Arguments as in `torch.nn.ConvTranspose1d`.

    Cost: beside the conv, one of a single channel and sample, and one addition to the output.
    """

    _convolution = staticmethod(torch_functional.conv_transpose1d)


class BorderConvTranspose2d(_BorderConvTranspose, nn.ConvTranspose2d):
    """y = conv_transpose2d(x) + that of ones with `taps`; see `BorderConvTranspose1d`."""

    _convolution = staticmethod(torch_functional.conv_transpose2d)


class BorderConvTranspose3d(_BorderConvTranspose, nn.ConvTranspose3d):
    """y = conv_transpose3d(x) + that of ones with `taps`; see `BorderConvTranspose1d`."""

    _convolution = staticmethod(torch_functional.conv_transpose3d)
