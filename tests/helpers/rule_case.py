"""How a case of a rule is written; the cases lie in tests/rule_cases, a file per rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnkit


@dataclass(frozen=True)
class RuleCase:
    """A model and what is given with it, on which a rule fires, or nearly.

    Attributes:
        name: what is the case, in words.
        given: makes the arguments of `bnkit.check`, `model` among them.
        layers: paths of the layers that the rule must name, these and no others; empty for a near
            miss, on which it must run and find nothing.
        severity: of all findings; empty for the rule's own.
        message: what every message must hold.
        run: how it is checked; not `bnkit.check` itself where a rule needs watched steps or a
            process group.
    """

    name: str
    given: Callable[[], dict[str, Any]]
    layers: tuple[str, ...] = ()
    severity: str = ""
    message: str = ""
    run: Callable[..., Any] = bnkit.check


def look_trained(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics and parameters as training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            with torch.no_grad():
                for tensor, middle in ((module.weight, 1.0), (module.bias, 0.0)):
                    if tensor is not None:
                        noise = torch.randn(tensor.shape, generator=generator)
                        tensor.copy_(middle + 0.1 * noise)
                if module.running_mean is not None:
                    noise = torch.randn(module.running_mean.shape, generator=generator)
                    module.running_mean.copy_(0.1 * noise)
                    module.running_var.copy_(1 + 0.1 * noise.abs())
                    module.num_batches_tracked.fill_(100)
    return model


def conv_net(**options: Any) -> nn.Sequential:
    """Return conv "0", batch norm "1", ReLU "2", conv "3", batch norm "4"."""
    bias = options.pop("bias", False)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=bias),
        nn.BatchNorm2d(4, **options),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, bias=bias),
        nn.BatchNorm2d(5, **options),
    )


def images(size: int = 4) -> torch.Tensor:
    """Return images that fit `conv_net`."""
    return torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def recalibrated(model: nn.Module, *batches: Any) -> nn.Module:
    """Give every batch norm γ and β as of training, and the statistics of these batches."""
    layers = [module for module in look_trained(model).modules() if isinstance(module, _BatchNorm)]
    kept = [(layer.momentum, layer.training) for layer in layers]
    for layer in layers:
        layer.momentum = None
        layer.reset_running_stats()
        layer.train()
    with torch.no_grad():
        for batch in batches:
            model(*batch) if isinstance(batch, tuple) else model(batch)
    for layer, (momentum, training) in zip(layers, kept, strict=True):
        layer.momentum = momentum
        layer.train(training)
    return model


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return normal values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
