"""Initial weights of convolutions and linear layers, on any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from bnkit.errors import NetworkError
from bnkit.lab.networks.settings import DefaultInit, GlorotInit, HeInit, NormalInit

Init = DefaultInit | NormalInit | GlorotInit | HeInit


def initialize(network: nn.Module, init: Init, name: str) -> None:
    """Draw the weights of all convolutions and linear layers anew, and set their biases to 0.

    Normalization layers, recurrent and embedding layers, and parameters that a module of the user's
    holds itself, stay as they are. Weights are drawn on the CPU in float32 from torch's generator,
    in the order of `network.modules()`, so they are the same on every device.

    Args:
        network: changed in place.
        init: which distribution; `default` changes nothing.
        name: the network's name, for messages.

    Raises:
        NetworkError: there is no such layer, or one computes its weight from other parameters.
    """
    if isinstance(init, DefaultInit):
        return
    layers = [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    if not layers:
        raise NetworkError(
            f"network.init = {init.name!r}, and there is no convolution and no linear layer",
            required="a layer whose weights can be drawn",
            remedy='Leave network.init out, or set it to "default"',
            where=f"network {name}",
        )
    for path, module in layers:
        if parametrize.is_parametrized(module):
            raise NetworkError(
                f"network.init = {init.name!r}, and {path} computes its weight from other "
                "parameters (torch.nn.utils.parametrizations)",
                required="weights that can be set",
                remedy='Initialize them in the builder and leave network.init at "default"',
                where=f"network {name}",
            )
        with torch.no_grad():
            module.weight.copy_(drawn(module.weight, init))
            if module.bias is not None:
                module.bias.zero_()


def drawn(weight: Tensor, init: NormalInit | GlorotInit | HeInit) -> Tensor:
    """Return new values for a weight, float32 on the CPU.

    normal: N(0, std²). glorot: variance 2/(fan in + fan out). he: variance 2/fan in. Uniform values
    of variance v lie within ±√(3v).
    """
    values = torch.empty(weight.shape, dtype=torch.float32)
    if isinstance(init, NormalInit):
        return nn.init.normal_(values, std=init.std)
    if isinstance(init, GlorotInit):
        is_uniform = init.distribution == "uniform"
        return nn.init.xavier_uniform_(values) if is_uniform else nn.init.xavier_normal_(values)
    draw = nn.init.kaiming_uniform_ if init.distribution == "uniform" else nn.init.kaiming_normal_
    return draw(values, nonlinearity="relu")
