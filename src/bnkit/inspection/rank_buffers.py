"""Buffers of batch norms held against those of the other ranks, without a collective.

A collective that only one rank calls hangs, and breaks its process group. So ranks meet in the
key-value store that the group was made with: who is alone there gives up after some seconds.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_POLL_SECONDS = 0.02
WAIT_SECONDS = 15.0
Buffers = dict[str, list[float]]


def compare_ranks(model: nn.Module) -> Mapping[str, float] | None:
    """Return path of a batch norm's buffer → largest difference of any rank from rank 0.

    Every rank of the default process group has to call it at about the same time, and each gets
    the same answer. A buffer of other shape, or that a rank lacks, differs by inf, as NaN does.

    Args:
        model: the model of this rank; only read.

    Returns:
        None if there is no process group of several ranks, its store cannot be reached, or not
        all ranks came within 15 s.

    Cost: the buffers of rank 0 pass through the store once for each rank.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    world, rank = distributed.get_world_size(), distributed.get_rank()
    store = _store() if world > 1 else None
    if store is None:
        return None
    try:
        return _exchange(_Meeting(store, rank, world, WAIT_SECONDS), _buffers(model))
    except (RuntimeError, NotImplementedError):
        return None  # the store is gone, or a rank died on the way


def _store() -> Any:
    try:
        home: Any = distributed.distributed_c10d
        return home.PrefixStore("bnkit", home._get_default_store())
    except (AttributeError, ValueError, RuntimeError, TypeError):
        return None


class _Meeting:
    """All ranks at one place of the store; rounds are numbered, and count when all came."""

    def __init__(self, store: Any, rank: int, world: int, wait_seconds: float) -> None:
        self.store, self.rank, self.world = store, rank, world
        self.deadline = time.monotonic() + wait_seconds
        self.timeout = timedelta(seconds=wait_seconds)
        self.round = int(store.add(f"rounds of {rank}", 0))

    def is_complete(self) -> bool:
        """Wait for the others; whoever leaves takes its arrival back."""
        arrived, everybody = f"{self.round}/arrived", f"{self.round}/everybody"
        if self.store.add(arrived, 1) == self.world:
            self.store.set(everybody, "1")
        while not self.store.check([everybody]):
            if time.monotonic() > self.deadline:
                # If all had arrived before this one left, the others go on and it must too.
                if self.store.add(arrived, -1) < self.world - 1:
                    return False
                self.store.wait([everybody], self.timeout)
                break
            time.sleep(_POLL_SECONDS)
        self.store.add(f"rounds of {self.rank}", 1)
        return True

    def tell(self, name: str, value: Any) -> None:
        self.store.set(f"{self.round}/{name}", json.dumps(value))

    def hear(self, name: str) -> Any:
        key = f"{self.round}/{name}"
        self.store.wait([key], self.timeout)
        return json.loads(self.store.get(key))


def _exchange(meeting: _Meeting, own: Buffers) -> Mapping[str, float] | None:
    if not meeting.is_complete():
        return None
    if meeting.rank == 0:
        meeting.tell("buffers", own)
    first: Buffers = meeting.hear("buffers")
    meeting.tell(f"differences of {meeting.rank}", _differences(first, own))
    found = dict.fromkeys(first, 0.0)
    for rank in range(meeting.world):
        for path, value in meeting.hear(f"differences of {rank}").items():
            found[path] = max(found.get(path, 0.0), value)
    return found


def _buffers(model: nn.Module) -> Buffers:
    found: Buffers = {}
    for path, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            for name in _BUFFERS:
                tensor = layer._buffers.get(name)
                if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                    values = tensor.detach().double().cpu().flatten().tolist()
                    found[f"{path}.{name}" if path else name] = values
    return found


def _differences(first: Buffers, own: Buffers) -> dict[str, float]:
    found = {}
    for path in {**first, **own}:
        one, other = first.get(path), own.get(path)
        if one is None or other is None or len(one) != len(other):
            found[path] = math.inf
        elif one:
            largest = float(np.abs(np.subtract(one, other)).max())
            found[path] = math.inf if math.isnan(largest) else largest
    return found
