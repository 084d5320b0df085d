"""Compiles models that hold bnkit's layers, and runs the guide; a program of its own, because the
shape annotations that the test run executes cannot be followed by graph capture.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import re
import sys
from pathlib import Path

import torch
from torch import nn

import bnkit

sys.path.insert(0, str(Path(__file__).parents[1]))
from compilation.test_networks import check_network

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "compile.md"


def check_own_layers() -> None:
    for training in (True, False):
        torch.manual_seed(0)
        layers = [bnkit.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), bnkit.BatchNormAct2d(4)]
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), *layers).train(training)
        ours = copy.deepcopy(plain)
        compiled = torch.compile(ours, backend="bnkit", fullgraph=True)
        x = torch.randn(8, 3, 6, 6)
        results = []
        for model in (compiled, plain):
            y = model(x)
            gradients = torch.autograd.grad(y.square().sum(), list(model.parameters()))
            results.append([y, *gradients])
        torch.testing.assert_close(*results)
        torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    assert all(report.is_rewritten for report in bnkit.compile_reports())


def check_networks_on_the_fast_kernel() -> None:
    for name in ("resnet", "discriminator"):
        torch._dynamo.reset()
        bnkit.compile_reports(clear=True)
        with bnkit.use_kernel("numba"):
            check_network(name)
        assert all("by their kernels" in report.check for report in bnkit.compile_reports())


def check_guide() -> None:
    text = GUIDE.read_text("utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    for (language, code), (_, expected) in itertools.pairwise(blocks):
        if language != "python":
            continue
        torch._dynamo.reset()
        bnkit.compile_reports(clear=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "compile.md", "exec"), {"__name__": "guide"})
        assert steady(printed.getvalue()) == steady(expected), printed.getvalue()


def steady(text: str) -> str:
    """Return a report without what depends on the kernel: how many it computed, how near."""
    text = re.sub(r", and \d+ calls by their kernels with torch's operators", "", text)
    return re.sub(r"difference \S+, allowed \S+", "difference", text)


if __name__ == "__main__":
    check_networks_on_the_fast_kernel()
    check_own_layers()
    check_guide()
    print("all as said")
