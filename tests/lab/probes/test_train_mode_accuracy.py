"""Predictions in training mode against plain torch, and networks whose dependence is known."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Session
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.probes.train_mode_accuracy import TrainModeAccuracy
from bnkit.lab.training import Computation, Split


def data(count: int, *shape: int) -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(3, (count,), generator=generator))


def found(
    model: nn.Module, held_out: Split, sizes: list[int], **options: object
) -> dict[tuple[str, str | None], float]:
    probe = TrainModeAccuracy(when="epoch", batch_sizes=sizes, **options)
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation("float64"))
    session = Session(model, [probe], objective, held_out=SplitExamples(held_out))
    session.start()
    return {(row.metric, row.key): row.value for row in session.rows}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2)]
    return nn.Sequential(*layers, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)).double()


def test_equals_plain_torch_batch_by_batch() -> None:
    """60 images in batches of 1, 4 and 12, in the two orders that the probe draws."""
    model, held_out = network(), data(60, 1, 5, 5)
    model(held_out.images * 2 + 1)  # running statistics unlike the images'
    measured = found(model.train(), held_out, [1, 4, 12])
    images, labels = next(SplitExamples(held_out).batches())
    for size in (1, 4, 12):
        generator = torch.Generator().manual_seed(0)
        classes = {True: [], False: []}
        for _ in range(2):
            order = torch.randperm(60, generator=generator)
            for mode, rows in classes.items():
                plain = copy.deepcopy(model).train(mode)
                row = torch.empty(60, dtype=torch.int64)
                for start in range(0, 60, size):
                    index = order[start : start + size]
                    row[index] = plain(images[index]).argmax(1)
                rows.append(row)
        accuracy = {
            mode: sum((row == labels).double().mean().item() for row in rows) / 2
            for mode, rows in classes.items()
        }
        changed = {
            mode: (rows[0] != rows[1]).double().mean().item() for mode, rows in classes.items()
        }
        key = str(size)
        assert measured["train-mode accuracy", key] == pytest.approx(accuracy[True])
        lost = accuracy[False] - accuracy[True]
        assert measured["accuracy lost in train mode", key] == pytest.approx(lost)
        assert measured["train-mode changed predictions", key] == pytest.approx(changed[True])
        assert measured["eval-mode changed predictions", key] == 0 == changed[False]
    assert measured["train-mode changed predictions", "4"] > 0
    assert measured["train-mode changed predictions", "1"] == 0, "an image alone has no company"


class Company(nn.Module):
    """In training mode class 1 for the larger of a batch of two, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        is_largest = (x == x.max()).double() if self.training else torch.zeros_like(x)
        return torch.cat([1 - is_largest, is_largest], dim=1)


def test_a_network_that_compares_the_images_of_a_batch() -> None:
    """Labels are all 0: in training mode each pair has one wrong answer, in eval mode none."""
    images = torch.arange(40.0, dtype=torch.float64)[:, None]
    held_out = Split(images, torch.zeros(40, dtype=torch.int64))
    measured = found(Company(), held_out, [2, 40])
    assert measured["train-mode accuracy", "2"] == 0.5
    assert measured["accuracy lost in train mode", "2"] == 0.5
    assert measured["accuracy lost in train mode", "40"] == pytest.approx(1 / 40)
    assert measured["train-mode changed predictions", "40"] == 0, "the company is the same"
    assert measured["eval-mode changed predictions", "2"] == 0


def test_one_value_per_channel_has_no_accuracy() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    measured = found(model, data(20, 4), [1, 2])
    assert math.isnan(measured["train-mode accuracy", "1"])
    assert math.isnan(measured["train-mode changed predictions", "1"])
    assert measured["eval-mode changed predictions", "1"] == 0
    assert 0 <= measured["train-mode accuracy", "2"] <= 1


def test_sizes_above_the_number_of_images_are_not_recorded() -> None:
    keys = {key for _, key in found(network(), data(60, 1, 5, 5), [4, 64], examples=10)}
    assert keys == {"4"}


def test_dropout_is_no_company() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(25, 3)).double()
    measured = found(model, data(40, 1, 5, 5), [4])
    assert measured["train-mode changed predictions", "4"] == 0
    assert measured["accuracy lost in train mode", "4"] == 0


def test_frozen_layers_stay_frozen() -> None:
    model, held_out = network(), data(40, 1, 5, 5)
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert found(model, held_out, [2])["train-mode changed predictions", "2"] == 0


@pytest.mark.parametrize("sizes", [[0], [-1, 2]])
def test_a_batch_size_below_one_is_refused(sizes: list[int]) -> None:
    with pytest.raises(ProbeError, match=r"batch_sizes = .*whole numbers from 1"):
        TrainModeAccuracy(batch_sizes=sizes)
