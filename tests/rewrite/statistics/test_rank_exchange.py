"""Recalibration over the ranks of a process group: the statistics of all, on each."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.rewrite.statistics.rank_exchange import on_all_ranks
from helpers.process_group import process_group

WORLD = 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.SyncBatchNorm(4)
    ).double()


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = (8, 5, 9)
    return [torch.randn(n, 3, generator=generator, dtype=torch.float64) + n for n in sizes]


def report(call: Any) -> Any:
    try:
        return {key: value.clone() for key, value in call().model.state_dict().items()}
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main(folder: str, rank: int) -> None:
    """Recalibrate with uneven data, on one rank alone with data, and with a failure on rank 1."""
    data = batches()
    mine = data[:2] if rank == 0 else data[2:]
    bad = [torch.randn(4, 7).double()] if rank == 1 else mine
    with process_group(folder, rank, WORLD):
        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(*list(network())[:3]))
        found = {
            "uneven": report(lambda: bnkit.recalibrate(network(), mine)),
            "sequential": report(lambda: bnkit.recalibrate(network(), mine, sequential=True)),
            "one rank": report(lambda: bnkit.recalibrate(network(), data if rank else [])),
            "no data": report(lambda: bnkit.recalibrate(network(), [])),
            "failure": report(lambda: bnkit.recalibrate(network(), bad)),
            "wrapped": report(lambda: bnkit.recalibrate(wrapped, mine, inplace=True)),
        }
    (Path(folder) / f"found {rank}").write_bytes(pickle.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, str(folder)]
    running = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(WORLD)]
    assert [process.wait(120) for process in running] == [0] * WORLD
    return [pickle.loads((folder / f"found {rank}").read_bytes()) for rank in range(WORLD)]


@pytest.mark.parametrize(
    ("case", "options"), [("uneven", {}), ("sequential", {"sequential": True})]
)
def test_each_rank_gets_the_statistics_of_all(
    ranks: list[dict[str, Any]], case: str, options: dict[str, Any]
) -> None:
    expected = bnkit.recalibrate(network(), batches(), **options).model.state_dict()
    for found in ranks:
        for key, value in expected.items():
            torch.testing.assert_close(found[case][key], value, rtol=1e-12, atol=1e-12)


def test_a_rank_without_data_gets_them_too(ranks: list[dict[str, Any]]) -> None:
    expected = bnkit.recalibrate(network(), batches()).model.state_dict()
    for found in ranks:
        torch.testing.assert_close(found["one rank"]["3.running_var"], expected["3.running_var"])


def test_no_rank_waits_for_one_that_failed(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["failure"].startswith("RewriteError: rank 1 failed: ForwardError: 0: forward")
    assert ranks[1]["failure"].startswith("ForwardError: 0: forward raised")
    assert all("data holds no batch" in found["no data"] for found in ranks)


def test_wrapped_models_run_without_their_wrapper(ranks: list[dict[str, Any]]) -> None:
    expected = bnkit.recalibrate(network(), batches()).model.state_dict()
    for found in ranks:
        torch.testing.assert_close(
            found["wrapped"]["module.1.running_mean"], expected["1.running_mean"]
        )


def test_without_a_group_a_function_is_called_here() -> None:
    assert on_all_ranks(lambda: 3) == [3]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
