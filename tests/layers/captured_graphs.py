"""Compiles and exports the layers; a program of its own, because the shape annotations that the
test run executes cannot be followed by graph capture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bnkit
from bnkit.functional import batch_norm


def model_of(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), kind(4), nn.ReLU())


def check_compile() -> None:
    x = torch.randn(8, 3, 6, 6)
    for training in (True, False):
        ours, torchs = model_of(bnkit.BatchNorm2d), model_of(nn.BatchNorm2d)
        results = []
        for model in (ours, torchs):
            model.train(training)
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
            y = compiled(x)
            results.append((y, *torch.autograd.grad(y.square().sum(), tuple(model.parameters()))))
        for own, torch_own in zip(*results, strict=True):
            torch.testing.assert_close(own, torch_own)
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, torchs.state_dict()[name], msg=name)


def check_use_kernel_reaches_a_compiled_model() -> None:
    """A graph captured for one kernel must not answer for another."""
    kinds = []

    class Watched(bnkit.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            kinds.append(bnkit.kernel_for(input).name)
            return super().forward(input)

    model = Watched(3).eval()
    model.load_state_dict({**model.state_dict(), "running_var": torch.full((3,), 1e-3)})
    x = torch.randn(4, 3, 5, 5) * 1e3
    compiled = torch.compile(bnkit.BatchNorm2d.forward, backend="eager")
    plain = compiled(model, x)
    with bnkit.use_kernel("reference"):
        by_reference = compiled(model, x)
        expected = model(x)
    assert kinds == ["reference"]
    assert torch.equal(by_reference, expected)
    assert torch.equal(compiled(model, x), plain)
    assert not torch.equal(plain, by_reference)


def check_export() -> None:
    x = torch.randn(2, 3, 6, 6)
    model = model_of(bnkit.BatchNorm2d)
    model(x)
    program = torch.export.export(model.eval(), (x,))
    torch.testing.assert_close(program.module()(x), model(x))
    assert any("batch_norm" in str(node.target) for node in program.graph.nodes)


def check_function() -> None:
    @torch.compile(fullgraph=True, backend="eager")
    def compiled(x: Tensor) -> Tensor:
        return batch_norm(x, None, None, training=True)

    x = torch.randn(4, 3, 5)
    torch.testing.assert_close(compiled(x), batch_norm(x, None, None, training=True))


if __name__ == "__main__":
    check_compile()
    check_use_kernel_reaches_a_compiled_model()
    check_export()
    check_function()
    print("all captured")
