"""Accelerates compiled networks and compiles accelerated ones; a program of its own, because the
shape annotations that the test run executes cannot be followed by graph capture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import bnkit

x = torch.randn(4, 3, 8, 8)
GRAPHS: list[str] = []


def counted(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
    GRAPHS.append(graph.code)
    return graph.forward


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()


def check_compiled_network() -> None:
    compiled = torch.compile(network(), backend=counted)
    expected: Tensor = compiled(x)
    rewrite = bnkit.accelerate(compiled, x, inplace=True)
    assert len(GRAPHS) == 1, "nothing is compiled in order to compare"
    torch.testing.assert_close(compiled(x), expected)
    assert len(GRAPHS) == 2, "the old graph must not answer for the new layers"
    torch.testing.assert_close(rewrite.undo()(x), expected)
    copied = bnkit.accelerate(compiled, x).model
    assert type(copied) is type(compiled)
    torch.testing.assert_close(copied(x), expected)


def check_accelerated_network() -> None:
    changed = bnkit.accelerate(network()).model
    compiled = torch.compile(changed, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network()(x))
    exported = torch.export.export(changed, (x,))
    torch.testing.assert_close(exported.module()(x), network()(x))


if __name__ == "__main__":
    check_compiled_network()
    check_accelerated_network()
    print("all compiled")
