"""The check finds a graph that is rewritten wrongly, and leaves no mark."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, symbolic_trace

import bnkit
from bnkit.compilation.agreement import Run, difference
from bnkit.compilation.call_check import calls_compared
from bnkit.compilation.graph_check import check
from bnkit.compilation.input_copies import copy_inputs, why_not_copied
from bnkit.functional import batch_norm


def as_given(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    y = F.batch_norm(x, mean, var, weight, None, True, 0.1, 1e-5)
    return (F.dropout(torch.relu(y), 0.5),)


def rewritten(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    y = torch.nn.functional.batch_norm(x, mean, var, weight, None, True, 0.1, 1e-5)
    return (F.dropout(torch.clamp_min(y, 0), 0.5),)


def wrong_momentum(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    y = F.batch_norm(x, mean, var, weight, None, True, 0.2, 1e-5)
    return (F.dropout(torch.relu(y), 0.5),)


def wrong_activation(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    y = F.batch_norm(x, mean, var, weight, None, True, 0.1, 1e-5)
    return (F.dropout(F.leaky_relu(y, 1e-4), 0.5),)


def wrong_gradient(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    y = F.batch_norm(x, mean, var, weight, None, True, 0.1, 1e-5)
    return (F.dropout(torch.relu(y).detach() + 0 * y, 0.5),)


def wrong_random_numbers(x: Any, mean: Any, var: Any, weight: Any) -> Any:
    x = F.dropout(x, 0.0)
    y = F.batch_norm(x, mean, var, weight, None, True, 0.1, 1e-5)
    return (F.dropout(torch.relu(y), 0.4),)


def example() -> list[Tensor]:
    torch.manual_seed(0)
    x, weight = torch.randn(8, 3, 5, requires_grad=True), torch.ones(3, requires_grad=True)
    return [x, torch.zeros(3), torch.ones(3), weight]


def test_the_same_graph_agrees() -> None:
    found = check(symbolic_trace(as_given), symbolic_trace(rewritten), example())
    assert not found.is_refuted
    assert found.difference == 0.0


@pytest.mark.parametrize(
    "wrong", [wrong_momentum, wrong_activation, wrong_gradient, wrong_random_numbers]
)
def test_a_wrong_graph_is_refuted(wrong: Any) -> None:
    found = check(symbolic_trace(as_given), symbolic_trace(wrong), example())
    assert found.is_refuted
    assert "disagree" in found.text
    assert found.difference is not None
    assert found.tolerance is not None
    assert found.difference > found.tolerance


def test_a_graph_that_raises_is_refuted_and_not_passed_on() -> None:
    def broken(x: Any, mean: Any, var: Any, weight: Any) -> Any:
        return (x.view(-1) + x,)

    found = check(symbolic_trace(as_given), symbolic_trace(broken), example())
    assert found.is_refuted
    assert "the rewritten graph raised RuntimeError" in found.text


def test_a_check_leaves_no_mark() -> None:
    inputs = example()
    inputs[3].grad = torch.full((3,), 7.0)
    before = [tensor.detach().clone() for tensor in inputs]
    versions = [tensor._version for tensor in inputs]
    state = torch.get_rng_state()
    check(symbolic_trace(as_given), symbolic_trace(rewritten), inputs)
    torch.testing.assert_close([tensor.detach() for tensor in inputs], before, rtol=0, atol=0)
    assert [tensor._version for tensor in inputs] == versions
    assert torch.equal(inputs[3].grad, torch.full((3,), 7.0))
    assert inputs[0].grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_a_kernel_is_held_against_torchs_operators() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return batch_norm(x, None, None, training=True, activation="relu", residual=x)

    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    keywords = {"training": True, "activation": "relu", "residual": x}
    graph.output((graph.call_function(batch_norm, (x, None, None), keywords),))
    module = GraphModule(nn.Module(), graph)
    given = torch.randn(8, 3, 5, requires_grad=True)
    with bnkit.use_kernel("reference"), calls_compared(module) as found:
        [y] = module(given)
        assert len(found) == 1
        assert 0 < found[0] < 1e-5
    torch.testing.assert_close(y, Own()(given))
    assert [node.target for node in graph.nodes if node.op == "call_function"] == [batch_norm]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([float("nan"), 2.0], [float("nan"), 2.0], 0.0),
        ([float("inf"), 2.0], [float("inf"), 2.0], 0.0),
        ([float("nan"), 2.0], [1.0, 2.0], float("inf")),
        ([3.0, 4.0], [3.0, 4.5], 0.1),
        ([0.0, 0.0], [0.0, 1e-9], float("inf")),
    ],
)
def test_differences_are_relative(one: list[float], other: list[float], expected: float) -> None:
    runs = [Run([torch.tensor(values, dtype=torch.float64)], [], []) for values in (one, other)]
    assert difference(*runs).of_each == pytest.approx(expected)


def test_tensors_of_another_form_differ() -> None:
    one = Run([torch.zeros(2)], [], [])
    for other in (torch.zeros(3), torch.zeros(2).double()):
        assert difference(one, Run([other], [], [])).of_each == float("inf")
    assert difference(one, Run([], [], [])).of_each == float("inf")


def test_copies_share_memory_as_the_inputs_do() -> None:
    whole = torch.arange(100.0)
    part, row = whole[10:30].view(4, 5), whole[10:15]
    transposed = part.t()
    copied = copy_inputs([part, row, transposed, 3], with_gradients=False).arguments
    assert copied[0].untyped_storage().nbytes() == 20 * 4
    assert [tensor.stride() for tensor in copied[:3]] == [(5, 1), (1,), (1, 5)]
    copied[1].add_(100)
    assert torch.equal(copied[0][0], row + 100)
    assert torch.equal(copied[2], copied[0].t())
    assert whole[10] == 10


def test_inputs_without_values_are_not_checked() -> None:
    inputs = [torch.empty(2, 3, device="meta")]
    assert why_not_copied(inputs) == "the example inputs hold no values"
    found = check(symbolic_trace(as_given), symbolic_trace(wrong_momentum), inputs)
    assert not found.is_refuted
    assert found.text.startswith("not checked")


def test_a_graph_that_fails_its_check_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the rewriting: the fused call gets another momentum."""
    from bnkit.compilation import graph_fusion

    right = graph_fusion.batch_norm_call
    monkeypatch.setattr(
        graph_fusion,
        "batch_norm_call",
        lambda node: None if (call := right(node)) is None else call._replace(momentum=0.5),
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())
    plain = copy.deepcopy(model)
    x = torch.randn(8, 3)
    torch.testing.assert_close(torch.compile(model, backend="bnkit")(x), plain(x))
    torch.testing.assert_close(model.state_dict(), plain.state_dict())
    [report] = bnkit.compile_reports()
    assert not report.is_rewritten
    assert "not used: outputs, buffers and gradients disagree" in str(report)
