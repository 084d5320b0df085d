"""The `[training]` table of a study file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# Strict: without it pydantic takes true for 1 and "32" for 32.
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
CountOrNone = Annotated[int, Field(ge=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Unit = Literal["epochs", "steps"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(value: Any) -> Any:
    """Return a table that needs no key but its name as that table: "cosine" is { name = … }."""
    return {"name": value} if isinstance(value, str) else value


class SgdSettings(_Table):
    """Stochastic gradient descent, `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: LearningRate
    momentum: Share = 0.0
    nesterov: Flag = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs momentum > 0")
        return self


class AdamSettings(_Table):
    """Adam, `torch.optim.Adam`; its weight decay is added to the gradient."""

    name: Literal["adam"]
    lr: LearningRate = 0.001
    betas: tuple[Share, Share] = (0.9, 0.999)


class AdamWSettings(_Table):
    """AdamW, `torch.optim.AdamW`: Adam whose weight decay does not pass through the moments."""

    name: Literal["adamw"]
    lr: LearningRate = 0.001
    betas: tuple[Share, Share] = (0.9, 0.999)


OptimizerSettings = Annotated[
    SgdSettings | AdamSettings | AdamWSettings, Field(discriminator="name")
]


class ConstantSchedule(_Table):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"


class StepSchedule(_Table):
    """The learning rate times `factor` after every `every` epochs or steps."""

    name: Literal["step"]
    every: Count
    unit: Unit = "epochs"
    factor: Positive = 0.1


class CosineSchedule(_Table):
    """A linear warm-up, then half a cosine down to `final` times the learning rate.

    Attributes:
        warmup: how long the learning rate rises, in `unit`; 0 starts at the full rate.
        unit: `epochs` or `steps`, of `warmup`.
        final: share of the learning rate that the cosine ends at.
    """

    name: Literal["cosine"]
    warmup: CountOrNone = 0
    unit: Unit = "epochs"
    final: Share = 0.0


ScheduleSettings = Annotated[
    Annotated[ConstantSchedule | StepSchedule | CosineSchedule, Field(discriminator="name")],
    BeforeValidator(_named),
]


class EarlyStoppingSettings(_Table):
    """When a trial stops before its time.

    Attributes:
        metric: what must improve: a loss falls, an accuracy rises.
        patience: how many checkpoints in a row may pass without a new best value.
        min_change: how much better than the best a value must be to be a new best.
    """

    metric: Literal["train loss", "train accuracy", "test loss", "test accuracy"] = "test loss"
    patience: Count
    min_change: NotNegative = 0.0


class TrainingSettings(_Table):
    """How each trial is trained.

    Attributes:
        epochs: passes over the training images. Give this or `steps`.
        steps: optimizer steps. Give this or `epochs`.
        optimizer: `{ name = "sgd", lr = 0.01, momentum = 0.9 }`, or `adam`, or `adamw`.
        reference_batch: the batch size that `lr` is meant for: the rate is `lr` times the examples
            of a step over this number. None takes `lr` as it is.
        schedule: how the learning rate changes; it depends on the step alone.
        weight_decay: of all weights but those of normalization layers.
        decay_norm: whether γ and β of normalization layers decay too.
        accumulate: batches per optimizer step; their gradients are averaged over the examples.
        clip_norm: the largest l2 norm of the whole gradient, to which a larger one is shortened.
        precision: `float32`; `bfloat16` or `float16` (autocast, weights stay float32); `float64`
            (weights and data).
        memory_format: `contiguous`, or `channels-last`, in which convolutions on CPUs are often
            faster; it changes the last digits.
        early_stopping: ends a trial whose metric no longer improves.
        loss: `cross-entropy` on logits, or `file.py:function` of (logits, labels) → scalar.
        validate_every: optimizer steps between checkpoints; default one checkpoint per epoch.
        threads: CPU threads of one trial. More than one may change results in the last digits.
        device: where trials train, in torch's words: `cpu`, `cuda`, `cuda:1`, `mps` …
    """

    epochs: Count | None = None
    steps: Count | None = None
    optimizer: OptimizerSettings
    reference_batch: Count | None = None
    schedule: ScheduleSettings = Field(default_factory=ConstantSchedule)
    weight_decay: NotNegative = 0.0
    decay_norm: Flag = False
    accumulate: Count = 1
    clip_norm: Positive | None = None
    precision: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    memory_format: Literal["contiguous", "channels-last"] = "contiguous"
    early_stopping: EarlyStoppingSettings | None = None
    loss: Annotated[str, Field(min_length=1)] = "cross-entropy"
    validate_every: Count | None = None
    threads: Count = 1
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "cpu"

    @model_validator(mode="after")
    def _known_loss(self) -> Self:
        if self.loss != "cross-entropy" and ":" not in self.loss:
            raise ValueError(
                f"training.loss = {self.loss!r}; it must be 'cross-entropy' or file.py:function"
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give training.epochs or training.steps, and not both")
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        schedule = self.schedule
        if not isinstance(schedule, CosineSchedule):
            return self
        length = self.epochs if schedule.unit == "epochs" else self.steps
        if length is not None and schedule.warmup >= length:
            raise ValueError(
                f"training.schedule.warmup = {schedule.warmup} {schedule.unit} of {length}; "
                "it must be shorter than the training"
            )
        return self

    @model_validator(mode="after")
    def _decay_norm_needs_decay(self) -> Self:
        if self.decay_norm and self.weight_decay == 0:
            raise ValueError("training.decay_norm = true needs training.weight_decay > 0")
        return self

    def for_batch_size(self, batch_size: int) -> Self:
        """Return the settings with the learning rate that batches of this size are trained with.

        lr · batch_size · accumulate / reference_batch

        Source: Goyal et al. 2017, the linear scaling rule.
        """
        if self.reference_batch is None:
            return self
        share = batch_size * self.accumulate / self.reference_batch
        optimizer = self.optimizer.model_copy(update={"lr": self.optimizer.lr * share})
        return self.model_copy(update={"optimizer": optimizer, "reference_batch": None})

    def steps_per_epoch(self, examples: int, batch_size: int, drop_last: bool) -> int:
        """Return the optimizer steps of one pass over `examples` training images."""
        return -(-batches_per_epoch(examples, batch_size, drop_last) // self.accumulate)

    def total_steps(self, examples: int, batch_size: int, drop_last: bool) -> int:
        """Return the number of optimizer steps of a trial over `examples` training images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * self.steps_per_epoch(examples, batch_size, drop_last)


def batches_per_epoch(examples: int, batch_size: int, drop_last: bool) -> int:
    """Return the number of batches in one pass."""
    return examples // batch_size if drop_last else -(-examples // batch_size)
