"""The variance shift against NumPy, and against the variance that dropout is known to add."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bnkit.lab.probes import Session
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.probes.variance_shift import VarianceShift
from bnkit.lab.training import Computation, Split


def shifts(model: nn.Module, images: torch.Tensor, **options: object) -> dict[str | None, float]:
    probe = VarianceShift(when="epoch", **options)
    probe.prepare(model)
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation("float64"))
    labels = torch.zeros(len(images), dtype=torch.int64)
    training = SplitExamples(Split(images, labels))
    session = Session(model, [probe], objective, training=training)
    session.start()
    return {row.layer: row.value for row in session.rows}


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_numpy_for_each_layer() -> None:
    """300 images: two batches of the probe, whose moments are merged."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 2),
        nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 2),
    ).double()  # fmt: skip
    images = drawn(300, 1, 5, 5) + 5
    for _ in range(3):
        model(images[:50])
    found = shifts(model.train(), images)
    model.eval()
    expected = {}
    with torch.no_grad():
        for path, before in (("1", 1), ("5", 5)):
            values = model[:before](images).numpy()
            var = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1).var(axis=1, ddof=1)
            ratio = (model[int(path)].running_var.numpy() + 1e-5) / (var + 1e-5)
            expected[path] = float(np.maximum(ratio, 1 / ratio).mean())
    assert found == pytest.approx(
        {**expected, None: (expected["1"] + expected["5"]) / 2}, rel=1e-10
    )


def test_the_shift_that_dropout_makes() -> None:
    """Behind dropout of p the variance in training is that in eval mode times 1/(1 − p) at mean 0.

    x = ±1 has variance 1; with p = ¾ what is kept is ±4, so E[x²] = ¼ · 16 = 4. A channel of x = 1
    has variance 0 and 3: (3 + eps)/eps.
    """
    images = torch.ones(4000, 2, dtype=torch.float64)
    images[::2, 0] = -1
    model = nn.Sequential(nn.Dropout(0.75), nn.BatchNorm1d(2, eps=0.5, momentum=1.0)).double()
    torch.manual_seed(0)
    model(images)
    found = shifts(model, images)
    assert found["1"] == pytest.approx((4.5 / 1.5 + 3.5 / 0.5) / 2, rel=0.03)
    # In the other order nothing drops what the batch norm sees.
    behind = nn.Sequential(nn.BatchNorm1d(2, eps=0.5, momentum=1.0), nn.Dropout(0.75)).double()
    behind(images)
    assert shifts(behind, images)["0"] == pytest.approx(1.0, rel=1e-12)


def test_a_smaller_variance_counts_as_a_larger_one() -> None:
    images = drawn(500, 2)
    model = nn.Sequential(nn.BatchNorm1d(2, eps=0.0)).double()
    var = images.var(0)
    model[0].running_var = var * torch.tensor([4.0, 0.25], dtype=torch.float64)
    assert shifts(model, images)["0"] == pytest.approx(4.0)


def test_layers_without_running_statistics_are_left_out() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2)).double()
    assert shifts(model, drawn(20, 2)).keys() == {"1", None}
