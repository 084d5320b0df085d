"""A kernel that moves the running statistics counts the batch, as torch's layer does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.kernels.contract import FusingKernel
from bnkit.kernels.dispatch import kernel_named
from helpers.problems import drawn

# Whole channels, short rows, pieces of channels, channels last: each has tasks of its own.
INPUTS: dict[str, Callable[[], Tensor]] = {
    "whole": lambda: drawn((8, 64, 16, 16), torch.float32),
    "short rows": lambda: drawn((13, 128, 7, 7), torch.float32),
    "pieces": lambda: drawn((40, 3, 23, 23), torch.float32),
    "last": lambda: drawn((8, 130, 9, 9), torch.float32).contiguous(
        memory_format=torch.channels_last
    ),
    "one task": lambda: drawn((4, 3, 5, 5), torch.float32),
}


def counted_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets an entry for each forward: whether the kernel was given a counter."""
    kernel, given = kernel_named("numba"), list[bool]()
    assert isinstance(kernel, FusingKernel)
    forward = type(kernel).fused_forward

    def spy(self: FusingKernel, *args: object, **kwargs: object) -> object:
        given.append(kwargs["counter"] is not None)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(kernel), "fused_forward", spy)
    return given


@pytest.mark.parametrize("name", INPUTS)
def test_each_batch_counts_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_kernel, x = counted_by_the_kernel(monkeypatch), INPUTS[name]()
    ours, torchs = (kind(x.shape[1]) for kind in (bnkit.BatchNorm2d, nn.BatchNorm2d))
    with bnkit.use_kernel("numba"):
        for steps in (1, 2, 3):
            ours(x)
            torchs(x)
            assert int(ours.num_batches_tracked) == steps
            assert ours.num_batches_tracked._version == torchs.num_batches_tracked._version
        ours.eval()(x)
    assert int(ours.num_batches_tracked) == 3
    assert by_kernel == [True, True, True, False]


@pytest.mark.parametrize("change", ["narrower", "one value", "in inference mode"])
def test_a_counter_of_another_kind_is_left_to_torch(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_kernel, x = counted_by_the_kernel(monkeypatch), INPUTS["whole"]()
    layer = bnkit.BatchNorm2d(x.shape[1])
    with torch.inference_mode(change == "in inference mode"), bnkit.use_kernel("numba"):
        counters = {
            "narrower": torch.zeros((), dtype=torch.int32),
            "one value": torch.zeros(1, dtype=torch.int64),
            "in inference mode": torch.zeros((), dtype=torch.int64),
        }
        layer.num_batches_tracked = counters[change]
        layer(x)
        layer(x)
        assert int(layer.num_batches_tracked) == 2
    assert by_kernel == [False, False]


def test_what_raises_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError

    layer, x = bnkit.BatchNorm2d(64), INPUTS["whole"]()
    monkeypatch.setattr("bnkit.functional.normalization.apply_fused", fail)
    with bnkit.use_kernel("numba"), pytest.raises(RuntimeError):
        layer(x)
    assert int(layer.num_batches_tracked) == 0
