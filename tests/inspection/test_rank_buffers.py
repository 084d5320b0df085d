"""Buffers of ranks: none hangs who is alone, and a second check is as good as the first."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import distributed, nn

from bnkit.inspection.rank_buffers import _buffers, _exchange, _Meeting, compare_ranks
from helpers.process_group import check_on_ranks
from helpers.rule_case import conv_net


def meet(store: Any, models: list[nn.Module], wait_seconds: float = 20.0) -> list[Any]:
    found: list[Any] = [None] * len(models)

    def run(rank: int) -> None:
        meeting = _Meeting(store, rank, len(models), wait_seconds)
        found[rank] = _exchange(meeting, _buffers(models[rank]))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_all_ranks_get_the_largest_difference_from_rank_0() -> None:
    models = [conv_net() for _ in range(3)]
    models[1][1].running_mean[2] += 3
    models[2][1].running_mean[0] -= 5
    models[2][4].running_var[0] = math.nan
    found = meet(distributed.HashStore(), models)
    assert found[0] == found[1] == found[2]
    assert found[0]["1.running_mean"] == 5
    assert found[0]["4.running_var"] == math.inf
    assert found[0]["4.running_mean"] == 0


def test_who_came_alone_left_nothing_that_misleads_the_next() -> None:
    store, models = distributed.HashStore(), [conv_net(), conv_net()]
    alone = _exchange(_Meeting(store, 0, 2, 0.1), _buffers(models[0]))
    assert alone is None
    models[0][1].running_mean += 1
    models[1][1].running_mean += 1
    for _ in range(2):
        found = meet(store, models)
        assert found[0] == found[1]
        assert set(found[0].values()) == {0.0}


def test_models_of_other_buffers_differ_without_bounds() -> None:
    found = meet(distributed.HashStore(), [conv_net(), nn.Sequential(nn.BatchNorm2d(3))])
    assert set(found[0].values()) == {math.inf}


def test_without_a_group_there_is_nothing_to_compare() -> None:
    assert compare_ranks(nn.BatchNorm1d(2)) is None
    assert not torch.distributed.is_initialized()


def test_a_check_on_one_rank_alone_comes_back() -> None:
    report = check_on_ranks(select=["BN603"], model=conv_net(), alone=True)
    assert "that all call the check together" in report.not_run[0].reason
