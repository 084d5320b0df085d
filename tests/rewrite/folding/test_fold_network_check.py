"""What pairs are off by may show in the outputs, and nothing else."""

from __future__ import annotations

import copy

import torch
from torch import nn

from bnkit.rewrite.folding.fold_network_check import is_explained
from bnkit.rewrite.network_run import run_network


def test_an_output_may_be_off_as_the_layers_are_and_by_no_more() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(8, 4)
    before = run_network(model, x, training=False, with_gradients=False)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[0].bias.add_(1e-4)
    largest = float(model[0](x).detach().abs().max())
    assert is_explained(before, changed, x, {changed[0]: 1e-4 / largest})
    assert not is_explained(before, changed, x, {changed[0]: 1e-6 / largest})
    assert not is_explained(before, changed, x[:4], {changed[0]: 1e-4 / largest})
    assert not any(module._forward_hooks for module in changed.modules())
