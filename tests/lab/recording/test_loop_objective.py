"""Batches as loops have them: called with one input or several, and moved to the model."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bnkit.lab.recording.loop_objective import LoopObjective, on_device_of

X = torch.zeros(3, 2)


class Named(NamedTuple):
    image: Tensor
    label: Tensor


@pytest.mark.parametrize(
    "batch",
    [X, (X, X), [X, "text"], {"a": X, "b": [X, 1]}, Named(X, X)],
    ids=["one", "pair", "list", "mapping", "named"],
)
def test_a_batch_follows_the_model(batch: Any) -> None:
    here, elsewhere = nn.Linear(2, 2), nn.Linear(2, 2, device="meta")
    assert on_device_of(here, batch) is batch
    moved = on_device_of(elsewhere, batch)
    assert type(moved) is type(batch)
    leaves = torch.utils._pytree.tree_leaves(moved)
    assert {leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)} == {"meta"}
    assert [leaf for leaf in leaves if not isinstance(leaf, Tensor)] == [
        leaf for leaf in torch.utils._pytree.tree_leaves(batch) if not isinstance(leaf, Tensor)
    ]


def test_the_loss_of_a_batch_that_the_loop_moved() -> None:
    model = nn.Linear(2, 1, device="meta")
    given = X, torch.zeros(3, 1)
    objective = LoopObjective(nn.functional.mse_loss, None)
    assert objective.loss(model, given).device.type == "meta"
    assert objective.output(model, given).device.type == "meta"
    closure = LoopObjective(None, lambda network, batch: network(batch[0]).mean())
    assert closure.loss(model, given).device.type == "meta"
