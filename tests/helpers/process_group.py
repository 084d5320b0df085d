"""Checks within a process group: of one process here, or of several that are spawned."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed

import bnkit
from bnkit.inspection import rank_buffers

WORLD = 2


@contextmanager
def process_group(folder: str, rank: int = 0, world: int = 1) -> Iterator[None]:
    store = distributed.FileStore(f"{folder}/store", world)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def check_in_group(**given: Any) -> Any:
    """Check within a group of this process alone; `wrap` is applied to the model there."""
    wrap = given.pop("wrap", None)
    with tempfile.TemporaryDirectory() as folder, process_group(folder):
        if wrap is not None:
            given["model"] = wrap(given["model"])
        return bnkit.check(**given)


def check_on_ranks(*, select: list[str], **given: Any) -> Any:
    """Check on two ranks, of which each alters its model, and return the report of the last.

    Args:
        select: as of `bnkit.check`.
        given: `model`; `shift`, what the rank adds to running_mean of layer "4", times its number;
            `broadcast`: whether DistributedDataParallel broadcasts, or None for none of it;
            `alone`: whether the last rank alone calls the check.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "given").write_bytes(pickle.dumps((select, given)))
        command = [sys.executable, "-m", "helpers.process_group", folder]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        ranks = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(WORLD)]
        codes = [rank.wait(120) for rank in ranks]
        assert codes == [0] * WORLD
        return pickle.loads((Path(folder) / f"report {WORLD - 1}").read_bytes())


def main(folder: str, rank: int) -> None:
    select, given = pickle.loads((Path(folder) / "given").read_bytes())
    model = given["model"]
    with process_group(folder, rank, WORLD):
        if given.get("broadcast") is not None:
            kind = torch.nn.parallel.DistributedDataParallel
            is_renamed = "forward_sync_buffers" in inspect.signature(kind).parameters
            flag = "forward_sync_buffers" if is_renamed else "broadcast_buffers"
            model = kind(model, **{flag: given["broadcast"]})
        layer = getattr(model, "module", model)[4]
        layer.running_mean += rank * given.get("shift", 0.0)
        if given.get("alone"):
            rank_buffers.WAIT_SECONDS = 0.2
        if rank == WORLD - 1 or not given.get("alone"):
            report = bnkit.check(model, select=select)
            (Path(folder) / f"report {rank}").write_bytes(pickle.dumps(report))
        distributed.barrier()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
