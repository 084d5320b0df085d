"""Which class of bnkit's stands for which of torch's: what `named_classes` names."""

from __future__ import annotations

from torch import nn

from bnkit.layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    NoisyBatchNorm1d,
    NoisyBatchNorm2d,
    NoisyBatchNorm3d,
)
from bnkit.rewrite.acceleration.layer_swap import accelerated_class

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}
_NOISY: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: NoisyBatchNorm1d,
    nn.BatchNorm2d: NoisyBatchNorm2d,
    nn.BatchNorm3d: NoisyBatchNorm3d,
}


def bnkits(former: type[nn.Module]) -> type[nn.Module]:
    """Return bnkit's class for torch's; for a subclass of the user's one that is both."""
    namesake = next(kind for kind in _OURS if issubclass(former, kind))
    ours = _OURS[namesake]
    return ours if former is namesake else accelerated_class(former, ours)


def torchs(former: type[nn.Module]) -> type[nn.Module]:
    """Return torch's class for bnkit's; for one that is both, the user's subclass."""
    if "_accelerated_as" in vars(former):
        return former.__bases__[0]
    return next(kind for kind, ours in _OURS.items() if ours is former)


def noisy(former: type[nn.Module]) -> type[nn.Module]:
    """Return bnkit's noisy class for torch's or bnkit's; for a subclass of either one that is both.

    The noise is as `NoisyBatchNorm1d` has it by default.
    """
    given = former.__bases__[0] if "_accelerated_as" in vars(former) else former
    namesake = next(kind for kind in _NOISY if issubclass(given, kind))
    plain = (namesake, _OURS[namesake])
    return _NOISY[namesake] if given in plain else accelerated_class(given, _NOISY[namesake])


# A synchronised layer takes any rank: which one it gets is seen in a run, and stands in the name.


def bnkits_1d(_: type[nn.Module]) -> type[nn.Module]:
    """Return bnkit's BatchNorm1d."""
    return BatchNorm1d


def bnkits_2d(_: type[nn.Module]) -> type[nn.Module]:
    """Return bnkit's BatchNorm2d."""
    return BatchNorm2d


def bnkits_3d(_: type[nn.Module]) -> type[nn.Module]:
    """Return bnkit's BatchNorm3d."""
    return BatchNorm3d


def torchs_1d(_: type[nn.Module]) -> type[nn.Module]:
    """Return torch's BatchNorm1d."""
    return nn.BatchNorm1d


def torchs_2d(_: type[nn.Module]) -> type[nn.Module]:
    """Return torch's BatchNorm2d."""
    return nn.BatchNorm2d


def torchs_3d(_: type[nn.Module]) -> type[nn.Module]:
    """Return torch's BatchNorm3d."""
    return nn.BatchNorm3d
