"""Accuracy on shifted images against plain torch, and a shift that statistics undo exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bnkit.lab.probes import Session
from bnkit.lab.probes.moment import copied
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.probes.shifted_accuracy import ShiftedAccuracy, shifted
from bnkit.lab.training import Computation, Split


def data(count: int, *shape: int) -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64) * 2 + 3
    return Split(images, torch.randint(3, (count,), generator=generator))


def found(model: nn.Module, held_out: Split, **options: object) -> dict[str | None, float]:
    probe = ShiftedAccuracy(when="epoch", **options)
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation("float64"))
    session = Session(model, [probe], objective, held_out=SplitExamples(held_out))
    session.start()
    return {row.key or row.metric: row.value for row in session.rows}


def test_equals_plain_torch() -> None:
    """The re-estimated statistics are those of one training pass in one batch of momentum 1."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)]
    model, held_out = nn.Sequential(*layers).double(), data(200, 1, 5, 5)
    for _ in range(30):
        model(held_out.images)
    measured = found(model.train(), held_out, contrast=0.4, brightness=1.5)

    x = held_out.images
    moved = x.mean() + 0.4 * (x - x.mean()) + 1.5 * x.std(correction=0)
    again = copy.deepcopy(model)
    again[1].momentum = 1.0
    again(moved)
    with torch.no_grad():
        unshifted, stored, re_estimated = (
            (each.eval()(images).argmax(1) == held_out.labels).double().mean().item()
            for each, images in ((model, x), (model, moved), (again, moved))
        )
    assert measured == pytest.approx(
        {
            "unshifted": unshifted,
            "stored": stored,
            "re-estimated": re_estimated,
            "accuracy lost to the shift": unshifted - stored,
            "accuracy recovered": re_estimated - stored,
        }
    )
    assert unshifted != stored != re_estimated


def test_a_shift_of_the_batch_norms_own_input_is_undone() -> None:
    """x′ = c·x + b has the same x̂ by its own statistics: nothing remains lost (eps is tiny)."""
    model = nn.Sequential(nn.BatchNorm1d(3, eps=1e-12, momentum=1.0)).double()
    images = data(500, 3).images
    model(images)
    held_out = Split(images, model.eval()(images).detach().argmax(1))
    measured = found(model, held_out, contrast=0.1, brightness=-2.0)
    assert measured["unshifted"] == 1.0
    assert measured["re-estimated"] == 1.0
    assert measured["stored"] < 0.95
    assert measured["accuracy recovered"] == measured["accuracy lost to the shift"] > 0


def test_without_batch_norm_there_is_nothing_to_re_estimate() -> None:
    torch.manual_seed(0)
    model, held_out = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).double(), data(50, 1, 3, 3)
    measured = found(model, held_out)
    assert measured["re-estimated"] == measured["stored"]
    assert measured["accuracy recovered"] == 0


def test_the_shift_moves_mean_and_spread_as_said() -> None:
    images = data(30, 1, 4, 4).images
    moved = shifted(images, 0.5, 2.0)
    std = images.std(correction=0)
    torch.testing.assert_close(moved.mean(), images.mean() + 2 * std)
    torch.testing.assert_close(moved.std(correction=0), 0.5 * std)
    torch.testing.assert_close(shifted(images, 1.0, 0.0), images)


def test_a_weight_that_an_older_norm_computed_is_copied() -> None:
    network = nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 3)))
    x = torch.randn(5, 4)
    network(x).sum().backward()
    assert not network[0].weight.is_leaf
    twin = copied(network).eval()
    torch.testing.assert_close(twin(x), network.eval()(x), rtol=0, atol=0)
    assert twin[0].weight_orig is not network[0].weight_orig
