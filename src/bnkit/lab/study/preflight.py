"""What would fail in training is found before anything is trained or written."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import NetworkError, StudyError
from bnkit.lab.data import Dataset
from bnkit.lab.study.random_state import seed_everything, seeded
from bnkit.lab.study.trial import (
    EXAMPLE_SIZE,
    TrialJob,
    build_arm,
    build_as_given,
    computation_of,
    loss_function,
    repeatable,
)
from bnkit.lab.training import Computation


def check_device(name: str) -> None:
    """Raise `StudyError` unless tensors can be made on the device."""
    try:
        # item() shows that values come back: the device "meta" makes tensors that hold none.
        torch.zeros(1, device=torch.device(name)).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise StudyError(
            f"training.device = {name!r} cannot be used ({reason})",
            required="a device that this torch and this machine have",
            remedy="Use --device cpu",
        ) from error


def check_job(job: TrialJob, dataset: Dataset) -> None:
    """Build one trial's network, run it forwards and backwards on a batch, and check what it gives.

    Raises:
        NetworkError: the network does not fit the data, the arm or the loss.
        StudyError: the data cannot be cut into batches that train.
    """
    settings = job.trial.settings
    device = torch.device(settings.training.device)
    computation = computation_of(job)
    with repeatable(settings.training), seeded(job.trial.seed):
        images, labels = _first_batch(job, dataset, device, computation)
        _check_as_given(job, dataset, images, computation)
        network = build_arm(job, dataset, images[:EXAMPLE_SIZE]).rewrite.model
        where = f"network {settings.network.name}, arm {job.trial.arm!r}"
        _check_copy(network, where)
        logits = _forward(network, images, where, computation, training=True)
        _check_logits(logits, len(images), dataset.classes, where)
        in_eval = _forward(network, images, where, computation, training=False)
        _check_logits(in_eval, len(images), dataset.classes, where)
        _check_loss(settings.training.loss, network, logits, labels, where)
        _check_last_batch(job, dataset, images, network, computation)


def _first_batch(
    job: TrialJob, dataset: Dataset, device: torch.device, computation: Computation
) -> tuple[Tensor, Tensor]:
    batch_size = job.trial.settings.data.batch_size
    images, labels = dataset.train_images[:batch_size], dataset.train_labels[:batch_size]
    try:
        return (
            torch.tensor(images, device=device, dtype=computation.data_dtype),
            torch.tensor(labels, device=device),
        )
    except (RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise StudyError(
            f"training.precision = {computation.name!r} cannot be used on {device} ({reason})",
            required="a precision that the device computes in",
            remedy='Use training.precision = "float32"',
        ) from error


def _check_as_given(
    job: TrialJob, dataset: Dataset, images: Tensor, computation: Computation
) -> None:
    """Check that the builder gives a new network each time, equal under one seed, that runs."""
    where = f"network {job.trial.settings.network.name}"
    built = []
    for _ in range(2):
        seed_everything(job.trial.seed)
        built.append(build_as_given(job, dataset, images[:EXAMPLE_SIZE]))
    network, again = built
    if isinstance(network, torch.jit.ScriptModule):
        raise NetworkError(
            "is a ScriptModule, whose layers cannot be exchanged",
            required="a plain module",
            remedy="Return the module before torch.jit compiles it",
            where=where,
        )
    known = {id(parameter) for parameter in network.parameters()}
    if again is network or any(id(parameter) in known for parameter in again.parameters()):
        raise NetworkError(
            "returned the same module, or the same parameters, twice",
            required="a study builds a new network for every trial",
            remedy="Construct the module inside the function",
            where=where,
        )
    _check_equal_weights(network, again, where)
    for training in (True, False):
        _forward(network, images, where, computation, training=training)


def _check_equal_weights(network: nn.Module, again: nn.Module, where: str) -> None:
    others = again.state_dict()
    for key, value in network.state_dict().items():
        if isinstance(value, Tensor) and not torch.equal(value, others[key]):
            raise NetworkError(
                f"has other values of {key} when it is built again under the same seed",
                required="arms start from equal weights, so the seed must determine them",
                remedy="Draw random numbers from torch, numpy.random or random, which are seeded, "
                "and not from a generator of its own",
                where=where,
            )


def _check_copy(network: nn.Module, where: str) -> None:
    try:
        copy.deepcopy(network)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"cannot be copied ({type(error).__name__}: {error})",
            required="its untrained state is measured on a copy",
            remedy="Make it work with copy.deepcopy; torch.nn.utils.parametrizations do, "
            "the older torch.nn.utils.weight_norm and spectral_norm do not",
            where=where,
        ) from error


def _forward(
    network: nn.Module, images: Tensor, where: str, computation: Computation, *, training: bool
) -> Any:
    try:
        return computation.run(network.train(training), images)
    except (Exception, SystemExit) as error:
        mode = "training" if training else "eval"
        raise NetworkError(
            f"raised {type(error).__name__} in {mode} mode on a batch of shape "
            f"{tuple(images.shape)}: {error}",
            required=f"it must take {computation.name} batches of the data's shape, in both modes",
            remedy="Mend it, build it from input_shape, or change the data (data.image_size, "
            "data.colour, data.batch_size)",
            where=where,
        ) from error


def _check_logits(logits: Any, examples: int, classes: int, where: str) -> None:
    if not isinstance(logits, Tensor):
        raise NetworkError(
            f"returned a {type(logits).__name__}",
            required=f"one tensor of logits, shape ({examples}, {classes})",
            remedy="Wrap it in a module that returns the logits alone",
            where=where,
        )
    if logits.ndim != 2 or logits.shape[0] != examples or logits.shape[1] < classes:
        raise NetworkError(
            f"returned shape {tuple(logits.shape)} for {examples} images",
            required=f"logits of shape ({examples}, {classes}), one per class of the data",
            remedy="Build its last layer from classes",
            where=where,
        )


def _check_loss(name: str, network: nn.Module, logits: Tensor, labels: Tensor, where: str) -> None:
    function = loss_function(name)
    try:
        loss = function(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"training.loss = {name!r} raised {type(error).__name__}: {error}",
            required="a function of (logits, labels) that returns a scalar tensor with a gradient",
            where=where,
        ) from error
    if not any(parameter.grad is not None for parameter in network.parameters()):
        raise NetworkError(
            "has no parameter that the loss depends on",
            required="at least one parameter that requires a gradient",
            where=where,
        )


def _check_last_batch(
    job: TrialJob, dataset: Dataset, images: Tensor, network: nn.Module, computation: Computation
) -> None:
    data = job.trial.settings.data
    rest = len(dataset.train_labels) % data.batch_size
    if rest != 1 or data.drop_last:
        return
    try:
        computation.run(network.train(), images[:1])
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"the last batch of an epoch holds one image ({len(dataset.train_labels)} training "
            f"images in batches of {data.batch_size}), and the network cannot train on it: {error}",
            required="every batch must train, in all arms alike",
            remedy="Set data.drop_last = true, or choose another data.batch_size",
        ) from error


def distinct_arms(jobs: Iterable[TrialJob]) -> list[TrialJob]:
    """Return one job for each arm and grid point: those whose networks can differ."""
    seen: dict[str, TrialJob] = {}
    for job in jobs:
        seen.setdefault(f"{job.trial.arm} {sorted(job.trial.grid.items(), key=str)}", job)
    return list(seen.values())
