"""What is not folded, with the reason; and that it is then as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import bnkit
from helpers.drawn import drawn

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A conv, a batch norm, and what somebody does with them."""

    def __init__(self, run: Callable[[Any, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.run = run or (lambda net, x: net.norm(net.conv(x)))
        self.kept: Any = None

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def _keep(net: Any, x: Tensor) -> Tensor:
    net.kept = [net.conv(x)]
    return net.norm(net.kept[0])  # type: ignore[no-any-return]


def _twice(net: Any, x: Tensor) -> Tensor:
    return net.norm(net.conv(x)) + net.norm(net.conv(x.flip(-1)))  # type: ignore[no-any-return]


def _returned(net: Any, x: Tensor) -> dict[str, Tensor]:
    y = net.conv(x)
    return {"before": y, "after": net.norm(y)}


def _two_consumers(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) + y.mean()  # type: ignore[no-any-return]


def _as_array(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) * float(y.numpy().max() > 0)  # type: ignore[no-any-return]


RUNS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "shared": (_twice, "it is shared: it runs 2 times"),
    "returned": (_returned, "the output of conv is returned too"),
    "kept": (_keep, "the output of conv is kept after the forward"),
    "two consumers": (
        _two_consumers,
        "the output of conv goes to norm and torch.Tensor.mean",
    ),
    "read by Python": (_as_array, "the output of conv is read by numpy"),
    "in-place write": (lambda n, x: n.norm(n.conv(x).relu_()), "comes from torch.Tensor.relu_"),
    "transposed": (lambda n, x: n.norm(n.conv(x).mT), "comes from torch.Tensor.mT"),
    "reshaped": (lambda n, x: n.norm(n.conv(x).view(2, 4, 9, 4)), "comes from torch.Tensor.view"),
    "detached": (lambda n, x: n.norm(n.conv(x).detach()), "comes from torch.Tensor.detach"),
    "functional conv": (
        lambda n, x: n.norm(F.conv2d(x, n.conv.weight)),
        "comes from torch.nn.functional.conv2d",
    ),
    "weight read": (
        lambda n, x: n.norm(n.conv(x)) + n.conv.weight.mean(),
        "weight of conv is also read by mean",
    ),
    "statistics read": (
        lambda n, x: n.norm(n.conv(x)) + n.norm.running_mean.mean(),
        "running_mean of the batch norm is also read by mean",
    ),
    "never": (lambda n, x: n.conv(x), "it never ran on the example"),
    "no batch axis": (lambda n, x: n.norm(n.conv(x[0])[None]), "comes from torch.Tensor"),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_a_run_shows(name: str) -> None:
    run, reason = RUNS[name]
    _assert_left(drawn(Net(run)), X, reason)


def _assert_left(model: nn.Module, x: Tensor, reason: str) -> None:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    rewrite = bnkit.fold(model, x, inplace=True)
    assert not rewrite.changes
    assert rewrite.difference == 0
    assert any(reason in item.reason for item in rewrite.skipped), str(rewrite)
    after = model.state_dict()
    assert list(after) == list(state)
    for key, value in state.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)


def _tied(net: Any) -> None:
    net.other = nn.Conv2d(3, 4, 3)
    net.other.weight = net.conv.weight


def _shares_memory(net: Any) -> None:
    net.other = nn.Linear(27, 4)
    net.other.weight = nn.Parameter(net.conv.weight.data.view(4, 27))


def _own_forward(net: Any) -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    net.conv = Scaled(3, 4, 3)


def _norm_with_activation(net: Any) -> None:
    class NormAndReLU(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).relu()

    net.norm = NormAndReLU(4).eval()


def _instance_forward(net: Any) -> None:
    plain = net.conv.forward
    net.conv.forward = lambda x: plain(x) + 1


def _no_statistics(net: Any) -> None:
    net.norm = nn.BatchNorm2d(4, track_running_stats=False).eval()


def _hook_around(net: Any) -> None:
    net.conv = nn.Sequential(net.conv)
    net.conv.register_forward_hook(lambda *_: None)


def _weight_norm(net: Any) -> None:
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(net.conv)


PREPARED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "tied": (_tied, "weight of conv is tied to other.weight"),
    "shared memory": (_shares_memory, "weight of conv is tied to other.weight"),
    "weight norm": (
        lambda n: parametrizations.weight_norm(n.conv),
        "weight of conv is parametrized",
    ),
    "spectral norm": (
        lambda n: parametrizations.spectral_norm(n.conv),
        "weight of conv is parametrized",
    ),
    "old weight norm": (_weight_norm, "conv has a hook"),
    "forward hook": (lambda n: n.conv.register_forward_hook(lambda *_: None), "conv has a hook"),
    "pre-hook": (lambda n: n.norm.register_forward_pre_hook(lambda *_: None), "it has a hook"),
    "backward hook": (
        lambda n: n.conv.register_full_backward_hook(lambda *_: None),
        "conv has a hook",
    ),
    "hook around": (_hook_around, "the output of conv.0 is seen by a hook on conv"),
    "own forward": (_own_forward, "conv is a Scaled, with a forward of its own"),
    "forward of the object": (_instance_forward, "with a forward of its own"),
    "subclassed batch norm": (_norm_with_activation, "it is a NormAndReLU"),
    "training": (lambda n: n.norm.train(), "it is in training mode"),
    "no statistics": (_no_statistics, "no running statistics"),
    "negative variance": (lambda n: n.norm.running_var.fill_(-1.0), "not finite in float32"),
}


@pytest.mark.parametrize("name", PREPARED)
def test_what_the_layers_are(name: str) -> None:
    prepare, reason = PREPARED[name]
    model = drawn(Net())
    prepare(model)
    if name == "negative variance":  # NaN in the outputs: they are not compared
        rewrite = bnkit.fold(model, X)
        assert reason in rewrite.skipped[0].reason
        return
    _assert_left(model, X, reason)


@pytest.mark.parametrize(
    ("layers", "example", "reason"),
    [
        ((nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 6, 4), "lie on the last axis"),
        ((nn.Linear(6, 6), nn.BatchNorm1d(6)), (5, 6, 6), "lie on the last axis"),
        ((nn.Linear(4, 6), nn.BatchNorm2d(5)), (2, 5, 3, 4), "lie on the last axis"),
        ((nn.BatchNorm1d(6), nn.Linear(6, 3)), (5, 6, 6), "lie on the last axis"),
        ((nn.Conv1d(3, 6, 1), nn.BatchNorm1d(6)), (3, 6), "without a batch axis"),
        ((nn.Conv2d(3, 4, 1), nn.BatchNorm1d(5)), (3, 5, 7), "without a batch axis"),
        ((nn.BatchNorm1d(6), nn.Conv1d(4, 2, 1)), (4, 6), "without a batch axis"),
        (
            (nn.Conv2d(3, 4, 1), nn.Dropout(0.5), nn.BatchNorm2d(4)),
            (2, 3, 5, 5),
            "comes from 1, a Dropout",
        ),
        ((nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), (2, 3, 5, 5), "comes from 1"),
        ((nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 2, 2)), (2, 3, 5, 5), "is transposed"),
        ((nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Conv2d(3, 2, 1)), (2, 3, 6, 6), "goes to 1"),
    ],
)
def test_axes_and_order(layers: Any, example: Any, reason: str) -> None:
    _assert_left(drawn(nn.Sequential(*layers)), torch.randn(example), reason)


def test_a_batch_norm_that_a_list_holds_too_is_left_and_the_others_are_folded() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.last, self.last_norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
            self.hidden = [self.conv, self.norm]

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.hidden:
                x = layer(x)
            return self.last_norm(self.last(x))  # type: ignore[no-any-return]

    rewrite = bnkit.fold(drawn(Listed()), X)
    assert [change.path for change in rewrite.changes] == ["last_norm"]
    assert [item.path for item in rewrite.skipped] == ["norm"]
    assert "norm still ran in the folded network: a list" in rewrite.skipped[0].reason
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference < 1e-5


def test_frozen_weights_control_flow_and_aliases_are_no_obstacle() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.alias(net.conv(x)) if x.sum() > -1e9 else x
        return F.relu(y)

    model = drawn(Net(run))
    model.alias = model.norm
    model.requires_grad_(False)
    rewrite = bnkit.fold(model, X)
    assert [change.path for change in rewrite.changes] == ["norm"]
    assert not any(p.requires_grad for p in rewrite.model.parameters())
    assert isinstance(rewrite.model.alias, nn.Identity)


def test_a_batch_norm_called_as_a_function_is_told() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.norm(net.conv(x))
        return F.batch_norm(y, torch.zeros(4), torch.ones(4))

    rewrite = bnkit.fold(drawn(Net(run)), X)
    assert [change.path for change in rewrite.changes if change.path == "norm"] == ["norm"]
    assert "a batch norm called as a function" in rewrite.skipped[0].reason


def test_complex_convs_are_left() -> None:
    class Complex(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(torch.view_as_real(self.conv(x + 0j)).sum(-1))  # type: ignore[no-any-return]

    model = drawn(Complex())
    model.conv = nn.Conv2d(3, 4, 3, dtype=torch.complex64)
    _assert_left(model, X, "comes from torch.Tensor.sum")


def test_a_layer_that_runs_more_often_in_training_is_told() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.norm(net.conv(x))
        return y + net.conv(x).mean() if net.training else y

    rewrite = bnkit.fold(drawn(Net(run)), X)
    assert len(rewrite.changes) == 1
    assert "in training mode conv runs 2 times, in eval mode once" in rewrite.notes
