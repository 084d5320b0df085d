"""The train/eval gap against both modes run by hand, and a gap that is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit.lab.probes import Session
from bnkit.lab.probes.objective import GivenExamples
from bnkit.lab.probes.train_eval_gap import TrainEvalGap, are_logits, labels_of
from lab.probes.one_probe import LOSS, Branched, at_start, examples, found_in


def slow(model: nn.Module, batches: Any, *, training: bool) -> tuple[float, float]:
    model.train(training)
    model.norm2.eval()
    losses, hits, count = 0.0, 0, 0
    for images, labels in batches:
        logits = model(images).detach()
        for row, label in zip(logits, labels, strict=True):
            losses += LOSS(row[None], label[None]).item()
            hits += int(row.argmax() == label)
        count += len(labels)
    return losses / count, hits / count


def test_equals_both_modes_by_hand_with_a_frozen_layer_and_dropout() -> None:
    model, training = Branched(), examples((19, 2, 5, 4))
    model.norm1.running_mean += 0.3
    model.norm2.eval()
    torch.manual_seed(5)
    found = at_start(model, TrainEvalGap(), training=training)
    torch.manual_seed(5)
    batches = list(training.batches())
    assert [len(labels) for _, labels in batches] == [6, 6, 6, 1]
    in_eval = slow(model, batches[:3], training=False)
    in_training = slow(model, batches[:3], training=True)
    assert found == {
        ("loss by mode", None, "training"): pytest.approx(in_training[0], rel=1e-6),
        ("loss by mode", None, "eval"): pytest.approx(in_eval[0], rel=1e-6),
        ("loss gap between modes", None, None): pytest.approx(
            in_eval[0] - in_training[0], rel=1e-5
        ),
        ("accuracy by mode", None, "training"): in_training[1],
        ("accuracy by mode", None, "eval"): in_eval[1],
        ("accuracy gap between modes", None, None): in_training[1] - in_eval[1],
    }


class Dropped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0 + (0.0 if self.training else 3.0)


class OwnObjective:
    """A user's loop: batches are dictionaries, and the network's outputs no logits."""

    def output(self, network: nn.Module, batch: Any) -> Any:
        return network(batch["x"])

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        return self.output(network, batch).square().mean()

    def examples(self, batch: Any) -> int:
        return len(batch["x"])


def test_a_known_gap_in_a_users_loop_without_logits() -> None:
    objective, probe, model = OwnObjective(), TrainEvalGap(), Dropped().eval()
    given = GivenExamples([{"x": torch.randn(4, 2, 5)}, {"x": torch.randn(2, 2, 5)}], objective)
    probe.prepare(model)
    session = Session(model, [probe], objective, training=given)
    session.start()
    assert found_in(session.rows) == {
        ("loss by mode", None, "training"): 0.0,
        ("loss by mode", None, "eval"): 9.0,
        ("loss gap between modes", None, None): 9.0,
    }
    assert not model.training


def test_labels_and_logits_are_told_from_other_tensors() -> None:
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    assert labels_of((x, labels)) is labels
    assert labels_of({"x": x, "y": labels}) is labels
    for batch in (x, (x,), (labels, x), (x, labels.float()), (x, labels[:, None]), (x, labels > 0)):
        assert labels_of(batch) is None
    assert are_logits(x, labels)
    for output in (x[:, :1], x[:3], x[0], x.int(), [x], x[:, :2]):
        assert not are_logits(output, labels)


def test_nan_losses_are_recorded() -> None:
    model = Branched()
    with torch.no_grad():
        model.head.bias[0] = math.nan
    found = at_start(model, TrainEvalGap(), training=examples())
    assert math.isnan(found["loss gap between modes", None, None])
