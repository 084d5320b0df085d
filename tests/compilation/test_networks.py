"""Well-known architectures, trained and evaluated, against plain torch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.inspection.nested_tensors import tensors_in
from compilation.networks import NETWORKS


def train(model: Any, inputs: list[Tensor], parameters: list[nn.Parameter]) -> list[Tensor]:
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    found = []
    for step, x in enumerate(inputs):
        torch.manual_seed(step)
        outputs = tensors_in(model(x))
        loss = sum((output.square().mean() for output in outputs), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        found += [*(output.detach() for output in outputs), x.grad.clone()]
        optimizer.step()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_and_evaluates_as_plain_torch_does(name: str) -> None:
    # The fast kernel's turn comes in own_layers.py, in a process without shape annotations.
    with bnkit.use_kernel("eager"):
        check_network(name)


def check_network(name: str) -> None:
    build, shape, fusing, batch_norms = NETWORKS[name]
    torch.manual_seed(0)
    plain = build().double()
    ours = copy.deepcopy(plain)
    compiled = torch.compile(ours, backend="bnkit", fullgraph=True)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    copies = [x.detach().clone().requires_grad_() for x in inputs]
    expected = train(plain, inputs, list(plain.parameters()))
    found = train(compiled, copies, list(ours.parameters()))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    [report] = bnkit.compile_reports()
    assert report.is_rewritten, str(report)
    assert report.batch_norms == len(report.changes) == batch_norms, str(report)
    assert sum("+" in change.what for change in report.changes) == fusing, str(report)
    plain.eval(), ours.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(copies[0]), plain(inputs[0]))
    assert len(bnkit.compile_reports()) == 2
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())
