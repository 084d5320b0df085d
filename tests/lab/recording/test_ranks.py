"""A data-parallel loop: values are means over the ranks, recorded on the first."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bnkit.lab import Recorder
from bnkit.lab.store import MetricRow
from helpers.process_group import process_group

WORLD = 2
LOSS = nn.functional.mse_loss
PROBES = [{"kind": "gradient-norms", "when": 1}]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 4, generator=generator), torch.randn(8, 1, generator=generator))
        for _ in range(3)
    ]


def rows_of_rank(rank: int, world: int, *, clip: bool) -> list[MetricRow]:
    """Train on a rank's share of each batch, and return what it recorded."""
    wrapped = DistributedDataParallel(model())
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    with Recorder(wrapped, PROBES, loss=LOSS, optimizer=optimizer) as recorder:
        for inputs, targets in data():
            share = inputs[rank::world], targets[rank::world]
            optimizer.zero_grad()
            LOSS(wrapped(share[0]), share[1]).backward()
            if clip:  # then the gradient must be computed again, without the wrapper's hooks
                nn.utils.clip_grad_norm_(wrapped.parameters(), 100.0)
            optimizer.step()
            recorder.step(share)
    return recorder.rows


def expected_norms() -> list[float]:
    network, norms = model(), []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for inputs, targets in data():
        optimizer.zero_grad()
        LOSS(network(inputs), targets).backward()
        norms.append(network[0].weight.grad.norm().item())
        optimizer.step()
    return norms


def first_norms(rows: list[MetricRow]) -> list[float]:
    return [row.value for row in rows if row.layer == "0"]


@pytest.mark.parametrize("clip", [False, True])
def test_a_group_of_one_rank_records_as_a_plain_loop_does(clip: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, process_group(folder):
        rows = rows_of_rank(0, 1, clip=clip)
    assert first_norms(rows) == pytest.approx(expected_norms(), rel=1e-5)


@pytest.mark.slow  # two processes import torch: 6 s
@pytest.mark.parametrize("clip", [False, True])
def test_two_ranks_record_the_gradient_over_both(clip: bool, tmp_path: Path) -> None:
    found: list[Any] = _on_ranks(tmp_path, clip)
    assert first_norms(found[0]) == pytest.approx(expected_norms(), rel=1e-5)
    assert found[1] == []


def _on_ranks(folder: Path, clip: bool) -> list[Any]:
    path = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(folder), str(int(clip))]
    ranks = [subprocess.Popen([*command, str(rank)], env=path) for rank in range(WORLD)]
    assert [rank.wait(120) for rank in ranks] == [0] * WORLD
    return [pickle.loads((folder / f"rows {rank}").read_bytes()) for rank in range(WORLD)]


def _main(folder: str, clip: str, rank: str) -> None:
    with process_group(folder, int(rank), WORLD):
        rows = rows_of_rank(int(rank), WORLD, clip=clip == "1")
        (Path(folder) / f"rows {rank}").write_bytes(pickle.dumps(rows))


if __name__ == "__main__":
    _main(*sys.argv[1:])
