from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, recalibrated, values

PHOTOS, DRAWINGS = values(64, 3, 8, 8), values(64, 3, 8, 8, seed=1)


def trained(
    shift: float, *, per_domain: bool = False, domains: int = 2, ready: bool = True
) -> dict[str, Any]:
    """A network on photos and drawings that are so much brighter."""
    sets = [PHOTOS, DRAWINGS + shift, DRAWINGS - shift][:domains]
    model = nn.Sequential(nn.BatchNorm2d(3), *conv_net())
    batches = sets if per_domain else [torch.cat(sets)]
    names = ("photos", "drawings", "sketches")
    return {
        "model": recalibrated(model, *batches) if ready else model,
        "data": torch.cat(sets),
        "domains": dict(zip(names, sets, strict=False)),
    }


class OwnNorms(nn.Module):
    """A batch norm for dark images and one for bright ones."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[int(x.mean() > 5)](x)


def own_norms() -> dict[str, Any]:
    given = trained(10.0)
    model = recalibrated(OwnNorms(), *given["domains"].values())
    return given | {"model": model, "data": [PHOTOS, DRAWINGS + 10]}


def vectors(shift: float, rows: int) -> dict[str, Any]:
    near, far = values(rows, 8), values(rows, 8, seed=1) + shift
    model = recalibrated(nn.Sequential(nn.BatchNorm1d(8)), torch.cat([near, far]))
    return {"model": model, "data": torch.cat([near, far]), "domains": {"near": near, "far": far}}


CASES = [
    RuleCase(
        "far apart",
        lambda: trained(4.0),
        layers=("0",),
        message="of its input lies between the domains photos, drawings (median over the channels)",
    ),
    RuleCase(
        "trained per domain",
        lambda: trained(4.0, per_domain=True),
        layers=("0",),
        message="it was trained on batches of one domain each",
    ),
    RuleCase("three domains", lambda: trained(4.0, domains=3), layers=("0",)),
    RuleCase("vectors", lambda: vectors(3.0, 40), layers=("0",)),
    RuleCase("close together", lambda: trained(1.0)),
    RuleCase("a norm per domain", own_norms),
    RuleCase("never trained", lambda: trained(4.0, ready=False)),
    RuleCase("three rows of one domain", lambda: vectors(0.0, 3)),
]
