"""Gradient shift against copies with mixed weights, on chains and others, and in closed form."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from bnkit.lab import Recorder
from bnkit.lab.probes.gradient_shift import GradientShift
from bnkit.lab.probes.partial_passes import RecordedForward
from bnkit.layers import NoisyBatchNorm2d
from lab.probes.probed_networks import NETWORKS, Taken, batches, length, network


def preceding(model: nn.Module, layer: str, kept: tuple[str, ...] = ()) -> list[str]:
    """Return the parameters of modules that the network's author says run before a layer."""
    order: tuple[str, ...] = model.order
    earlier = [each for each in order[: order.index(layer)] if each not in kept]
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if name.partition(".")[0] in earlier]


def shift_by_copies(taken: Taken, layer: str, updated: list[str]) -> tuple[float, float, float]:
    _, here = taken.plain(taken.before)
    _, there = taken.plain(taken.mixed(updated))
    names = [n for n in here if n.startswith(f"{layer}.") and here[n].dim() > 1]
    names = names or [n for n in here if n.startswith(f"{layer}.")]
    difference = length([here[n] - there[n] for n in names])
    size = length([here[n] for n in names])
    product = sum(float((here[n] * there[n]).sum()) for n in names)
    return difference, difference / size, product / size / length([there[n] for n in names])


def assert_equals_copies(taken: Taken) -> None:
    layers = {layer for _, layer, _ in taken.found if layer is not None}
    assert len(layers) > 2
    preceded = layers - {taken.before.order[0]}
    for metric in ("gradient cosine", "relative gradient shift"):
        mean = sum(taken.found[metric, layer, None] for layer in preceded) / len(preceded)
        assert taken.found[f"mean {metric}", None, None] == pytest.approx(mean)
    for layer in layers:
        # The batch norm that all layers of `Shared` feed runs before the second, and stays.
        kept = ("norm",) if layer == "shared" else ()
        updated = preceding(taken.before, layer, kept)
        expected = shift_by_copies(taken, layer, updated)
        found = [
            taken.found[metric, layer, None]
            for metric in ("gradient shift", "relative gradient shift", "gradient cosine")
        ]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), layer
        assert found[0] > 0 or layer == taken.before.order[0]


@pytest.mark.parametrize("sizes", [(8,), (8, 5)], ids=["whole", "accumulated"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_copies_with_mixed_weights(name: str, sizes: tuple[int, ...]) -> None:
    probe = GradientShift(when=1, layers=["every weight", "*norm*"])
    assert_equals_copies(Taken(network(name), probe, batches(*sizes)))


def test_the_optimizers_actual_step_counts_where_gradients_are_clipped() -> None:
    probe = GradientShift(when=1)
    assert_equals_copies(Taken(network("Residual"), probe, batches(8), clip=0.1, is_plain=False))


def test_the_comparison_can_fail() -> None:
    taken = Taken(network("Residual"), GradientShift(when=1), batches(8))
    updated = [name for name, _ in taken.before.named_parameters()]
    expected = shift_by_copies(taken, "conv2", updated)
    assert taken.found["gradient shift", "conv2", None] != pytest.approx(expected[0], rel=1e-3)


def test_two_linear_layers_in_closed_form() -> None:
    # L = ½(b·a·x − y)²: dL/db = (bax − y)·ax, so that G′ follows from a′ alone
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    a, b, x, y = 0.5, 2.0, 3.0, 1.0
    with torch.no_grad():
        model[0].weight.fill_(a)
        model[1].weight.fill_(b)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (output - target).square().mean()

    given = torch.tensor([[x]], dtype=torch.float64), torch.tensor([[y]], dtype=torch.float64)
    taken = Taken(model, GradientShift(when=1), [given], loss=loss)
    new = taken.after[0].weight.item()
    assert new != a
    here, there = (b * a * x - y) * a * x, (b * new * x - y) * new * x
    assert taken.found["gradient shift", "1", None] == pytest.approx(abs(here - there), rel=1e-12)
    assert taken.found["gradient cosine", "1", None] == pytest.approx(
        1.0 if here * there > 0 else -1
    )
    assert taken.found["gradient shift", "0", None] == 0.0


class Counting(TorchFunctionMode):
    """Counts how often linear maps are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is nn.functional.linear
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("autocast", [True, False])
def test_a_layers_bias_does_not_precede_its_weight(autocast: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    batch = torch.randn(12, 6), torch.randint(3, (12,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def weight_gradient(network: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(network(batch[0]), batch[1])
        return torch.autograd.grad(loss, network[3].weight)[0]

    before = copy.deepcopy(model)
    probe = GradientShift(when=1)
    with Recorder(model, probe, loss=nn.functional.cross_entropy, optimizer=optimizer) as recorder:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        recorder.step(batch)
    mixed = copy.deepcopy(before)
    mixed[0].load_state_dict(model[0].state_dict())
    mixed[1].load_state_dict(model[1].state_dict())
    expected = (weight_gradient(before) - weight_gradient(mixed)).norm().item()
    found = {row.layer: row.value for row in recorder.rows if row.metric == "gradient shift"}
    assert found == {"0": 0.0, "3": pytest.approx(expected, rel=1e-5)}


def test_a_chain_costs_half_a_pass_per_layer() -> None:
    layers = 10
    model = nn.Sequential()
    for _ in range(layers):
        model.extend([nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh()])
    model = model.double()
    given = torch.randn(6, 4, dtype=torch.float64), torch.randint(4, (6,))
    probe = GradientShift(when=1)
    with Counting() as counting:
        Taken(model, probe, [given])
    # the step's own forward, one at the new weights, and from each layer but the first on
    assert counting.count == layers + layers + layers * (layers - 1) // 2
    cost = probe.cost()
    assert (cost.forwards, cost.backwards, cost.copies) == (1 + layers / 2, layers / 2, 1)
    assert counting.count <= layers * (1 + cost.forwards)


def test_nan_weights_are_recorded_as_such() -> None:
    model = network("Residual")
    with torch.no_grad():
        model.conv1.weight[0] = torch.nan
    found = Taken(model, GradientShift(when=1), batches(4)).found
    assert found["gradient shift", "conv2", None] != found["gradient shift", "conv2", None]


class Checkpointed(nn.Module):
    """Its blocks run again in the backward; a hook and a function write to outputs in place."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.2)
        self.first, self.second = nn.Sequential(*layers), nn.Conv2d(4, 4, 3)
        self.norm, self.head = nn.BatchNorm2d(4, momentum=None), nn.Linear(4, 3)
        self.second.register_forward_hook(lambda _, __, output: output.mul_(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(checkpoint(self.first, x, use_reentrant=False))
        x += 1
        return self.head(self.norm(self.norm(x)).tanh().mean((2, 3)))


class Parametrized(nn.Module):
    """Weights computed from others, one by a power iteration; noise, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv2d(2, 4, 3))
        self.second = parametrizations.spectral_norm(nn.Conv2d(4, 4, 3))
        self.norm, self.head = NoisyBatchNorm2d(4), nn.Linear(4, 3)
        self.mix = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.second(self.conv(x).relu()))
        return self.head(self.mix(x.flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("build", [Checkpointed, Parametrized])
def test_what_is_not_computed_again_is_as_if_it_were(
    build: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[Any, float]:
        torch.manual_seed(4)
        model = build().double()
        return Taken(model, GradientShift(when=1), batches(6, 4)).found

    skipping = RecordedForward.skipping
    partial = found()
    monkeypatch.setattr(RecordedForward, "skipping", lambda self, _: skipping(self, -1))
    assert partial == pytest.approx(found(), rel=1e-9)
    assert sum(value > 1e-3 for (metric, *_), value in partial.items() if "shift" in metric) > 2
