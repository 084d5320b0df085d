"""A step run again gives its own loss and gradient, and the weights come back bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Probe, Session
from bnkit.lab.probes.gradient_norms import GradientNorms
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import ClassifierObjective
from bnkit.lab.probes.probe import Cost, Measured
from bnkit.lab.training import Computation
from bnkit.lab.training.observer import StepPlace

LOSS = nn.functional.cross_entropy


class Watching(Probe):
    """Calls a function with the moment, between backward and update or after it."""

    kind = GradientNorms.kind

    def __init__(self, need: str, look: Any) -> None:
        super().__init__(when=1)
        self.needs = frozenset({need})
        self.look = look

    def cost(self) -> Cost:
        return Cost()

    def measure(self, moment: Moment) -> Iterator[Measured]:
        self.look(moment)
        return iter(())


class Jitter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * random.uniform(0.9, 1.1)


def model() -> nn.Module:
    torch.manual_seed(2)
    layers = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), Jitter()
    return nn.Sequential(*layers, nn.Linear(6, 3))


def batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(size, 5), torch.randint(3, (size,))) for size in sizes]


def step(network: nn.Module, given: list[Any], probe: Probe, *, is_plain: bool = False) -> None:
    """Take one SGD step over some batches, as a training loop does, with a probe."""
    session = Session(network, [probe], ClassifierObjective(LOSS, Computation()))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.01)
    examples = sum(len(labels) for _, labels in given)
    session.begin(StepPlace(1, 1))
    for images, labels in given:
        (LOSS(network(images), labels) * (len(labels) / examples)).backward()
    session.before_update(given, 0.1, is_plain_gradient=is_plain)
    optimizer.step()
    session.after_update()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def assert_equal(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize("need", ["gradient", "update"])
@pytest.mark.parametrize("sizes", [(8,), (8, 4, 2)])
def test_the_gradient_computed_again_is_the_steps_own(sizes: tuple[int, ...], need: str) -> None:
    network, seen = model(), {}

    def look(moment: Moment) -> None:
        assert moment.step is not None
        seen["gradient"] = dict(moment.step.gradient())
        seen["own"] = gradients(network)

    step(network, batches(*sizes), Watching(need, look))
    assert_equal(seen["gradient"], seen["own"])


def test_a_plain_gradient_is_not_computed_again_unless_somebody_wrote_to_it() -> None:
    network, computed = model(), []
    network.register_forward_hook(lambda *_: computed.append(1))

    def look(moment: Moment) -> None:
        assert moment.step is not None
        moment.step.gradient()

    step(network, batches(8), Watching("gradient", look), is_plain=True)
    assert len(computed) == 1
    step(network, batches(8), Watching("update", look), is_plain=True)
    assert len(computed) == 2
    for parameter in network.parameters():
        parameter.grad = None

    def clip(moment: Moment) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), 0.01)
        moment.step.updated()
        look(moment)

    step(network, batches(8), Watching("update", clip), is_plain=True)
    assert len(computed) == 4


def test_moving_along_the_gradient_and_back() -> None:
    network, seen = model(), {}

    def look(moment: Moment) -> None:
        assert moment.step is not None
        gradient, before = moment.step.gradient(), weights(network)
        with moment.step.moved(gradient, 0.5):
            seen["moved"] = weights(network)
            seen["expected"] = {n: w - 0.5 * gradient[n] for n, w in before.items()}
        seen["back"], seen["before"] = weights(network), before

    step(network, batches(8), Watching("gradient", look))
    for name, value in seen["moved"].items():
        torch.testing.assert_close(value, seen["expected"][name])
    assert_equal(seen["back"], seen["before"])


def test_weights_before_and_after_the_update() -> None:
    network, seen = model(), {}
    start = weights(network)

    def look(moment: Moment) -> None:
        assert moment.step is not None
        after = weights(network)
        with moment.step.before_update():
            assert_equal(weights(network), start)
        with moment.step.before_update(["0.weight"]):
            mixed = weights(network)
            assert_equal(mixed, {**after, "0.weight": start["0.weight"]})
        assert_equal(weights(network), after)
        seen["after"] = after

    step(network, batches(8), Watching("update", look))
    assert_equal(weights(network), seen["after"])


def test_replays_start_from_the_steps_buffers_and_modes() -> None:
    network, seen = model(), {}
    start = network[1].running_mean.clone()

    def look(moment: Moment) -> None:
        assert moment.step is not None
        network.eval()
        first = moment.step.loss_here()
        seen["losses"] = first, moment.step.loss_here()
        seen["mean"] = network[1].running_mean.clone()

    given = batches(8)
    step(network, given, Watching("gradient", look))
    assert seen["losses"][0] == seen["losses"][1]
    assert torch.equal(seen["mean"], network[1].running_mean)
    assert not torch.equal(start, network[1].running_mean)
    assert network.training


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    network = model()
    objective = ClassifierObjective(lambda output, _: output, Computation())
    probe = Watching("gradient", lambda moment: moment.step.loss_here())
    session = Session(network, [probe], objective)
    session.begin(StepPlace(1, 1))
    with pytest.raises(ProbeError, match=r"the loss is of shape \(8, 3\)"):
        session.before_update(batches(8), 0.1, is_plain_gradient=False)
