"""Networks that are no chains, a training step of them with a probe, and plain gradients of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.lab.probes import Probe, Session
from bnkit.lab.probes.objective import ClassifierObjective
from bnkit.lab.training import Computation
from bnkit.lab.training.observer import StepPlace
from bnkit.layers import BatchNorm1d, BatchNorm2d

CLASSES, RATE = 3, 0.1
LOSS = nn.functional.cross_entropy
Batch = tuple[Tensor, Tensor]


class Residual(nn.Module):
    """Adds in place to what a batch norm put out, and drops in a function of its own."""

    order = ("stem", "norm", "conv1", "norm1", "conv2", "norm2", "head")

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 3, 3), BatchNorm2d(3)
        self.conv1, self.norm1 = nn.Conv2d(3, 3, 3, padding=1, bias=False), BatchNorm2d(3)
        self.conv2, self.norm2 = nn.Conv2d(3, 3, 3, padding=1), BatchNorm2d(3)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.2)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = nn.functional.dropout(self.relu(self.norm1(self.conv1(x))), 0.3, self.training)
        y = self.norm2(self.conv2(self.drop(y)))
        y += x
        return self.head(self.drop(y.tanh()).mean((2, 3)))


class Recurrent(nn.Module):
    """An LSTM of two layers between linear ones; a module of one's own with a side effect."""

    order = ("inner", "lstm", "norm", "head")

    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3))
            self.last: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            self.last[:] = [x.mean()]
            return x @ self.weight.T

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Linear(5, CLASSES), nn.LayerNorm(5)
        self.lstm = nn.LSTM(4, 5, num_layers=2, batch_first=True, dropout=0.2)
        self.inner = self.Remembering()

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.inner(x.flatten(2).transpose(1, 2)[..., [0, 1, 0]]))
        return self.head(self.norm(y[:, -1])) * (1 + self.inner.last[0])


class Shared(nn.Module):
    """One linear layer called three times, one batch norm fed by all."""

    order = ("first", "norm", "shared", "head")

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared = nn.Linear(8, 4), nn.Linear(4, 4)
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x[:, :, 0, :4].flatten(1)))
        for _ in range(2):
            x = self.norm(self.shared(x.tanh()))
        return self.head(x)


class Tied(nn.Module):
    """Its first and its last map are one weight; a scale of its own is used between."""

    order = ("encoder", "scale", "middle", "norm")

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.middle = nn.Linear(8, CLASSES), nn.Linear(CLASSES, 8)
        self.norm, self.scale = BatchNorm1d(8), nn.Parameter(torch.full((1, CLASSES), 1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x[:, :, 0, :4].flatten(1)).sigmoid() * self.scale
        return nn.functional.linear(self.norm(self.middle(x)), self.encoder.weight)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    each.__name__: each for each in (Residual, Recurrent, Shared, Tied)
}


def network(name: str) -> nn.Module:
    torch.manual_seed(4)
    return NETWORKS[name]().double()


def batches(*sizes: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(9)
    shape = (2, 6, 6)
    return [
        (
            torch.randn(size, *shape, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for size in sizes
    ]


class Taken:
    """A step of SGD with momentum and weight decay, clipped on demand, watched by a probe.

    Attributes:
        found: (metric, layer, key) → value.
        before, after: copies of the network around the update.
        random_states: at the forward of each batch.
        rows: what the probe recorded.
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Probe,
        given: Sequence[Any],
        *,
        loss: Any = LOSS,
        is_plain: bool = True,
        clip: float | None = None,
    ) -> None:
        probe.prepare(model)
        session = Session(model, [probe], ClassifierObjective(loss, Computation("float64")))
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=0.01)
        for parameter in model.parameters():
            state = torch.randn(parameter.shape, dtype=parameter.dtype)
            optimizer.state[parameter]["momentum_buffer"] = 0.1 * state
        self.batches, self.loss = given, loss
        self.random_states = []
        self.before = copy.deepcopy(model)
        session.begin(StepPlace(1, 1))
        total = 0.0
        for share, (images, labels) in zip(self.shares, given, strict=True):
            self.random_states.append(torch.get_rng_state())
            value = loss(model(images), labels) * share
            value.backward()
            total += value.item()
        session.before_update(given, RATE, is_plain_gradient=is_plain, loss=total)
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        session.after_update()
        self.after = model
        self.rows = session.rows
        self.found = {(row.metric, row.layer, row.key): row.value for row in session.rows}

    @property
    def shares(self) -> list[float]:
        counts = [len(labels) for _, labels in self.batches]
        return [count / sum(counts) for count in counts]

    def plain(self, model: nn.Module) -> tuple[float, dict[str, Tensor]]:
        """Return loss and gradient at a copy's weights, from the step's buffers and draws."""
        model = copy.deepcopy(model)
        model.load_state_dict({**model.state_dict(), **dict(self.before.named_buffers())})
        model.zero_grad(set_to_none=True)
        total = 0.0
        for share, (images, labels), state in zip(
            self.shares, self.batches, self.random_states, strict=True
        ):
            torch.set_rng_state(state)
            loss = self.loss(model(images), labels) * share
            loss.backward()
            total += loss.item()
        named = model.named_parameters()
        return total, {name: each.grad for name, each in named if each.grad is not None}

    def mixed(self, updated: Sequence[str]) -> nn.Module:
        """Return the network before the update, with some parameters as they are after it."""
        model = copy.deepcopy(self.before)
        new = dict(self.after.named_parameters())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in updated:
                    parameter.copy_(new[name])
        return model


def length(tensors: Sequence[Tensor]) -> float:
    return float(torch.cat([each.reshape(-1) for each in tensors]).norm())
