from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, images
from helpers.watched import Net, Step, backward, finish, loss_of, plain, run_watched


def case(name: str, model: Any, step: Step, layers: tuple[str, ...] = (), **more: Any) -> RuleCase:
    message = more.pop("message", "")
    given = {"step": step, **more}
    return RuleCase(
        name,
        lambda: {"model": model() if callable(model) else model, **given},
        layers=layers,
        message=message,
        run=run_watched,
    )


def accumulating(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(4):
        backward(model)
    finish(optimizer)


def two_views(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    (loss_of(model(images())) + loss_of(model(images() + 1))).backward()
    finish(optimizer)


def sharpness_aware(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    backward(model)
    optimizer.zero_grad()
    plain(model, optimizer)


def scaled(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Gradients are clipped and scaled in place, and set to zero."""
    backward(model)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def validated(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    plain(model, optimizer)
    model.eval()
    with torch.no_grad():
        model(images())
    model.train()


def against_a_generator(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The discriminator's step on real and made images, then the generator's through it."""
    generator = nn.Conv2d(3, 3, 1)
    made = generator(images())
    optimizer.zero_grad()
    backward(model)
    backward(model, made.detach())
    optimizer.step()
    backward(model, made)


class Once(nn.Module):
    """Of two branches one runs at a time, as with layer dropping."""

    def __init__(self) -> None:
        super().__init__()
        self.branches, self.calls = nn.ModuleList([Net(), Net()]), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.branches[self.calls % 2](x)
        return y


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(self.norm(x)))
        return y


def checkpointed_average() -> nn.Module:
    model = Net(use_reentrant=False)
    model.body[1].momentum = model.body[4].momentum = None
    return model


BODY = ("body.1", "body.4")
CASES = [
    case(
        "checkpointing",
        lambda: Net(use_reentrant=False),
        plain,
        BODY,
        message="advances by 2 per optimizer step, in 3 of 3 steps: each forward ran again",
    ),
    case("reentrant checkpointing", lambda: Net(use_reentrant=True), plain, BODY),
    case(
        "checkpointing and accumulation",
        lambda: Net(use_reentrant=False),
        accumulating,
        BODY,
        message="by 8 per optimizer step, in 3 of 3 steps for 4 backwards: each forward ran again",
    ),
    case(
        "reentrant checkpointing and accumulation",
        lambda: Net(use_reentrant=True),
        accumulating,
        BODY,
        message="by 8",
    ),
    case("two views, one loss", Net, two_views, BODY, message="2 forwards in training mode lead"),
    case("gradients thrown away", Net, sharpness_aware, BODY, message="by 2"),
    case("a layer called twice", Shared, plain, ("norm",)),
    case("a plain loop", Net, plain),
    case("accumulation", Net, accumulating),
    case("gradients changed in place", Net, scaled),
    case("validation in eval mode", Net, validated),
    case("checkpointing where all batches are averaged", checkpointed_average, plain),
    case("a discriminator", Net, against_a_generator),
    case("branches by turns", Once, plain),
    case("checkpointing in eval mode", lambda: Net(use_reentrant=False).eval(), plain),
]
