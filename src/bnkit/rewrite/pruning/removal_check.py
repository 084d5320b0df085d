"""The proof that channels were followed rightly: a model without them gives what a masked one does.

In the masked model the weights that take in a removed channel are zero, and nothing is removed. If
the removed channels reach the outputs through those weights alone, and each was taken from its own
place, then the smaller model computes the same sums without the zeros. A channel that was taken
from a wrong place, or that something else reads, makes a difference.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from bnkit.errors import RewriteError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.trace import Example, as_call
from bnkit.rewrite.edits import Edits
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.pruning.channel_groups import ChannelGroup, Indices, owners
from bnkit.rewrite.pruning.channel_products import Products
from bnkit.rewrite.pruning.channel_removal import indices_of, remove_channels
from bnkit.rewrite.pruning.channel_trace import followed_mode
from bnkit.rewrite.result import Rewrite

# Allowed differences, in units of the largest value: in float64, and where the model runs in its
# own dtype only, with a wide margin: a misplaced channel changes outputs as much as they are large.
_EXACT, _OWN_DTYPE = 1e-7, 1e-2


class RemovalCheck:
    """Whether channels can be removed from a model without more changing than is meant.

    Args:
        model: any; left as it is.
        example: what its forward takes.
        products: of its trace.

    Raises:
        RewriteError: the outputs on the example hold nothing that could be compared.

    Cost: for each question, four to eight forwards, in float64 where the model runs in it, on
        copies of the model.
    """

    def __init__(self, model: nn.Module, example: Example, products: Products) -> None:
        self._products, self._example = products, example
        self._models = [copied(model)]
        self._tolerance = _EXACT
        try:
            double = copied(model).double()
            example = _pytree.tree_map(_double, example)
            outputs = _outputs(double, example, training=False)
        except Exception:
            self._tolerance = _OWN_DTYPE
            outputs = _outputs(model, self._example, training=False)
        else:
            self._models, self._example = [double], example
        _refuse_incomparable(outputs)
        self._models.append(_drawn(copy.deepcopy(self._models[0])))

    def failure(self, groups: Sequence[ChannelGroup], removed: Sequence[Sequence[int]]) -> str:
        """Return what goes wrong when channels are removed, as a clause; empty if nothing does."""
        indices = indices_of(groups, removed)
        for model in self._models:
            for training in (False, True):
                failure = self._failure(model, indices, training)
                if failure:
                    return failure
        return ""

    def _failure(self, model: nn.Module, indices: Indices, training: bool) -> str:
        masked, pruned = copy.deepcopy(model), copy.deepcopy(model)
        self._mask(masked, indices)
        try:
            expected = _outputs(masked, self._example, training=training)
        except Exception:
            return ""  # it did not run before either
        mode = "training" if training else "eval"
        try:
            remove_channels(Edits(Rewrite(pruned)), indices)
            found = _outputs(pruned, self._example, training=training)
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            return f"without them the model raises {type(error).__name__} in {mode} mode: {line}"
        if _are_close(expected, found, self._tolerance):
            return ""
        again = _outputs(masked, self._example, training=training, seed=1)
        if not _are_close(expected, again, self._tolerance) and _shapes(expected) == _shapes(found):
            return ""  # it draws random numbers, and more of them where there are more channels
        return (
            f"without them the model does not give in {mode} mode what it gives when they are "
            "masked, so something else depends on them or on their number"
        )

    def _mask(self, model: nn.Module, indices: Indices) -> None:
        held = owners(model)
        for name, axis in self._products.takers & set(indices):
            module, key = held[name]
            tensor = getattr(module, key).data
            tensor.index_fill_(axis, torch.tensor(indices[name, axis], device=tensor.device), 0.0)


def find_failing(
    check: RemovalCheck, groups: Sequence[ChannelGroup], removed: Sequence[Sequence[int]]
) -> dict[int, str]:
    """Return number of a group → why its channels cannot be removed, by halving.

    Cost: one check if nothing fails; else about 2·k·log₂(groups) for k groups that fail.
    """
    used = [number for number, gone in enumerate(removed) if gone]
    failing: dict[int, str] = {}

    def search(part: Sequence[int]) -> None:
        good = [number for number in part if number not in failing]
        reason = check.failure([groups[n] for n in good], [removed[n] for n in good])
        if not reason:
            return
        if len(good) == 1:
            failing[good[0]] = reason
            return
        middle = len(good) // 2
        search(good[:middle])
        search(good[middle:])
        left = [number for number in good if number not in failing]
        reason = (
            check.failure([groups[n] for n in left], [removed[n] for n in left]) if left else ""
        )
        if reason:  # each half is right alone, and both are not together
            failing.update(dict.fromkeys(left, reason))

    if used:
        search(used)
    return failing


def _drawn(model: nn.Module) -> nn.Module:
    """Give a model values under which no branch is silent, such as one whose γ began at zero."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        shape = tensor.shape
        if tensor.dim() > 1 and isinstance(tensor, nn.Parameter):
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            value = value * (2 * shape[0] / max(tensor.numel(), 1)) ** 0.5
        elif isinstance(tensor, nn.Parameter) or name.endswith("running_var"):
            value = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        elif name.endswith("running_mean"):
            value = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3
        else:
            continue
        tensor.data.copy_(value)
    return model


def _outputs(model: nn.Module, example: Example, *, training: bool, seed: int = 0) -> list[Tensor]:
    args, kwargs = as_call(example)
    with followed_mode(model, example, training=training):
        torch.manual_seed(seed)
        return [tensor.detach().clone() for tensor in tensors_in(model(*args, **kwargs))]


def _refuse_incomparable(outputs: Sequence[Tensor]) -> None:
    """Raise if an output holds NaN alone, or all together no finite value: all would be alike."""
    held = [tensor for tensor in outputs if tensor.numel()]
    what = ""
    if outputs and not held:
        what = "the outputs on the example hold no values"
    elif any(bool(tensor.isnan().all()) for tensor in held):
        what = "an output on the example holds NaN alone"
    elif held and not any(bool(tensor.isfinite().any()) for tensor in held):
        what = "the outputs on the example hold no finite value"
    if what:
        raise RewriteError(
            f"{what}, so nothing can be compared",
            required="outputs with finite values: what is removed is proved on them",
            remedy="Give an example as the network was trained on, or mend its weights",
        )


def _double(value: Any) -> Any:
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().double() if is_real else value


def _shapes(tensors: Sequence[Tensor]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def _are_close(expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float) -> bool:
    if _shapes(expected) != _shapes(found):
        return False
    for one, other in zip(expected, found, strict=True):
        if one.dtype != other.dtype:
            return False
        if not one.is_floating_point():
            if not torch.equal(one, other):
                return False
            continue
        a, b = one.double(), other.double()
        finite = a[a.isfinite()].abs()
        largest = float(finite.max()) if finite.numel() else 0.0
        if not torch.allclose(a, b, rtol=0.0, atol=tolerance * (largest or 1.0), equal_nan=True):
            return False
    return True
