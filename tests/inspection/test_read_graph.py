"""Facts of one traced forward: shapes, options, places, what is returned, values, failures."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.errors import ForwardError
from bnkit.inspection.facts.graph import GraphFacts, TensorForm
from bnkit.inspection.read_graph import read_graph


def graph_of(model: nn.Module, example: Any) -> GraphFacts:
    return read_graph(model, example, on_real_data=False)[0]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.conv = nn.Conv1d(3, 4, 1)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.dropout(self.conv(x), 0.25, training=self.training)
        z = F.batch_norm(y, None, None, training=True, eps=0.5)
        return self.norm(z), y


def test_functions_have_families_options_and_shapes() -> None:
    graph = graph_of(Functional(), torch.randn(2, 3, 5))
    assert [call.family for call in graph.calls] == [
        "conv",
        "dropout",
        "batch-norm",
        "batch-norm",
    ]
    dropout, function, norm = graph.calls[1:]
    assert dropout.options["p"] == 0.25
    assert dropout.options["training"] is False
    assert function.function == "batch_norm"
    assert function.options["eps"] == 0.5
    assert (function.place, norm.place) == ("", "norm")
    assert norm.inputs[0].shape == (2, 4, 5)
    assert norm.outputs[0].dtype == "float32"
    assert graph.norm_calls == (function, norm)


def test_what_the_model_holds_is_named_and_bytes_are_counted() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(F.linear(x, self.weight), self.mean, torch.ones(4)).mT

    linear, _, norm, transposed = graph_of(Holds(), torch.randn(2, 3)).calls
    assert linear.held == ("", "weight")
    assert norm.held == ("", "mean", "")
    assert (transposed.family, transposed.function) == ("permute", "mT")
    assert (norm.outputs[0].size, norm.outputs[0].bytes) == (8, 32)
    forms = [TensorForm((3,), name) for name in ("bfloat16", "bool", "complex64", "float8_e5m2")]
    assert [form.bytes for form in forms] == [6, 3, 24, 3]


def test_what_is_returned_and_who_takes_what() -> None:
    graph = graph_of(Functional(), torch.randn(2, 3, 5))
    conv, dropout, function, norm = graph.calls
    assert graph.output_sources == (norm.number, dropout.number)
    assert graph.is_output(dropout)
    assert not graph.is_output(conv)
    assert graph.takers[dropout.number] == (function,)
    assert graph.source(norm) == function
    assert list(graph.upstream(norm)) == [function, dropout, conv]
    assert list(graph.upstream(norm, lambda call: call is dropout)) == [function, dropout]


def test_values_per_channel_scale_with_the_batch_also_where_axes_are_folded() -> None:
    class Folds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.flatten(0, 1))

    graph = graph_of(Folds(), torch.randn(2, 5, 3))
    (norm,) = graph.norm_calls
    assert (graph.example_size, norm.values_per_channel) == (2, 10)
    assert graph.training_values_per_channel(norm, 8) == 40


def test_a_module_that_runs_twice_has_two_calls() -> None:
    norm = nn.BatchNorm1d(3)
    graph = graph_of(nn.Sequential(norm, nn.ReLU(), norm), torch.randn(2, 3))
    assert len(graph.calls_of["0"]) == 2


def test_values_are_read_on_real_data_alone() -> None:
    x = torch.randn(4, 3, 6)
    x[:, 1] = 2.0
    x[0, :, 4:] = 0.0
    x[1, :, 2:] = 0.0
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(inplace=True))
    assert read_graph(model, x, on_real_data=False)[1] is None
    forward = read_graph(model, x, on_real_data=True)[1]
    assert forward is not None
    (values,) = forward.inputs
    assert (values.call, values.layer, values.count, values.length) == (0, "0", 24, 6)
    assert values.trailing_constant == (2, 4, 1, 1)
    expected = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.tensor(values.mean).double(), expected.mean(1))
    torch.testing.assert_close(torch.tensor(values.var).double(), expected.var(1, correction=0))
    assert values.minimum[2] < values.maximum[2]


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(5, 4, 1))), "1.0"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), "1"),
    ],
)
def test_the_layer_at_which_forward_failed_is_named(model: nn.Module, where: str) -> None:
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ForwardError, match=rf"^{where}: forward raised RuntimeError: .* \(2, 3, 4"):
        graph_of(model, torch.randn(2, 3, 4, 4))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    torch.testing.assert_close(state, dict(model.state_dict()), rtol=0, atol=0)


def test_an_error_outside_of_every_layer_is_the_model_s() -> None:
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no\nmore")

    with pytest.raises(ForwardError, match=r"^\(model\): forward raised ValueError: no; one"):
        graph_of(Raises(), torch.ones(1))


def test_memory_that_the_model_lets_go_is_freed_during_a_trace() -> None:
    alive: list[Any] = []

    class Watches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(20):
                x = x + 1
                alive.append(torch._C._WeakTensorRef(x))
            self.peak = sum(not reference.expired() for reference in alive)
            assert self.peak <= 2, "a trace keeps tensors alive"
            return x

    assert len(graph_of(Watches(), torch.ones(3)).calls) == 20
