"""Checks within a process group: of one process here, or of several that are spawned."""

from __future__ import annotations

import atexit
import inspect
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import distributed

import bnkit
from bnkit.inspection import rank_buffers

WORLD = 2
WAIT_SECONDS = rank_buffers.WAIT_SECONDS


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
        ranks = _ranks()
        for rank in ranks:
            print(folder, file=rank.stdin, flush=True)
        answers = [rank.stdout.readline() for rank in ranks if rank.stdout is not None]
        assert answers == ["done\n"] * WORLD
        return pickle.loads((Path(folder) / f"report {WORLD - 1}").read_bytes())


@cache
def _ranks() -> list[subprocess.Popen[str]]:
    """Start the processes of all ranks, once: each imports torch, which takes longer than a check.

    A rank reads folders from its input, works on one after the other, and ends with its input.
    """
    command = [sys.executable, "-m", "helpers.process_group"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    ranks = [
        subprocess.Popen([*command, str(rank)], env=environment, stdin=pipe, stdout=pipe, text=True)
        for rank in range(WORLD)
    ]
    for rank in ranks:
        atexit.register(rank.communicate)
    return ranks


def work(folder: str, rank: int) -> None:
    """Do what one call asks of one rank."""
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
        rank_buffers.WAIT_SECONDS = 0.2 if given.get("alone") else WAIT_SECONDS
        if rank == WORLD - 1 or not given.get("alone"):
            report = bnkit.check(model, select=select)
            (Path(folder) / f"report {rank}").write_bytes(pickle.dumps(report))
        distributed.barrier()


def main(rank: int) -> None:
    """Work on the folders that the input names."""
    for line in sys.stdin:
        work(line.rstrip("\n"), rank)
        print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
