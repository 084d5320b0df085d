"""Activation percentiles against NumPy on activations taken by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Session
from bnkit.lab.probes.activation_percentiles import ActivationPercentiles, unsteadiness
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.training import Computation, Split

IMAGES = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))

HELD_OUT = SplitExamples(Split(IMAGES, torch.zeros(40, dtype=torch.int64)), batch_size=7)


def recorded(model: nn.Module, **options: object) -> dict[tuple[str | None, str | None], float]:
    probe = ActivationPercentiles(**options)
    probe.prepare(model)
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation())
    session = Session(model, [probe], objective, held_out=HELD_OUT)
    session.start()
    return {(row.layer, row.key): row.value for row in session.rows}


def test_equals_numpy_in_eval_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Sigmoid(), nn.Dropout())
    model(IMAGES)  # running statistics that differ from the batch's
    found = recorded(model, examples=30)
    chosen = torch.cat([images for images, _ in HELD_OUT.batches(30)])
    with torch.no_grad():
        outputs = model[:3].eval()(chosen).numpy()
    expected = np.percentile(outputs, [15, 50, 85])
    keys = [("2", "15"), ("2", "50"), ("2", "85")]
    assert [found[key] for key in keys] == pytest.approx(expected, abs=1e-6)


def test_nan_activations_are_recorded_as_such() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    with torch.no_grad():
        model[0].bias[0] = math.nan
    assert all(math.isnan(value) for value in recorded(model).values())


def test_layers_can_be_named() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    assert {layer for layer, _ in recorded(model, layers=["0", "every activation"])} == {"0", "1"}


def test_unsteadiness_of_a_known_history() -> None:
    history = np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert unsteadiness(history) == pytest.approx((3 * 1 + 0) / 6 / 2)
    assert math.isnan(unsteadiness(np.zeros((3, 3))))


def test_percentiles_out_of_range_are_refused() -> None:
    with pytest.raises(ProbeError, match="from 0 to 100"):
        ActivationPercentiles(percentiles=[15, 150])
