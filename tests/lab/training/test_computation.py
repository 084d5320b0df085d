from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnkit.lab.training.computation import Computation
from helpers.training_cases import network, run, settings


class Spy(nn.Module):
    """Remembers the dtype of what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        self.seen.append(y.dtype)
        return y


@pytest.mark.parametrize(
    ("name", "inside", "weights"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.float32),
        ("float16", torch.float16, torch.float32),
        ("float64", torch.float64, torch.float64),
    ],
)
def test_the_forward_runs_in_the_precision_and_losses_are_taken_in_full(
    name: str, inside: torch.dtype, weights: torch.dtype
) -> None:
    computation, spy = Computation(name), Spy()
    computation.convert(spy)
    logits = computation.run(spy, torch.randn(3, 4, dtype=computation.data_dtype))
    assert spy.seen == [inside]
    assert logits.dtype == spy.linear.weight.dtype == weights
    assert computation.gradient_scaler().is_enabled() == (name == "float16")


def test_a_callers_autocast_does_not_reach_the_network() -> None:
    spy = Spy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Computation().run(spy, torch.randn(3, 4))
    assert spy.seen == [torch.float32]


def test_a_callers_autocast_keeps_no_old_weights() -> None:
    """Inside another autocast, torch would keep the lowered weights of the first forward."""
    computation, spy, x = Computation("bfloat16"), Spy(), torch.ones(3, 4)
    with torch.autocast("cpu"):
        before = computation.run(spy, x)
        with torch.no_grad():
            spy.linear.weight.mul_(2)
            spy.linear.bias.mul_(2)
        after = computation.run(spy, x)
    torch.testing.assert_close(after, 2 * before)


def test_outputs_that_are_no_tensor_are_passed_on() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    assert isinstance(Computation("bfloat16").run(Pair(), torch.zeros(1)), tuple)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("float64", 1e-5), ("bfloat16", 0.05), ("float16", 0.1)]
)
def test_every_precision_trains_to_nearly_the_same(name: str, tolerance: float) -> None:
    """float16 skips its first steps, until the scale of its gradients fits."""

    def final(precision: str) -> tuple[float, nn.Module]:
        model = Computation(precision).convert(network())
        model[2].p = 0.0
        result = run(model, settings(precision=precision, epochs=10))
        assert result.diverged_step is None
        return result.checkpoints[-1].train_loss, model

    exact, _ = final("float32")
    found, model = final(name)
    assert found == pytest.approx(exact, rel=tolerance)
    assert found != exact
    assert {p.dtype for p in model.parameters()} == {Computation(name).data_dtype}


def test_channels_last_changes_the_memory_format_and_no_more_than_rounding() -> None:
    class Formats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.deep = nn.Conv3d(1, 2, 1)
            self.seen: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            self.seen += [t.is_contiguous(memory_format=torch.channels_last) for t in (x, y)]
            return y.flatten(1)

    model, x = Formats(), torch.randn(2, 3, 6, 6)
    expected = Computation().run(model, x)
    computation = Computation.of(settings(memory_format="channels-last"))
    found = computation.run(computation.convert(model), x)
    assert model.seen == [False, False, True, True]
    torch.testing.assert_close(found, expected)
    computation.run(nn.Linear(4, 2), torch.randn(3, 4))


def test_the_device_is_that_of_the_settings() -> None:
    assert Computation.of(settings(device="cuda:1")).device_type == "cuda"
