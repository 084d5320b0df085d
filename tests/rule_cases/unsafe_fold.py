from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from helpers.rule_case import RuleCase, conv_net, images


class Pair(nn.Module):
    """A conv and a batch norm, put together as the case says."""

    def __init__(self, run: Callable[[Pair, Tensor], Any]) -> None:
        super().__init__()
        self.run = run
        self.conv, self.norm, self.second = nn.Conv2d(3, 3, 1), *map(nn.BatchNorm2d, (3, 3))

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class ScaledConv(nn.Conv2d):
    """Standardizes its weight in each forward, as some networks do."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class GatedNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def residual(pair: Pair, x: Tensor) -> Tensor:
    x = pair.conv(x)
    return x + torch.relu(pair.norm(x))


def two_norms(pair: Pair, x: Tensor) -> Tensor:
    x = pair.conv(x)
    return torch.relu(pair.norm(x)) + torch.relu(pair.second(x))


def shared_conv(pair: Pair, x: Tensor) -> Tensor:
    return torch.relu(pair.norm(pair.conv(x))) + torch.relu(pair.conv(x + 1))


def shared_norm(pair: Pair, x: Tensor) -> Tensor:
    return torch.relu(pair.norm(pair.conv(x))) + torch.relu(pair.norm(x))


def returned(pair: Pair, x: Tensor) -> dict[str, Tensor]:
    x = pair.conv(x)
    return {"raw": x, "y": torch.relu(pair.norm(x))}


def weight_used_again(pair: Pair, x: Tensor) -> Tensor:
    return F.conv2d(torch.relu(pair.norm(pair.conv(x))), pair.conv.weight)


def on(model: nn.Module, example: Any = None) -> dict[str, Any]:
    return {"model": model, "example_args": images() if example is None else example}


def chain(*layers: nn.Module, example: Any = None) -> dict[str, Any]:
    return on(nn.Sequential(*layers, nn.ReLU()), example)


def hooked() -> dict[str, Any]:
    model = conv_net()
    model[0].register_forward_hook(lambda *_: None)
    return on(model)


def tied() -> dict[str, Any]:
    first, last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    last.weight = first.weight
    return chain(first, nn.BatchNorm2d(3), nn.ReLU(), last)


def parametrized() -> dict[str, Any]:
    conv = parametrizations.spectral_norm(nn.Conv2d(3, 4, 1))
    return chain(conv, nn.BatchNorm2d(4))


def vectors(*shape: int) -> dict[str, Any]:
    return chain(nn.Linear(6, 6), nn.BatchNorm1d(6), example=torch.randn(*shape))


def case(name: str, given: Any, *layers: str, message: str) -> RuleCase:
    return RuleCase(name, given, layers, message=message)


CASES = [
    case("a residual", lambda: on(Pair(residual)), "norm", message="conv also goes to add"),
    case("two norms", lambda: on(Pair(two_norms)), "norm", "second", message="also goes to"),
    case("a shared conv", lambda: on(Pair(shared_conv)), "norm", message="conv is shared: it runs"),
    case("a shared norm", lambda: on(Pair(shared_norm)), "norm", message="norm is shared"),
    case("returned", lambda: on(Pair(returned)), "norm", message="is returned too"),
    case("the weight in a function", lambda: on(Pair(weight_used_again)), "norm", message="conv2d"),
    case("a hook", hooked, "1", message="0 has a forward hook"),
    case("a parametrization", parametrized, "1", message="weight of 0 is parametrized"),
    case("tied weights", tied, "1", message="weight of 0 is tied to 3.weight"),
    case("3-D input", lambda: vectors(4, 6, 6), "1", message="on the last axis"),
    case(
        "before a padded conv",
        lambda: chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding="same")),
        "0",
        message="pads with zeros",
    ),
    case(
        "before a transposed conv",
        lambda: chain(nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 3)),
        "0",
        message="transposed",
    ),
    case(
        "a conv with a forward of its own",
        lambda: chain(ScaledConv(3, 4, 1), nn.BatchNorm2d(4)),
        "1",
        message="a ScaledConv, with a forward",
    ),
    case(
        "a norm that does more",
        lambda: chain(nn.Conv2d(3, 4, 1), GatedNorm(4)),
        "1",
        message="more than normalize",
    ),
    case(
        "no running statistics",
        lambda: chain(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        "1",
        message="by the batch in eval mode",
    ),
    RuleCase("a plain pair", lambda: on(conv_net())),
    RuleCase("linear on vectors", lambda: vectors(4, 6)),
    RuleCase("before a conv without padding", lambda: chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))),
    RuleCase("pre-activation", lambda: chain(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1))),
]
