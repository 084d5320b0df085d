"""Gradient norms against plain autograd, and against a quadratic whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnkit.lab.probes import Session
from bnkit.lab.probes.gradient_norms import GradientNorms
from bnkit.lab.probes.objective import ClassifierObjective
from bnkit.lab.training import Computation
from bnkit.lab.training.observer import StepPlace


def probed(model: nn.Module, loss: object, batch: object) -> dict[tuple[str, str | None], float]:
    probe = GradientNorms(when=1)
    probe.prepare(model)
    session = Session(model, [probe], ClassifierObjective(loss, Computation("float64")))
    session.begin(StepPlace(1, 1))
    session.before_update([batch], 0.1, is_plain_gradient=False)
    session.after_update()
    return {(row.metric, row.layer): row.value for row in session.rows}


def test_equals_plain_autograd() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    batch = torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,))
    found = probed(model, nn.functional.cross_entropy, batch)
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    norms = [model[0].weight.grad.norm().item(), model[3].weight.grad.norm().item()]
    assert found["gradient norm", "0"] == pytest.approx(norms[0], rel=1e-12)
    assert found["gradient norm", "3"] == pytest.approx(norms[1], rel=1e-12)
    assert found["gradient norm ratio", None] == pytest.approx(norms[0] / norms[1], rel=1e-12)
    assert found.keys() == {
        ("gradient norm", "0"),
        ("gradient norm", "3"),
        ("gradient norm ratio", None),
    }


def test_a_known_gradient() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    wrapped = nn.Sequential(model)
    inputs = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    found = probed(wrapped, lambda output, _: output.sum(), (inputs, torch.zeros(1)))
    assert found["gradient norm", "0"] == pytest.approx(5.0, abs=1e-12)


def test_a_parametrized_weight_is_its_layers() -> None:
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4))
    model = nn.Sequential(normed, nn.Tanh(), nn.Linear(4, 3)).double()
    batch = torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,))
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = probed(model, nn.functional.cross_entropy, batch)
    assert all(torch.equal(buffer, kept[name]) for name, buffer in model.named_buffers())
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    expected = normed.parametrizations.weight.original.grad.norm().item()
    assert found["gradient norm", "0"] == pytest.approx(expected, rel=1e-12)
    assert {layer for _, layer in found} == {"0", "2", None}
