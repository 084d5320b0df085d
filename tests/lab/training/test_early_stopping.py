from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

from bnkit.lab.training.early_stopping import EarlyStopping
from bnkit.lab.training.evaluation import Checkpoint
from bnkit.lab.training.settings import EarlyStoppingSettings
from helpers.training_cases import network, run, settings


def due(metric: str, values: list[float], **keys: Any) -> list[bool]:
    """Return at which checkpoints a trial would end."""
    stopping = EarlyStopping(EarlyStoppingSettings(metric=metric, **keys))
    field = metric.replace(" ", "_")
    checkpoint = Checkpoint(1, 1, 0.5, 0.5, 0.5, 0.5)
    return [stopping.is_due(checkpoint._replace(**{field: value})) for value in values]


def test_patience_counts_checkpoints_without_a_new_best() -> None:
    assert due("test loss", [3, 2, 2, 1, 1.5, 1], patience=2) == [False] * 5 + [True]
    assert due("test accuracy", [0.1, 0.2, 0.2], patience=1) == [False, False, True]
    assert due("train accuracy", [0.1, 0.2, 0.3], patience=1) == [False] * 3


def test_a_change_smaller_than_min_change_is_none() -> None:
    assert due("train loss", [1.0, 0.9, 0.85], patience=1, min_change=0.2) == [False, True, True]
    # Small changes add up: each is held against the best, and not against the one before.
    assert due("train loss", [1.0, 0.9, 0.75], patience=2, min_change=0.2) == [False] * 3


def test_without_settings_no_trial_ends() -> None:
    stopping = EarlyStopping(None)
    assert not any(stopping.is_due(Checkpoint(i, i, 1, 1, 1, 1)) for i in range(9))


def test_a_stopped_run_stands_at_every_later_checkpoint() -> None:
    """Metrics up to the stop are those of a run that goes on; then the last ones stay."""
    reported: list[int] = []
    changes: dict[str, Any] = {"epochs": 4, "optimizer": {"name": "sgd", "lr": 1e-9}}
    free = run(network(), settings(**changes), loss_function=_falling_in_training())
    stopping = {"metric": "test loss", "patience": 2, "min_change": 0.5}
    stopped = run(
        network(),
        settings(early_stopping=stopping, **changes),
        loss_function=_falling_in_training(),
        on_checkpoint=reported.append,
    )
    assert (free.stopped_step, stopped.stopped_step) == (None, 12)
    assert stopped.diverged_step is None
    assert [(c.step, c.epoch) for c in stopped.checkpoints] == [
        (c.step, c.epoch) for c in free.checkpoints
    ]
    assert stopped.checkpoints[:4] == free.checkpoints[:4]
    assert stopped.checkpoints[4][2:] == stopped.checkpoints[3][2:]
    assert free.checkpoints[4][2:] != free.checkpoints[3][2:]
    assert reported == [4, 8, 12, 16]


def _falling_in_training() -> object:
    calls = 0

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += logits.requires_grad
        return F.cross_entropy(logits, labels) - 0.01 * calls

    return loss


def test_a_run_that_stops_above_the_untrained_loss_has_diverged() -> None:
    calls = 0

    def rising(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += logits.requires_grad
        return F.cross_entropy(logits, labels) + calls

    result = run(
        network(), settings(early_stopping={"patience": 1}, epochs=9), loss_function=rising
    )
    assert result.diverged_step == result.stopped_step == 8
    assert len(result.checkpoints) == 3


def test_a_stop_at_the_last_checkpoint_is_none() -> None:
    result = run(
        network(),
        settings(early_stopping={"patience": 2, "min_change": 9.0}, optimizer={"name": "adamw"}),
    )
    assert result.stopped_step is None
    assert len(result.checkpoints) == 4


@pytest.mark.parametrize("patience", [0, True, 1.5])
def test_patience_is_a_whole_number(patience: object) -> None:
    with pytest.raises(ValueError, match="patience"):
        EarlyStoppingSettings.model_validate({"patience": patience})
