"""Optimizer, loader and wrappers as facts; nothing is iterated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from bnkit.errors import CheckError
from bnkit.inspection.facts.setup import SetupFacts
from bnkit.inspection.read_setup import read_setup
from bnkit.inspection.walk import walk
from helpers.process_group import process_group


def setup_of(model: nn.Module, **given: Any) -> SetupFacts:
    return read_setup(model, walk(model), **given)


def test_groups_name_the_model_s_parameters_and_show_foreign_tensors() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model[0].parameters()), "weight_decay": 0.1},
            {"params": [model[1].weight, nn.Parameter(torch.ones(2))], "weight_decay": 0.0},
        ]
    )
    found = setup_of(model, optimizer=optimizer).optimizer
    assert found is not None
    assert found.type_name == "AdamW"
    first, second = found.groups
    assert (first.parameters, first.weight_decay) == (("0.weight", "0.bias"), 0.1)
    assert (second.parameters, second.foreign) == (("1.weight",), ((2,),))
    assert second.options["betas"] == (0.9, 0.999)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        raise AssertionError("a loader is read and not iterated")


@pytest.mark.parametrize(
    ("loader", "facts"),
    [
        (DataLoader(TensorDataset(torch.ones(10)), batch_size=4), (10, 10, 4, False, 3)),
        (
            DataLoader(TensorDataset(torch.ones(10)), batch_size=4, drop_last=True),
            (10, 10, 4, True, 2),
        ),
        (DataLoader(Stream(), batch_size=4), (None, None, 4, False, None)),
        ([1, 2], (None, None, None, False, 2)),
    ],
)
def test_loaders_are_read(loader: Any, facts: tuple[Any, ...]) -> None:
    found = setup_of(nn.BatchNorm1d(2), loader=loader)
    assert found.loader is not None
    assert tuple(vars(found.loader).values()) == facts
    assert found.batch_size == facts[2]


def test_a_batch_size_that_is_given_counts_before_the_loader_s() -> None:
    loader = DataLoader(TensorDataset(torch.ones(10)), batch_size=4)
    assert setup_of(nn.BatchNorm1d(2), loader=loader, batch_size=2).batch_size == 2


def test_wrappers_and_dtypes() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(nn.BatchNorm1d(2), use_buffers=True)
    found = setup_of(averaged, target_dtype=torch.float16)
    assert found.averaging is not None
    assert found.averaging.averages_buffers
    assert found.target_dtype == "float16"
    assert setup_of(nn.DataParallel(nn.BatchNorm1d(2))).wrapper == "DataParallel"
    assert (found.has_process_group, found.world_size) == (False, 1)


def test_whether_buffers_are_broadcast(tmp_path: Path) -> None:
    with process_group(str(tmp_path)):
        model = nn.parallel.DistributedDataParallel(nn.BatchNorm1d(2))
        found = setup_of(model)
        assert (found.wrapper, found.broadcast_buffers) == ("DistributedDataParallel", True)
        assert (found.has_process_group, found.world_size) == (True, 1)
        assert not setup_of(model.module).broadcast_buffers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"optimizer": 3}, "optimizer is a int without param_groups"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        setup_of(nn.BatchNorm1d(2), **given)
