"""recalibrate(sequential=True): independent of the cut of the data, consistent in eval mode."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import bnkit
from helpers.architectures import BasicBlock, DenseLayer, UNet


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)),
        *(BasicBlock(6, 6), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)),
    )


DATA = torch.randn(24, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def eval_statistics(model: nn.Module, data: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return path → mean and variance of what each layer receives in eval mode."""
    model = copy.deepcopy(model).eval()
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(path: str, layer: nn.Module) -> None:
        def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].transpose(0, 1).flatten(1)
            found[path] = x.mean(1), x.var(1)

        layer.register_forward_pre_hook(see)

    for path, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            watch(path, layer)
    with torch.no_grad():
        model(data)
    return found


@pytest.mark.parametrize("build", [network, lambda: UNet(2), lambda: DenseLayer(3, 4)])
def test_whole_models_are_independent_of_the_cut(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build().double()
    data = DATA if not isinstance(model, UNet) else DATA[:, : next(model.parameters()).shape[1]]
    cuts = [[data], list(data.split(5)), list(data.split(1))]
    states = [bnkit.recalibrate(model, cut, sequential=True).model.state_dict() for cut in cuts]
    moved = [key for key in states[0] if key.endswith(("running_mean", "running_var"))]
    for key in moved:
        for other in states[1:]:
            torch.testing.assert_close(states[0][key], other[key], rtol=1e-9, atol=1e-12)
    at_once = [bnkit.recalibrate(model, cut).model.state_dict() for cut in cuts[:2]]
    assert len(moved) < 3 or any(
        not torch.allclose(at_once[0][key], at_once[1][key], rtol=1e-6) for key in moved
    )


def test_in_eval_mode_each_layer_receives_what_it_normalizes_by() -> None:
    rewrite = bnkit.recalibrate(network().double(), list(DATA.split(7)), sequential=True)
    found = eval_statistics(rewrite.model, DATA)
    assert [shift.path for shift in rewrite.shifts] == list(found)
    for path, (mean, var) in found.items():
        layer = rewrite.model.get_submodule(path)
        torch.testing.assert_close(layer.running_mean, mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(layer.running_var, var, rtol=1e-9, atol=0)
    assert rewrite.notes == ["4 passes over 4 batches, each up to its layer"]


class Counting(nn.Module):
    """Counts how often its parts run, and hides what a user's code should not hide."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.runs: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.runs.append("first")
            x = self.first(x)
            self.runs.append("last")
            return self.last(x)  # type: ignore[no-any-return]
        except Exception:
            return x


def test_a_pass_ends_at_its_layer_also_in_code_that_catches_exceptions() -> None:
    runs: list[str] = []
    model = Counting().double()
    model.runs = runs

    def forward(given: nn.Module, batch: Tensor) -> Tensor:
        given.runs = runs  # type: ignore[assignment]
        return given(batch)  # type: ignore[no-any-return]

    data = [DATA[:, :2, 0, 0]]
    bnkit.recalibrate(model, data, sequential=True, forward_fn=forward)
    # The outputs before and after, the order, and the two passes.
    assert runs == ["first", "last"] * 2 + ["first"] + ["first", "last"] * 2


def test_code_that_catches_all_changes_no_number() -> None:
    class Catching(Counting):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                try:
                    x = self.first(x)
                except:  # noqa: E722
                    x = x * 100
            return self.last(x)  # type: ignore[no-any-return]

    data = DATA[:, :2, 0, 0]
    shifts = bnkit.recalibrate(Catching().double(), [data], sequential=True).shifts
    assert [(shift.path, shift.values) for shift in shifts] == [("first", 48), ("last", 24)]


class Branching(nn.Module):
    """One batch norm runs only where the batch says so, before the last."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.last, self.behind = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        is_special = len(x) == 5
        x = self.always(x)
        if is_special:
            x = self.sometimes(x * 2 + 3)
        x = self.last(x)
        return self.behind(x) if is_special else x


def test_layers_that_run_only_in_later_batches_are_taken_in() -> None:
    data = DATA[:, :2, 0, 0]
    rewrite = bnkit.recalibrate(Branching().double(), [data[:9], data[9:14]], sequential=True)
    assert [shift.path for shift in rewrite.shifts] == ["always", "sometimes", "last", "behind"]
    with torch.no_grad():
        model = rewrite.model.eval()
        x = model.always(data[9:14]) * 2 + 3
    torch.testing.assert_close(model.sometimes.running_mean, x.mean(0))
    torch.testing.assert_close(model.sometimes.running_var, x.var(0))


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4)
        )

    def forward(self, pair: Tensor) -> Tensor:
        one, other = pair.unbind(1)
        return self.body(one) - self.body(other)  # type: ignore[no-any-return]


def test_a_shared_layer_gets_the_statistics_of_all_its_calls() -> None:
    torch.manual_seed(0)
    pairs = torch.randn(30, 2, 2, dtype=torch.float64) * torch.tensor([1.0, 3.0]).view(1, 2, 1)
    rewrite = bnkit.recalibrate(Siamese().double(), list(pairs.split(8)), sequential=True)
    assert [shift.values for shift in rewrite.shifts] == [60, 60]
    body = rewrite.model.eval().body
    with torch.no_grad():
        for end in (1, 4):
            x = body[:end](pairs.flatten(0, 1))
            torch.testing.assert_close(body[end].running_mean, x.mean(0), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(body[end].running_var, x.var(0), rtol=1e-9, atol=0)


def test_its_cost_is_told_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    bnkit.recalibrate(network().double(), [DATA], sequential=True, progress=True)
    printed = capsys.readouterr()
    assert printed.err.startswith("4 layers, 4 passes over the data, each up to its layer\n")
    assert not printed.out
    bnkit.recalibrate(network().double(), [DATA], progress=False)
    assert not capsys.readouterr().err
