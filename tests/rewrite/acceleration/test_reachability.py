"""Batch norms in every place where a network can hold one: removed, or refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit import remove
from bnkit.errors import RewriteError
from bnkit.inspection.trace import trace

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Holder(nn.Module):
    """Registers conv and norm, and runs what `hold` returns: something that holds them too."""

    def __init__(self, hold: Callable[[Holder], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.held = hold(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.held(x)


class InAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.steps = [self.conv, self.norm]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class InADict(InAList):
    def forward(self, x: Tensor) -> Tensor:
        held = {"norm": self.steps[1]}
        return held["norm"](self.conv(x))


class TrainingOnly(InAList):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.steps[1](x) if self.training else x


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.function = nn.BatchNorm2d(3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.norm(x))


def ones() -> Tensor:
    return torch.ones(3)


STILL_RUNS: dict[str, Callable[[], nn.Module]] = {
    "list": InAList,
    "dict": InADict,
    "training only": TrainingOnly,
    "closure": lambda: Holder(lambda m: lambda x: m.norm(m.conv(x))),
    "closure over the layer": lambda: Holder(
        lambda m: lambda x, norm=m.norm, conv=m.conv: norm(conv(x))
    ),
}
# What closes over the model itself finds the identity, if the model is changed in place.
FOLLOWS_IN_PLACE = {"closure"}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.batch_norm": lambda x: torch.batch_norm(
        x, None, None, ones(), ones(), True, 0.1, 1e-5, False
    ),
    "F.batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "native_batch_norm": lambda x: torch.native_batch_norm(
        x, None, None, ones(), ones(), True, 0.1, 1e-5
    )[0],
    "aten.native_batch_norm": lambda x: torch.ops.aten.native_batch_norm.default(
        x, None, None, None, None, True, 0.1, 1e-5
    )[0],
    "bnkit.functional": lambda x: bnkit.functional.batch_norm(x, None, None, training=True),
    "layer outside the model": nn.BatchNorm2d(3, track_running_stats=False),
    "forward of a layer": nn.BatchNorm2d(3, track_running_stats=False).forward,
}


def assert_refused(model: nn.Module, words: str, inplace: bool) -> None:
    before = repr(model), {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with pytest.raises(RewriteError, match=words):
        remove(model, X, inplace=inplace)
    assert repr(model) == before[0]
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(dict(model.state_dict()), before[1], rtol=0, atol=0)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("case", STILL_RUNS)
def test_a_batch_norm_that_still_runs_is_refused_and_leaves_no_mark(
    case: str, inplace: bool
) -> None:
    if inplace and case in FOLLOWS_IN_PLACE:
        rewrite = remove(STILL_RUNS[case](), X, inplace=True)
        assert [call.name for call in trace(rewrite.model, X).calls] == ["conv", "norm"]
        return
    assert_refused(STILL_RUNS[case](), "still runs a batch norm .* Call it as an attrib", inplace)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_batch_norm_that_is_a_function_is_refused(case: str, inplace: bool) -> None:
    function = FUNCTIONS[case]
    if case == "layer outside the model":
        outside = [function]
        model = Calls(lambda x: outside[0](x))
    else:
        model = Calls(function)
    assert_refused(model, "calls batch norm as a function", inplace)


class Keyed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"norm": nn.BatchNorm2d(4)})
        self.listed = nn.ModuleList([nn.Conv2d(3, 4, 1, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        return self.parts["norm"](self.listed[0](x))


class Sliced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body[:2](x)


class TwoNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.again = self.norm

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.norm(self.conv(x)))


class TwoParents(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shared = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
        self.left, self.right = nn.Sequential(shared), nn.Sequential(shared)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def once(model: nn.Module) -> nn.Module:
    model(X)
    return model


def pair(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), norm)


PLACES: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "ModuleDict and ModuleList": (Keyed, 1, ["listed.0"]),
    "slice of a Sequential": (Sliced, 1, ["body.0"]),
    "two names": (TwoNames, 2, ["conv"]),
    "two parents": (TwoParents, 2, ["left.0.0"]),
    "root": (lambda: nn.BatchNorm2d(3), 1, []),
    "DataParallel": (lambda: nn.DataParallel(pair(nn.BatchNorm2d(4))), 1, ["module.0"]),
    "SyncBatchNorm": (lambda: pair(nn.SyncBatchNorm(4)), 1, ["0"]),
    "LazyBatchNorm, initialized": (lambda: once(pair(nn.LazyBatchNorm2d())), 1, ["0"]),
    "bnkit": (lambda: pair(bnkit.BatchNorm2d(4)), 1, ["0"]),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("case", PLACES)
def test_a_batch_norm_is_removed_wherever_it_is_registered(case: str, inplace: bool) -> None:
    make, removed, biases = PLACES[case]
    model = make()
    before = repr(model), {name: value.clone() for name, value in model.state_dict().items()}
    rewrite = remove(model, X, inplace=inplace)
    done = [change.what.split(":")[0] for change in rewrite.changes]
    assert done.count("batch norm removed") == removed
    assert [change.path for change in rewrite.changes[removed:]] == biases
    assert rewrite.skipped == []
    assert "BatchNorm" not in repr(rewrite.model)
    restored = rewrite.undo()
    assert repr(restored) == before[0]
    torch.testing.assert_close(dict(restored.state_dict()), before[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "register",
    [
        lambda layer: layer.register_forward_hook(lambda *_: None),
        lambda layer: layer.register_forward_pre_hook(lambda *_: None),
        lambda layer: layer.register_full_backward_hook(lambda *_: None),
    ],
)
def test_hooks_on_a_batch_norm_are_told_of(register: Callable[[nn.Module], object]) -> None:
    model = pair(nn.BatchNorm2d(4))
    register(model[1])
    (item,) = remove(model, X).skipped
    assert item.path == "1"
    assert "hooks" in item.reason


def test_torchscript_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    # torch.jit.script itself warns in newer versions; what it makes is of this class.
    model.append(type("Scripted", (torch.jit.ScriptModule,), {})())
    with pytest.raises(RewriteError, match="2: is TorchScript"):
        remove(model, X)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_lazy_model_is_refused_and_can_still_be_run(inplace: bool) -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4))
    with pytest.raises(RewriteError, match="Run it once first"):
        remove(model, X, inplace=inplace)
    assert model(X).shape == (4, 4, 4, 4)
    assert [change.path for change in remove(model, X, inplace=inplace).changes] == ["1"]
