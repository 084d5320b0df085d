"""What the contract of rewrites is tried on: every rewrite, and models of every awkward kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.layers import BatchNorm1d, BatchNormAct1d
from bnkit.rewrite import (
    Rewrite,
    accelerate,
    adapt,
    convert,
    fold,
    freeze,
    insert,
    prune,
    recalibrate,
    remove,
    unfreeze,
)

Make = Callable[..., Rewrite]


@dataclass(frozen=True)
class RewriteCase:
    """A rewrite as the contract calls it.

    Attributes:
        make: (model, example, inplace=…) → the rewrite.
        prepare: puts a model into the mode that the rewrite requires.
        is_replayable: whether its result can be saved and loaded.
        refuses: names of models on which it has nothing to do that it could prove.
    """

    make: Make
    prepare: Callable[[nn.Module], Any] = nn.Module.eval
    is_replayable: bool = True
    refuses: tuple[str, ...] = ()


def _adapt(model: nn.Module, example: Tensor, *, inplace: bool = False) -> Rewrite:
    return adapt(model, [example], weight=0.5, inplace=inplace)


def _freeze(model: nn.Module, _: Tensor, *, inplace: bool = False) -> Rewrite:
    return freeze(model, inplace=inplace)


def _recalibrate(model: nn.Module, example: Tensor, *, inplace: bool = False) -> Rewrite:
    return recalibrate(model, [example, example[:3]], inplace=inplace)


def _recalibrate_sequentially(
    model: nn.Module, example: Tensor, *, inplace: bool = False
) -> Rewrite:
    return recalibrate(model, [example, example[:3]], sequential=True, inplace=inplace)


def _unfreeze(model: nn.Module, _: Tensor, *, inplace: bool = False) -> Rewrite:
    return unfreeze(model, inplace=inplace)


def _frozen(model: nn.Module) -> None:
    freeze(model.train(), inplace=True)


def converted_to(to: str) -> Make:
    """Return a conversion of all layers, compared on the example."""

    def make(model: nn.Module, example: Any, *, inplace: bool) -> Rewrite:
        return convert(model, to, example_args=example, inplace=inplace)

    return make


REWRITES: dict[str, RewriteCase] = {
    "accelerate": RewriteCase(accelerate, is_replayable=False),
    "fold": RewriteCase(fold),
    "fold-with-border": RewriteCase(partial(fold, border="correct")),
    "adapt": RewriteCase(_adapt),
    "freeze": RewriteCase(_freeze, prepare=nn.Module.train),
    "recalibrate": RewriteCase(_recalibrate),
    "recalibrate-sequentially": RewriteCase(_recalibrate_sequentially),
    # All channels of these are returned, or made by weights that are tied.
    "prune": RewriteCase(
        partial(prune, amount=0.4, by="norm"), refuses=("residual", "shared-and-tied")
    ),
    "remove": RewriteCase(remove),
    "unfreeze": RewriteCase(_unfreeze, prepare=_frozen),
    "remove-folding": RewriteCase(partial(remove, fold_scale=True)),
    "convert-bnkit": RewriteCase(converted_to("bnkit")),
    "convert-torch": RewriteCase(converted_to("torch")),
    "convert-group": RewriteCase(converted_to("group")),
    "convert-instance": RewriteCase(converted_to("instance")),
    "convert-frozen": RewriteCase(converted_to("frozen"), nn.Module.train),
    "insert": RewriteCase(insert),
    "insert-behind-activations": RewriteCase(partial(insert, where="after-activation")),
}


class Residual(nn.Module):
    """Blocks with an addition, control flow that depends on values, and a dict as output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.norm1(self.conv1(x)))
        if x.mean() > -1e6:
            x = F.relu(self.norm2(self.conv2(x)) + x)
        return {"logits": self.head(x.mean((2, 3))), "features": x}


class SharedAndTied(nn.Module):
    """One batch norm and one activation used twice, and two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.norm, self.relu = nn.BatchNorm1d(6), nn.ReLU()
        self.third, self.last = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.again = self.last

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(self.norm(self.second(x)))
        return self.again(self.third(x))


class Bnkits(nn.Sequential):
    """Layers of bnkit's, one that activates, and layers that feed no batch norm."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), BatchNormAct1d(8), nn.Linear(8, 8)),
            *(nn.Tanh(), nn.Linear(8, 6, bias=False), BatchNorm1d(6), nn.Linear(6, 3)),
        )


class Hooked(nn.Sequential):
    """A Sequential with a hook that counts how often a layer ran."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 6, 1), nn.BatchNorm1d(6)
        )
        self[2].register_forward_hook(_pass_on)


class BeforePadding(nn.Sequential):
    """Batch norms before a conv that pads with zeros, and before a transposed one."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU()),
            *(nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, bias=False)),
        )


class Branches(nn.Module):
    """A concatenation, a depthwise conv, a shared activation, a loop, and layers without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 1, bias=False)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(10), nn.ReLU()
        self.depthwise = nn.Conv2d(10, 10, 3, groups=10, bias=False)
        self.mix = nn.Conv2d(10, 5, 1, bias=False)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(torch.cat([branch(x) for branch in (self.left, self.right)], 1)))
        x = self.relu(self.mix(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


def _pass_on(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return output * 1.0


def _drawn(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics, γ and β as after training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def _built(kind: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _drawn(kind())

    return build


# Name → (builder, example).
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "residual": (_built(Residual), torch.randn(4, 3, 8, 8)),
    "shared-and-tied": (_built(SharedAndTied), torch.randn(8, 6)),
    "before-padding": (_built(BeforePadding), torch.randn(2, 4, 7, 6)),
    "branches": (_built(Branches), torch.randn(4, 3, 6, 6)),
    "bnkits": (_built(Bnkits), torch.randn(8, 6)),
    "hooked": (_built(Hooked), torch.randn(4, 4, 9)),
}
