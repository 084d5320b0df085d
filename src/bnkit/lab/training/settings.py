"""The `[training]` table of a study file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Strict: without it pydantic takes true for 1 and "32" for 32.
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SgdSettings(_Table):
    """Stochastic gradient descent, `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: LearningRate
    momentum: Share = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs momentum > 0")
        return self


class AdamSettings(_Table):
    """Adam, `torch.optim.Adam`."""

    name: Literal["adam"]
    lr: LearningRate = 0.001
    betas: tuple[Share, Share] = (0.9, 0.999)


OptimizerSettings = Annotated[SgdSettings | AdamSettings, Field(discriminator="name")]


class TrainingSettings(_Table):
    """How each trial is trained.

    Attributes:
        epochs: passes over the training images. Give this or `steps`.
        steps: optimizer steps. Give this or `epochs`.
        optimizer: `{ name = "sgd", lr = 0.01, momentum = 0.9 }` or `{ name = "adam", lr = 0.001 }`.
        loss: `cross-entropy` on logits, or `file.py:function` of (logits, labels) → scalar.
        validate_every: optimizer steps between checkpoints; default one checkpoint per epoch.
        threads: CPU threads of one trial. More than one may change results in the last digits.
        device: where trials train, in torch's words: `cpu`, `cuda`, `cuda:1`, `mps` …
    """

    epochs: Count | None = None
    steps: Count | None = None
    optimizer: OptimizerSettings
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

    def total_steps(self, examples: int, batch_size: int, drop_last: bool) -> int:
        """Return the number of optimizer steps of a trial over `examples` training images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * steps_per_epoch(examples, batch_size, drop_last)


def steps_per_epoch(examples: int, batch_size: int, drop_last: bool) -> int:
    """Return the number of batches in one pass."""
    return examples // batch_size if drop_last else -(-examples // batch_size)
