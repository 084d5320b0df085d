from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.inspection.trace import Trace, trace


class Branches(nn.Module):
    """Control flow, a shared module, functions, an addition, a dictionary output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.shared = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor, twice: bool = True) -> dict[str, Tensor]:
        x = self.conv(x)
        y = self.shared(F.relu(x))
        if twice:
            y = self.shared(y)
        return {"out": self.norm(x + y)}


def names(model: nn.Module, *args: object) -> list[str]:
    return [call.name for call in trace(model, args).calls]


def test_calls_stand_in_the_order_of_execution() -> None:
    found = names(Branches(), torch.randn(2, 3, 5, 5))
    assert [n.rsplit(".", 1)[-1] for n in found] == [
        "conv",
        "relu",
        "shared",
        "shared",
        "__add__",
        "norm",
    ] or [n.rsplit(".", 1)[-1] for n in found] == [
        "conv",
        "relu",
        "shared",
        "shared",
        "add",
        "norm",
    ]


def test_control_flow_is_watched_and_not_read() -> None:
    found = names(Branches(), torch.randn(2, 3, 5, 5), False)
    assert found.count("shared") == 1


def test_sources_name_the_calls_that_made_the_tensors() -> None:
    result = trace(Branches(), (torch.randn(2, 3, 5, 5),))
    calls = {call.name: number for number, call in enumerate(result.calls)}
    norm = result.calls[calls["norm"]]
    (addition,) = [source for source in norm.sources if source is not None]
    assert set(result.calls[addition].sources) == {calls["conv"], calls["shared"]}
    assert result.calls[calls["conv"]].sources == (None,)


def test_functions_inside_modules_of_torch_are_not_recorded() -> None:
    assert names(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)), torch.ones(1, 3)) == [
        "0",
        "1",
    ]


def test_an_in_place_function_becomes_the_maker_of_its_tensor() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            F.relu(x, inplace=True)
            return self.second(x)

    calls = trace(InPlace(), (torch.ones(1, 3),)).calls
    assert [call.name.rsplit(".", 1)[-1] for call in calls][-1] == "second"
    assert "relu" in calls[calls[-1].sources[0] or 0].name


def test_hooks_are_gone_when_forward_raises() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match="shapes"):
        trace(model, (torch.ones(1, 4),))
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


class Writes(nn.Module):
    """A tensor made of nothing, into which two layers' outputs are written in one of many ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(4, 4)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 4)
        a, b = self.a(x), self.b(x)
        if self.how == "index":
            out[:, :2], out[:, 2:] = a, b
        elif self.how == "copy_ to views":
            left, right = out.chunk(2, dim=1)
            left.copy_(a)
            right.copy_(b)
        elif self.how == "out":
            torch.cat([a, b], dim=1, out=out)
        elif self.how == "in-place operator":
            left = out[:, :2]
            left += a
            out[:, 2:].add_(b)
        elif self.how == "data":
            out.data[:, :2] = a
            out.data[:, 2:] = b
        elif self.how == "in-place function":
            out[:, :2] = a
            F.relu(out, inplace=True)
            out[:, 2:] = b
        elif self.how == "caught error":
            try:
                self.last(x)
            except RuntimeError:
                out = torch.cat([a, b], dim=1)
        return self.last(out)


def ancestors(result: Trace, number: int) -> set[str]:
    """Names of the modules whose output reached a call."""
    found: set[str] = set()
    waiting, seen = [number], set()
    while waiting:
        call = result.calls[waiting.pop()]
        for source in call.sources:
            if source is not None and source not in seen:
                seen.add(source)
                waiting.append(source)
                if result.calls[source].module is not None:
                    found.add(result.calls[source].name)
    return found


@pytest.mark.parametrize(
    "how",
    [
        "index",
        "copy_ to views",
        "out",
        "in-place operator",
        "data",
        "in-place function",
        "caught error",
    ],
)
def test_a_write_makes_the_call_a_maker_and_keeps_the_earlier_ones(how: str) -> None:
    result = trace(Writes(how), (torch.ones(2, 3),))
    assert result.calls[-1].name == "last"
    assert ancestors(result, len(result.calls) - 1) == {"a", "b"}


def test_nothing_written_means_no_ancestors() -> None:
    result = trace(Writes("not at all"), (torch.ones(2, 3),))
    assert ancestors(result, len(result.calls) - 1) == set()


def test_a_caught_exception_leaves_the_place_of_later_calls_right() -> None:
    result = trace(Writes("caught error"), (torch.ones(2, 3),))
    assert [call.inside for call in result.calls] == [""] * len(result.calls)


class TakesKeywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor, *, scale: Tensor | None = None) -> Tensor:
        y = self.linear(x)
        return y if scale is None else y * scale


@pytest.mark.parametrize(
    ("example", "calls"),
    [
        (torch.ones(1, 3), 1),
        ([torch.ones(1, 3)], 1),
        ((torch.ones(1, 3),), 1),
        ({"x": torch.ones(1, 3), "scale": torch.ones(1)}, 2),
    ],
)
def test_an_example_is_a_tensor_or_positional_or_keyword_arguments(
    example: Any, calls: int
) -> None:
    assert len(trace(TakesKeywords(), example).calls) == calls


def test_another_example_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="example_args is a int"):
        trace(TakesKeywords(), 3)  # type: ignore[arg-type]


def test_a_lazy_model_is_refused_and_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    with pytest.raises(RewriteError, match=r"0\.weight: is uninitialized.* Run it once first"):
        trace(model, torch.ones(2, 3, 5, 5))
    assert model(torch.ones(2, 3, 5, 5)).shape == (2, 4, 3, 3)


def test_training_runs_what_only_training_runs_and_takes_one_value_per_channel() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.auxiliary = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return self.auxiliary(x) if self.training else x

    model, x = Auxiliary(), torch.ones(1, 3)
    assert [call.name for call in trace(model, x).calls] == ["norm"]
    assert [call.name for call in trace(model, x, training=True).calls] == ["norm", "auxiliary"]
    assert model.norm.num_batches_tracked == 0
    assert all(module.training for module in model.modules())


def test_a_source_out_of_sight_is_told_from_the_example_and_from_constants() -> None:
    hidden = [torch.ones(1, 3)]

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant, self.linear = torch.ones(1, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x + self.constant) + self.linear(hidden[0])

    calls = trace(Hidden(), torch.ones(1, 3)).calls
    assert [call.has_unseen_source for call in calls] == [False, False, True, False]


def test_the_example_is_left_alone_and_outputs_are_copied_before_it_is_put_back() -> None:
    x = torch.full((1, 3), -1.0)
    result = trace(nn.ReLU(inplace=True), x)
    torch.testing.assert_close(x, torch.full((1, 3), -1.0), rtol=0, atol=0)
    torch.testing.assert_close(result.output_tensors, [torch.zeros(1, 3)], rtol=0, atol=0)


def test_parameters_that_a_primitive_module_reads_are_noted() -> None:
    assert trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(1, 3)).parameters_read == {
        "0.weight",
        "0.bias",
    }
