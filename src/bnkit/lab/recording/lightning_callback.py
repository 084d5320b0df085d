"""Probes in a Lightning training: a callback around the recorder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnkit._extras import require
from bnkit.errors import ProbeError
from bnkit.lab.recording.loop_objective import Closure, LossFunction
from bnkit.lab.recording.recorder import ProbeLike, Recorder

# `lightning` and `pytorch_lightning` are two copies of one package: the one in use is meant.
if "lightning.pytorch" in sys.modules:
    from lightning.pytorch.callbacks import Callback  # type: ignore[import-not-found]
else:
    require("lightning")
    from pytorch_lightning.callbacks import Callback

_LOGGING = ("log", "log_dict")


class ProbeCallback(Callback):  # type: ignore[misc]
    """Runs probes in `Trainer.fit`; the training goes on as without it, to the last bit.

        probes = [{"kind": "gradient-norms", "when": 100}]
        trainer = Trainer(callbacks=[ProbeCallback(probes, out="runs/mine")])

    Every record goes to the trainer's loggers too. The recorder is `callback.recorder` afterwards.

    Args:
        probes: as `Recorder` takes them.
        loss, closure: as `Recorder` takes them; without either, the loss of a step is taken again
            by the module's own `training_step`, whose logging is silent then.
        held_out, training, out, arm, seed, name: as `Recorder` takes them.

    Raises:
        ProbeError: at the start of `fit`: a probe, an option or a layer that does not exist, or a
            module that steps its optimizers itself, whose `training_step` cannot be run again.
    """

    def __init__(
        self,
        probes: list[ProbeLike] | ProbeLike,
        *,
        loss: LossFunction | None = None,
        closure: Closure | None = None,
        held_out: Any = None,
        training: Any = None,
        out: str | Path | None = None,
        arm: str = "model",
        seed: int = 0,
        name: str = "recording",
    ) -> None:
        super().__init__()
        self.recorder: Recorder | None = None
        self._probes, self._loss, self._closure = probes, loss, closure
        self._given = {
            "held_out": held_out,
            "training": training,
            "out": out,
            "arm": arm,
            "seed": seed,
            "name": name,
        }
        self._batches: list[Any] = []
        self._steps = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to record."""
        closure = self._closure
        if self._loss is None and closure is None:
            closure = _training_step(trainer, pl_module)
        self.recorder = Recorder(
            trainer.strategy.model,
            self._probes,
            loss=self._loss,
            closure=closure,
            optimizer=trainer.optimizers[0] if trainer.optimizers else None,
            writer=_Loggers(trainer),
            **self._given,
        )
        self._batches, self._steps = [], trainer.global_step
        self.recorder.__enter__()

    def on_train_batch_start(self, *told: Any) -> None:
        """Keep what the step begins with. Told: trainer, module, batch, its index."""
        if not self._batches and self.recorder is not None:
            self.recorder.begin()
        self._batches.append(told[2])

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Record the optimizer's step, if this batch ended one."""
        if trainer.global_step == self._steps or self.recorder is None:
            return
        self._steps = trainer.global_step
        batches, self._batches = self._batches, []
        self.recorder.step(*batches)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Record what is due at the end of an epoch."""
        if self.recorder is not None:
            self.recorder.end_epoch()

    def on_train_end(self, *_: Any) -> None:
        """End, and keep the recording."""
        self._leave(None)

    def on_exception(self, *told: Any) -> None:
        """Keep what was recorded. Told: trainer, module, exception."""
        self._leave(told[-1])

    def _leave(self, error: BaseException | None) -> None:
        if self.recorder is not None and self.recorder.is_open:
            self.recorder.__exit__(None if error is None else type(error), error, None)


class _Loggers:
    """The trainer's loggers, as a recorder's writer."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        for logger in self._trainer.loggers:
            logger.log_metrics({tag: scalar_value}, step=global_step)


def _training_step(trainer: Any, pl_module: Any) -> Closure:
    """Return the module's training step as a closure, silent and in the trainer's precision."""
    if not pl_module.automatic_optimization:
        raise ProbeError(
            f"{type(pl_module).__name__} steps its optimizers in training_step",
            required="a loss that can be taken again without a step",
            remedy="Give loss=function(output, target) or closure=function(module, batch)",
        )

    def closure(network: nn.Module, batch: Any) -> Tensor:
        with _silent(network), trainer.precision_plugin.train_step_context():
            found = network.training_step(batch, 0)  # type: ignore[operator]
        loss: Tensor = found["loss"] if isinstance(found, Mapping) else found
        return loss

    return closure


@contextmanager
def _silent(network: nn.Module) -> Iterator[None]:
    own = {name: vars(network)[name] for name in _LOGGING if name in vars(network)}
    for name in _LOGGING:
        object.__setattr__(network, name, _log_nothing)
    try:
        yield
    finally:
        for name in _LOGGING:
            object.__delattr__(network, name)
        for name, value in own.items():
            object.__setattr__(network, name, value)


def _log_nothing(*_: Any, **__: Any) -> None:
    """Log nothing: a step that is run again was logged before."""
