"""Optimizer, loader and process → facts about the training set-up; nothing is iterated or run."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import torch
from torch import distributed, nn

from bnkit.errors import CheckError
from bnkit.inspection.facts.model import ModelFacts
from bnkit.inspection.facts.setup import (
    AveragingFacts,
    LoaderFacts,
    OptimizerFacts,
    ParameterGroup,
    SetupFacts,
)
from bnkit.inspection.options import as_scalar, dtype_name, is_scalar

_PARALLEL = ("DistributedDataParallel", "DataParallel")


def read_setup(
    model: nn.Module,
    facts: ModelFacts,
    *,
    optimizer: Any = None,
    loader: Any = None,
    batch_size: int | None = None,
    accumulation_steps: int | None = None,
    total_steps: int | None = None,
    target_dtype: torch.dtype | str | None = None,
    conversion: str | None = None,
) -> SetupFacts:
    """Return the facts of the training set-up; what was not given is None.

    Raises:
        CheckError: something given cannot be what it stands for.
    """
    for name, count in (
        ("batch_size", batch_size),
        ("accumulation_steps", accumulation_steps),
        ("total_steps", total_steps),
    ):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise CheckError(f"{name} is {count!r}", required="it must be a whole number above 0")
    read = None if loader is None else _loader(loader)
    if batch_size is None and read is not None:
        batch_size = read.batch_size
    has_group = distributed.is_available() and distributed.is_initialized()
    return SetupFacts(
        optimizer=None if optimizer is None else _optimizer(model, optimizer),
        loader=read,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        total_steps=total_steps,
        target_dtype=None if target_dtype is None else _dtype(target_dtype),
        conversion=conversion,
        averaging=_averaging(model),
        wrapper=next((name for name in facts.wrappers if name in _PARALLEL), ""),
        broadcast_buffers=broadcasts_buffers(model),
        has_process_group=has_group,
        world_size=distributed.get_world_size() if has_group else 1,
    )


def broadcasts_buffers(model: nn.Module) -> bool:
    """Return whether DistributedDataParallel sends rank 0's buffers to all before each forward."""
    # torch 2.13 calls the flag forward_sync_buffers, and still answers to its old name.
    return any(
        bool(getattr(module, "broadcast_buffers", False))
        for module in model.modules()
        if isinstance(module, nn.parallel.DistributedDataParallel)
    )


def _optimizer(model: nn.Module, optimizer: Any) -> OptimizerFacts:
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list) or not all("params" in group for group in groups):
        raise CheckError(
            f"optimizer is a {type(optimizer).__name__} without param_groups",
            required="an optimizer as of torch.optim",
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return OptimizerFacts(
        type(optimizer).__name__,
        tuple(
            ParameterGroup(
                tuple(names[id(held)] for held in group["params"] if id(held) in names),
                tuple(tuple(held.shape) for held in group["params"] if id(held) not in names),
                {
                    key: as_scalar(value)
                    for key, value in group.items()
                    if key != "params" and is_scalar(value)
                },
            )
            for group in groups
        ),
    )


def _loader(loader: Any) -> LoaderFacts:
    batches = getattr(loader, "batch_sampler", None)
    size = getattr(loader, "batch_size", None)
    size = getattr(batches, "batch_size", None) if size is None else size
    sampler = getattr(batches, "sampler", None) or getattr(loader, "sampler", None)
    return LoaderFacts(
        dataset_length=_length(getattr(loader, "dataset", None)),
        samples_per_epoch=_length(sampler),
        batch_size=size if isinstance(size, int) else None,
        drop_last=bool(getattr(batches, "drop_last", getattr(loader, "drop_last", False))),
        batches_per_epoch=_length(loader),
    )


def _length(value: Any) -> int | None:
    try:
        return len(value) if isinstance(value, Sized) else None
    except (TypeError, NotImplementedError):  # an iterable data set, and what samples it
        return None


def _averaging(model: Any) -> AveragingFacts | None:
    if not isinstance(model, torch.optim.swa_utils.AveragedModel):
        return None
    count = model.n_averaged
    return AveragingFacts(
        type(model).__name__, bool(model.use_buffers), None if count is None else int(count)
    )


def _dtype(given: Any) -> str:
    dtype = getattr(torch, given, None) if isinstance(given, str) else given
    if not isinstance(dtype, torch.dtype):
        raise CheckError(
            f"target_dtype is {given!r}", required='it must be a dtype, such as "float16"'
        )
    return dtype_name(dtype)
