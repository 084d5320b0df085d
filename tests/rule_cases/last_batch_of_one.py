from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from helpers.rule_case import RuleCase, conv_net, images, values


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def loader(samples: int, batch_size: int = 8, **options: Any) -> DataLoader[Any]:
    return DataLoader(range(samples), batch_size=batch_size, **options)  # type: ignore[arg-type]


def on_vectors(data: DataLoader[Any], **given: Any) -> dict[str, Any]:
    return {"model": mlp(), "example_args": values(4, 6), "loader": data, **given}


def pooled(data: DataLoader[Any], *, frozen: bool = False) -> dict[str, Any]:
    head = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4))
    model = nn.Sequential(*conv_net(), *head)
    if frozen:
        model[7].eval()
    return {"model": model, "example_args": images(), "loader": data}


def by_batch_sampler() -> DataLoader[Any]:
    batches = BatchSampler(SequentialSampler(range(33)), 8, drop_last=False)
    return DataLoader(range(33), batch_sampler=batches)  # type: ignore[arg-type]


def ranks(samples: int) -> DataLoader[Any]:
    """Two ranks share the samples."""
    data = list(range(samples))
    sampler: Any = torch.utils.data.DistributedSampler(data, num_replicas=2, rank=0)  # type: ignore[arg-type]
    return DataLoader(data, batch_size=8, sampler=sampler)  # type: ignore[arg-type]


CASES = [
    RuleCase(
        "33 by 8",
        lambda: on_vectors(loader(33)),
        layers=("1",),
        message="33 samples in batches of 8 leave one for the last batch",
    ),
    RuleCase("pooled to 1×1", lambda: pooled(loader(17)), layers=("7",)),
    RuleCase("one sample in all", lambda: on_vectors(loader(1)), layers=("1",)),
    RuleCase("a batch sampler", lambda: on_vectors(by_batch_sampler()), layers=("1",)),
    RuleCase("34 on two ranks are 17 each", lambda: on_vectors(ranks(34)), layers=("1",)),
    RuleCase(
        "without an example",
        lambda: on_vectors(loader(33), example_args=None),
        layers=("1",),
        message="if its input is (N, C)",
    ),
    RuleCase("drop_last", lambda: on_vectors(loader(33, drop_last=True))),
    RuleCase("34 by 8", lambda: on_vectors(loader(34))),
    RuleCase("36 on two ranks are 18 each", lambda: on_vectors(ranks(36))),
    RuleCase(
        "maps have many values per sample",
        lambda: {"model": conv_net(), "example_args": images(), "loader": loader(33)},
    ),
    RuleCase("frozen", lambda: pooled(loader(17), frozen=True)),
    RuleCase("batches of one are BN201's", lambda: on_vectors(loader(33, batch_size=1))),
    RuleCase("maps, no example", lambda: {"model": conv_net(), "loader": loader(33)}),
]
