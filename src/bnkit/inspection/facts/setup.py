"""Facts about how the model is trained (need T): each is None unless the user gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bnkit.inspection.facts.model import Scalar


@dataclass(frozen=True)
class ParameterGroup:
    """One group of an optimizer.

    Attributes:
        parameters: first names of the model's parameters in it.
        foreign: shapes of tensors in it that the model does not hold.
        options: lr, weight_decay, momentum …
    """

    parameters: tuple[str, ...]
    foreign: tuple[tuple[int, ...], ...]
    options: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def weight_decay(self) -> float:
        """The group's weight decay; 0 if it has none."""
        value = self.options.get("weight_decay", 0)
        return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True)
class OptimizerFacts:
    """An optimizer: its class and its groups."""

    type_name: str
    groups: tuple[ParameterGroup, ...]


@dataclass(frozen=True)
class LoaderFacts:
    """A data loader, read and not iterated.

    Attributes:
        dataset_length: samples of the data set; None if it does not say.
        samples_per_epoch: samples that this process draws in an epoch, by its sampler.
        batch_size: samples of a batch of this process; None if the loader leaves it open.
        drop_last: whether the last, smaller batch is left out.
        batches_per_epoch: length of the loader; None if it does not say.
    """

    dataset_length: int | None
    samples_per_epoch: int | None
    batch_size: int | None
    drop_last: bool
    batches_per_epoch: int | None


@dataclass(frozen=True)
class AveragingFacts:
    """Averaged weights (EMA, SWA).

    Attributes:
        type_name: class of the averaged model.
        averages_buffers: whether running statistics are averaged as the weights are.
        updates: how many models went into the average; None if it does not say.
    """

    type_name: str
    averages_buffers: bool
    updates: int | None


@dataclass(frozen=True)
class SetupFacts:
    """The training set-up.

    Attributes:
        optimizer: from `optimizer=`.
        loader: from `loader=`.
        batch_size: samples per process and step that a forward sees at once: from `batch_size=`,
            else the loader's.
        accumulation_steps: batches per optimizer step, from `accumulation_steps=`.
        total_steps: optimizer steps of the whole training, from `total_steps=`.
        target_dtype: dtype that the model is to run in, such as "float16", from `target_dtype=`.
        conversion: what the model is to be converted to, such as "sync", from `conversion=`.
        averaging: what an averaging wrapper around the model says; None if there is none.
        wrapper: the parallel wrapper, "DistributedDataParallel" or "DataParallel"; else "".
        broadcast_buffers: whether that wrapper sends rank 0's buffers to all before each forward.
        has_process_group: whether a process group is initialized in this process.
        world_size: processes in it; 1 without one.
        rank_differences: path of a batch norm's buffer → largest difference of any rank from rank
            0; None if they were not compared: one process alone, or not all ranks took part.
    """

    optimizer: OptimizerFacts | None = None
    loader: LoaderFacts | None = None
    batch_size: int | None = None
    accumulation_steps: int | None = None
    total_steps: int | None = None
    target_dtype: str | None = None
    conversion: str | None = None
    averaging: AveragingFacts | None = None
    wrapper: str = ""
    broadcast_buffers: bool = False
    has_process_group: bool = False
    world_size: int = 1
    rank_differences: Mapping[str, float] | None = None
