"""Which layers get a bias when batch norm goes, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from bnkit import remove

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """Runs a function of (modules, x) as its forward, which a test case can write on one line."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class SameConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Adapted(nn.Linear):
    """A linear layer with children, as adapters build it."""

    def __init__(self) -> None:
        super().__init__(3, 4, bias=False)
        self.down, self.up = nn.Linear(3, 1, bias=False), nn.Linear(1, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.up(self.down(x))


class ReadsNoBias(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2


class Detached(torch.autograd.Function):
    """Works on the values out of torch's sight, as a kernel of one's own does."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        y = torch.empty(x.shape)
        y.numpy()[:] = x.numpy() * 2
        return y


def conv(inputs: int = 3, outputs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def norm(channels: int = 4) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


def weight() -> nn.Parameter:
    return nn.Parameter(torch.ones(4, 3, 1, 1))


def flat(channels: int = 4) -> dict[str, nn.Module]:
    return {"norm": nn.BatchNorm1d(channels)}


def written_in_parts(m: Written, x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 4, 6, 6)
    out[:, :2] = m.a(x)
    out[:, 2:].copy_(m.b(x))
    return m.norm(out)


def training_only(m: Written, x: Tensor) -> Tensor:
    y = m.norm(m.conv(x))
    return y + m.auxiliary(y) if m.training else y


def training_needs_labels(m: Written, x: Tensor) -> Tensor:
    if m.training:
        raise ValueError("labels are required")
    return m.norm(m.conv(x))


# name → (network, paths that get a bias, paths and words of what is skipped)
CASES: dict[str, tuple[Callable[[], nn.Module], list[str], dict[str, str]]] = {
    "weight_norm": (
        lambda: nn.Sequential(parametrizations.weight_norm(conv()), norm()),
        ["0"],
        {},
    ),
    "spectral_norm": (
        lambda: nn.Sequential(parametrizations.spectral_norm(conv()), norm()),
        ["0"],
        {},
    ),
    "subclass": (lambda: nn.Sequential(SameConv(3, 4, 3, bias=False), norm()), ["0"], {}),
    "subclass with children": (
        lambda: Written(
            lambda m, x: m.norm(m.adapted(x.mean((2, 3)))), adapted=Adapted(), **flat()
        ),
        ["adapted"],
        {},
    ),
    "subclass that reads no bias": (
        lambda: nn.Sequential(ReadsNoBias(3, 4, 1, bias=False), norm()),
        [],
        {"0": "its forward would not use one"},
    ),
    "written in parts": (
        lambda: Written(written_in_parts, a=conv(3, 2), b=conv(3, 2), norm=norm()),
        ["a", "b"],
        {},
    ),
    "autograd function": (
        lambda: Written(lambda m, x: m.norm(Doubled.apply(m.conv(x))), conv=conv(), norm=norm()),
        ["conv"],
        {},
    ),
    "out of sight": (
        lambda: Written(lambda m, x: m.norm(Detached.apply(m.conv(x))), conv=conv(), norm=norm()),
        [],
        {"norm": "could not be followed"},
    ),
    "functional": (
        lambda: Written(lambda m, x: m.norm(F.conv2d(x, m.w)), w=weight(), norm=norm()),
        [],
        {"": "conv2d feeds a batch norm, and a function can be given no bias"},
    ),
    "functional with a bias": (
        lambda: Written(
            lambda m, x: m.norm(F.conv2d(x, m.w, m.b)),
            w=weight(),
            b=nn.Parameter(torch.zeros(4)),
            norm=norm(),
        ),
        [],
        {},
    ),
    "tensordot": (
        lambda: Written(
            lambda m, x: m.norm(torch.tensordot(x.mean((2, 3)), m.w.flatten(1), ([1], [1]))),
            w=weight(),
            **flat(),
        ),
        [],
        {"": "tensordot feeds"},
    ),
    "baddbmm": (
        lambda: Written(
            lambda m, x: m.norm(torch.baddbmm(x[:, 0] * 0, x[:, 0], x[:, 1])), **flat(6)
        ),
        [],
        {"": "baddbmm feeds"},
    ),
    "baddbmm with a bias": (
        lambda: Written(
            lambda m, x: m.norm(torch.baddbmm(m.b, x[:, 0], x[:, 1])),
            b=nn.Parameter(torch.zeros(6, 6)),
            **flat(6),
        ),
        [],
        {},
    ),
    "mv": (
        lambda: Written(
            lambda m, x: m.norm(torch.mv(x.flatten(1), m.w).view(4, 1)),
            w=nn.Parameter(torch.ones(108)),
            **flat(1),
        ),
        [],
        {"": "mv feeds"},
    ),
    "matrix operator": (
        lambda: Written(
            lambda m, x: m.norm(x.mean((2, 3)) @ m.w),
            w=nn.Parameter(torch.ones(3, 4)),
            **flat(),
        ),
        [],
        {"": "matmul feeds"},
    ),
    "attention without a bias": (
        lambda: Written(
            lambda m, x: m.norm(m.attention(*[x.flatten(2)] * 3)[0]),
            attention=nn.MultiheadAttention(36, 2, bias=False),
            **flat(3),
        ),
        [],
        {"attention": "a MultiheadAttention can be given none"},
    ),
    "attention with a bias": (
        lambda: Written(
            lambda m, x: m.norm(m.attention(*[x.flatten(2)] * 3)[0]),
            attention=nn.MultiheadAttention(36, 2),
            **flat(3),
        ),
        [],
        {},
    ),
    "recurrent without a bias": (
        lambda: Written(
            lambda m, x: m.norm(m.gru(x.flatten(2))[0]), gru=nn.GRU(36, 5, bias=False), **flat(3)
        ),
        [],
        {"gru": "a GRU can be given none"},
    ),
    "training only": (
        lambda: Written(
            training_only,
            conv=conv(),
            norm=norm(),
            auxiliary=nn.Sequential(conv(4, 4), norm()),
        ),
        ["conv", "auxiliary.0"],
        {},
    ),
    "never ran": (
        lambda: Written(lambda m, x: m.norm(m.conv(x)), conv=conv(), norm=norm(), spare=norm()),
        ["conv"],
        {"spare": "removed, but it never ran on the example"},
    ),
    "training raises, nothing unknown": (
        lambda: Written(training_needs_labels, conv=conv(), norm=norm()),
        ["conv"],
        {},
    ),
    "training raises, something unknown": (
        lambda: Written(training_needs_labels, conv=conv(), norm=norm(), spare=norm()),
        ["conv"],
        {"spare": "in training mode the network raised ValueError"},
    ),
    "batch statistics in eval mode": (
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False)),
        ["0"],
        {},
    ),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_each_feeding_layer_gets_a_bias_or_is_told_of(case: str, inplace: bool) -> None:
    make, biases, skipped = CASES[case]
    model = make()
    before = repr(model), {name: value.clone() for name, value in model.state_dict().items()}
    rewrite = remove(model, X, inplace=inplace)
    given = [change.path for change in rewrite.changes if "bias" in change.what]
    assert given == biases
    for path in biases:
        bias = rewrite.model.get_submodule(path).bias
        torch.testing.assert_close(bias.detach(), torch.zeros_like(bias), rtol=0, atol=0)
        assert bias.requires_grad
    assert {item.path for item in rewrite.skipped} == set(skipped)
    for path, words in skipped.items():
        assert any(words in item.reason for item in rewrite.skipped if item.path == path)
    restored = rewrite.undo()
    assert repr(restored) == before[0]
    torch.testing.assert_close(dict(restored.state_dict()), before[1], rtol=0, atol=0)


def test_a_given_bias_moves_the_output() -> None:
    """That the bias is read is what the rewrite checks; here it is seen to matter."""
    for case in ("weight_norm", "spectral_norm", "subclass", "subclass with children"):
        make, (path,), _ = CASES[case]
        model = remove(make(), X).model.eval()
        before = model(X)
        with torch.no_grad():
            model.get_submodule(path).bias.add_(1)
        torch.testing.assert_close(model(X), before + 1, rtol=1e-5, atol=1e-5)


def test_a_batch_norm_without_a_bias_asks_for_none() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3, affine=False))
    assert remove(model, torch.randn(4, 3)).model[0].bias is None


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_bias_is_trained_if_the_one_it_stands_for_was(is_trained: bool) -> None:
    """A frozen backbone whose γ and β still train loses no trained shift, and gains none."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(not is_trained)
    model[1].bias.requires_grad_(is_trained)
    assert remove(model, torch.randn(4, 3)).model[0].bias.requires_grad is is_trained
