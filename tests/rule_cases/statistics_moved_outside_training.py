from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from helpers.rule_case import RuleCase, images
from helpers.watched import Net, Step, backward, finish, loss_of, plain, run_watched


def case(name: str, model: Any, step: Step, layers: tuple[str, ...] = (), **more: Any) -> RuleCase:
    return RuleCase(
        name, lambda: {"model": model(), "step": step}, layers=layers, run=run_watched, **more
    )


def then(probe: Any) -> Step:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        plain(model, optimizer)
        probe(model)

    return step


def look(model: nn.Module) -> None:
    with torch.no_grad():
        model(images())


def look_in_inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        model(images())


def look_with_gradients(model: nn.Module) -> None:
    loss_of(model(images())).item()


def measure_gradient(model: nn.Module) -> None:
    torch.autograd.grad(loss_of(model(images())), list(model.parameters()))


def evaluate(model: nn.Module) -> None:
    model.eval()
    look(model)
    model.train()


def write(model: Any) -> None:
    model.body[4].running_mean += 1


def reload(model: nn.Module) -> None:
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def swap_and_back(model: Any) -> None:
    """As an average of weights is evaluated."""
    given = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor * 2)
        evaluate(model)
        for tensor, value in zip(model.state_dict().values(), given.values(), strict=True):
            tensor.copy_(value)


def recalibrate(model: nn.Module) -> None:
    update_bn([images(), images()], model)


def reset_and_recalibrate(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    look(model)


def penalized(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """A gradient penalty: the gradient of a gradient is trained on."""
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(model(x)), x, create_graph=True)
    (loss_of(model(images())) + gradient.square().sum()).backward()
    finish(optimizer)


def accumulating(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    backward(model)
    backward(model)
    finish(optimizer)


class NoGradInside(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.body(x)
        y: Tensor = self.head(x)
        return y


class Teacher(nn.Module):
    """A momentum encoder: it is not trained, and runs under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = Net(), Net().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.teacher(x)
        y: Tensor = self.student(x) - target
        return y


class Auxiliary(Net):
    """A branch runs whose output no loss takes up."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Sequential(nn.Conv2d(5, 5, 1), nn.BatchNorm2d(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        self.auxiliary(x)
        y: Tensor = self.head(x)
        return y


BODY = ("body.1", "body.4")
CASES = [
    case(
        "a look under no_grad",
        Net,
        then(look),
        BODY,
        message="moved 3 times in training mode under no_grad, first after 1 optimizer step",
    ),
    case("a look in inference mode", Net, then(look_in_inference_mode), BODY),
    case(
        "a look with gradients",
        Net,
        then(look_with_gradients),
        BODY,
        message="whose loss reached no backward",
    ),
    case("a gradient that is only measured", Net, then(measure_gradient), BODY),
    case("no_grad within the model", NoGradInside, plain, BODY),
    case("with checkpointing too", lambda: Net(use_reentrant=True), then(look), BODY),
    case("written", Net, then(write), ("body.4",), message="were written 3 times without"),
    case("a plain loop", Net, plain),
    case("accumulation", Net, accumulating),
    case("validation in eval mode", Net, then(evaluate)),
    case("checkpointing", lambda: Net(use_reentrant=False), plain),
    case("reentrant checkpointing", lambda: Net(use_reentrant=True), plain),
    case("weights are loaded", Net, then(reload)),
    case("weights are exchanged for an evaluation", Net, then(swap_and_back)),
    case("recalibration", Net, then(recalibrate)),
    case("recalibration by hand", Net, then(reset_and_recalibrate)),
    case("a gradient penalty", Net, penalized),
    case("a teacher", Teacher, plain),
    case("a branch without a loss", Auxiliary, plain),
]
