"""The generalization gap against plain torch, and for a network whose gap is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Session
from bnkit.lab.probes.generalization_gap import GeneralizationGap
from bnkit.lab.probes.objective import ClassifierObjective, GivenExamples, SplitExamples
from bnkit.lab.training import Computation, Split


def split(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(3, (count,), generator=generator))


def gaps(model: nn.Module, train: Split, held_out: Split, **options: object) -> dict[str, float]:
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation("float64"))
    session = Session(
        model,
        [GeneralizationGap(when="epoch", **options)],
        objective,
        held_out=SplitExamples(held_out),
        training=SplitExamples(train),
    )
    session.start()
    return {row.metric: row.value for row in session.rows}


def test_equals_plain_torch_in_eval_mode() -> None:
    """300 examples are two batches of the probe, of different size; here they are one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    train, held_out = split(300, 1), split(40, 2)
    model.double()(train.images)  # running statistics that differ from the batch's
    found = gaps(model.train(), train, held_out)
    model.eval()
    with torch.no_grad():
        losses, accuracies = [], []
        for part in (train, held_out):
            logits = model(part.images)
            losses.append(nn.functional.cross_entropy(logits, part.labels).item())
            accuracies.append((logits.argmax(1) == part.labels).double().mean().item())
    assert found == pytest.approx(
        {
            "loss gap": losses[1] - losses[0],
            "accuracy gap": accuracies[0] - accuracies[1],
            "train loss in eval mode": losses[0],
            "train accuracy in eval mode": accuracies[0],
        },
        rel=1e-12,
    )


class Lookup(nn.Module):
    """Is certain of class 1 for positive values: logits (0, 2) and (2, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        is_one = (x[:, :1] > 0).double()
        return 2 * torch.cat([1 - is_one, is_one], dim=1)


def test_a_network_that_knows_its_training_data_and_nothing_else() -> None:
    x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]], dtype=torch.float64)
    right = (x[:, 0] > 0).long()
    half = right.clone()
    half[:2] = 1 - half[:2]
    found = gaps(Lookup(), Split(x, right), Split(x, half))
    # A wrong answer costs 2 more than a right one, and half of the held-out answers are wrong.
    assert found["accuracy gap"] == 0.5
    assert found["loss gap"] == pytest.approx(1.0, rel=1e-12)
    assert found["train accuracy in eval mode"] == 1.0
    assert found["train loss in eval mode"] == pytest.approx(math.log(1 + math.exp(-2)))


def test_the_number_of_examples_can_be_limited() -> None:
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    found = gaps(
        Lookup(), Split(x, torch.tensor([1, 1])), Split(x, torch.tensor([1, 1])), examples=1
    )
    assert found["train accuracy in eval mode"] == 1.0
    with pytest.raises(ProbeError, match="examples = 0"):
        GeneralizationGap(examples=0)


def test_batches_without_labels_are_refused() -> None:
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation())
    given = GivenExamples([torch.zeros(3, 1)], objective)
    session = Session(
        Lookup(), [GeneralizationGap(when=1)], objective, held_out=given, training=given
    )
    with pytest.raises(ProbeError, match=r"a batch is a Tensor; \(images, labels\)"):
        session.start()
