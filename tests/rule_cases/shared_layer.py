from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, recalibrated, values


class Pyramid(nn.Module):
    """One head over several levels of a backbone."""

    def __init__(self, *, own_norms: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inside, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
            for inside in (3, 8, 8)
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.tensor(v)) for v in (1.0, 2.0, 4.0))
        self.tower = nn.Conv2d(8, 8, 3, padding=1)
        norms = [nn.BatchNorm2d(8) for _ in range(3 if own_norms else 1)]
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for level, stage in enumerate(self.stages):
            x = stage(x)
            norm = self.norms[level % len(self.norms)]
            found.append(norm(self.tower(x * self.scales[level])))
        return found


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return F.cosine_similarity(self.net(one), self.net(two))


class Steps(nn.Module):
    """Recurrent: BN408's."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = 3 * torch.relu(self.norm(self.cell(x))) + 2
        return x


class OwnNorm(nn.Module):
    """Somebody's batch norm, on the function."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.full((channels,), 0.1))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training
        )


class OfTwoDomains(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, one: Tensor, two: Tensor) -> dict[str, Tensor]:
        return {"one": self.norm(one), "two": self.norm(two)}


def pairs(
    shift: float, scale: float = 1.0, size: int = 64, moved: int = 6
) -> tuple[Tensor, Tensor]:
    one, two = values(size, 6), values(size, 6, seed=1) * scale
    two[:, :moved] += shift
    return one, two


def on(model: nn.Module, *data: Tensor, trained: bool = True) -> dict[str, Any]:
    model = recalibrated(model, data) if trained else model
    return {"model": model, "data": [data]}


def of_domains(
    shift: float, scale: float = 1.0, norm: Any = None, **options: Any
) -> dict[str, Any]:
    layer = nn.BatchNorm1d(6, **options) if norm is None else norm
    return on(OfTwoDomains(layer), *pairs(shift, scale))


def frozen() -> dict[str, Any]:
    given = of_domains(3.0)
    given["model"].train()
    given["model"].norm.eval()
    return given


CASES = [
    RuleCase(
        "a head over scales",
        lambda: on(Pyramid(), values(16, 3, 32, 32)),
        layers=("norms.0",),
        severity="E",
        message="called 3 times per forward",
    ),
    RuleCase(
        "another mean", lambda: of_domains(0.9), ("norm",), "W", "calls 1 and 2, both (64, 6)"
    ),
    RuleCase("far away", lambda: of_domains(2.0), layers=("norm",), severity="E"),
    RuleCase("another scale", lambda: of_domains(0, 1.7), layers=("norm",)),
    RuleCase("no γ and β", lambda: of_domains(0.9, affine=False), layers=("norm",)),
    RuleCase("momentum None", lambda: of_domains(0.9, momentum=None), layers=("norm",)),
    RuleCase("a third of the channels", lambda: on(_two(), *pairs(3.0, moved=2)), ("norm",), "E"),
    RuleCase("siamese on two domains", lambda: on(Siamese(), *pairs(3.0)), ("net.1",), "E"),
    RuleCase("somebody's batch norm", lambda: of_domains(2.0, norm=OwnNorm(6)), ("norm",), "E"),
    RuleCase("a norm per scale", lambda: on(Pyramid(own_norms=True), values(16, 3, 32, 32))),
    RuleCase("siamese on one domain", lambda: on(Siamese(), *pairs(0.0))),
    RuleCase("siamese on few pairs", lambda: on(Siamese(), *pairs(0.0, size=6))),
    RuleCase("one channel of six", lambda: on(_two(), *pairs(3.0, moved=1))),
    RuleCase("recurrent", lambda: on(Steps(), values(64, 6))),
    RuleCase("never trained", lambda: on(_two(), *pairs(3.0), trained=False)),
    RuleCase("frozen", frozen),
    RuleCase("no statistics to share", lambda: of_domains(3.0, track_running_stats=False)),
]


def _two() -> nn.Module:
    return OfTwoDomains(nn.BatchNorm1d(6))
