"""Who is measured: bnkit's layer, torch's, and torch's compiled; each forwards and backwards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnkit.bench.cases import Case
from bnkit.bench.inputs import EPS, MOMENTUM, Inputs
from bnkit.layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchNormAct1d,
    BatchNormAct2d,
    BatchNormAct3d,
)

_OURS = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}
_OURS_FUSED = {2: BatchNormAct1d, 3: BatchNormAct1d, 4: BatchNormAct2d, 5: BatchNormAct3d}
_TORCHS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


class Peer(Protocol):
    """What is timed: a forward, and the backward of what it gave."""

    def forward(self) -> Any:
        """Return the output, in fresh memory unless the peer is about reused memory."""

    def backward(self, y: Any) -> Any:
        """Return all gradients."""


class TorchBlock(nn.Module):
    """What a user of torch writes: batch norm, addition and activation, out of place."""

    def __init__(self, batch_norm: nn.Module, operation: str) -> None:
        super().__init__()
        self.batch_norm, self.operation = batch_norm, operation

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return batch_norm(x), relu(batch_norm(x)) or relu(batch_norm(x) + residual)."""
        y: Tensor = self.batch_norm(x)
        if residual is not None:
            y = y + residual
        return y if self.operation == "bn" else nn.functional.relu(y)


class LayerPeer:
    """A layer with its own parameters and buffers, on the inputs of a case.

    Args:
        layer: the batch norm, with weight, bias and running statistics.
        call: (x) → y, or (x, residual) → y: the layer, or what it is part of.
        inputs: what all peers are given.
    """

    def __init__(self, layer: nn.Module, call: Callable[..., Any], inputs: Inputs) -> None:
        self.layer, self._call = layer, call
        self._arguments = [v for v in (inputs.x, inputs.residual) if v is not None]
        self._wanted = [*self._arguments, *layer.parameters()]
        self._grad_output = inputs.grad_output

    def forward(self) -> Tensor:
        """Return y."""
        y: Tensor = self._call(*self._arguments)
        return y

    def backward(self, y: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of x, residual if there is one, weight and bias."""
        return torch.autograd.grad(y, self._wanted, self._grad_output)


def bnkit_peer(case: Case, inputs: Inputs) -> LayerPeer:
    """Return bnkit's layer: one that fuses what the case fuses."""
    rank = len(case.shape)
    kind = _OURS[rank] if case.operation == "bn" else _OURS_FUSED[rank]
    layer = _prepared(kind, case, inputs)
    return LayerPeer(layer, layer, inputs)


def torch_peer(case: Case, inputs: Inputs) -> LayerPeer:
    """Return torch's layer, with the addition and activation after it."""
    layer = _prepared(_TORCHS[len(case.shape)], case, inputs)
    return LayerPeer(layer, TorchBlock(layer, case.operation), inputs)


def compile_peer(case: Case, inputs: Inputs) -> LayerPeer:
    """Return torch's layer with what follows it, compiled for this shape alone."""
    # Graphs of former shapes count against a limit beyond which nothing more is compiled.
    torch.compiler.reset()
    layer = _prepared(_TORCHS[len(case.shape)], case, inputs)
    block = TorchBlock(layer, case.operation)
    return LayerPeer(layer, torch.compile(block, fullgraph=True, dynamic=False), inputs)


def why_not_compile() -> str:
    """Return why torch.compile cannot run here; empty if a C++ compiler is found."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler: {compiler} is not found; install one, or name it with CXX"
    return ""


def _prepared(kind: Callable[..., nn.Module], case: Case, inputs: Inputs) -> nn.Module:
    layer = kind(case.shape[1], eps=EPS, momentum=MOMENTUM, dtype=inputs.weight.dtype)
    names = ("weight", "bias", "running_mean", "running_var")
    layer.load_state_dict({name: getattr(inputs, name) for name in names}, strict=False)
    return layer.train(case.mode == "training")
