"""The channels of what passes a layer: on which axis they lie, and their values."""

from __future__ import annotations

from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.inspection.families import module_family
from bnkit.rewrite.statistics.channel_moments import Moments, moments_of

# What these take and give has its features on the last axis.
_LAST_AXIS = ("linear", "embedding", "recurrent", "attention")


def channel_axis(module: nn.Module) -> int:
    """Return the axis on which a layer has its channels: −1 for linear layers and such, else 1."""
    is_last = module_family(module) in _LAST_AXIS or isinstance(module, nn.LayerNorm | nn.RMSNorm)
    return -1 if is_last else 1


def check_channel_axis(axis: object) -> None:
    """Raise `ProbeError` for an option that names no axis of channels."""
    is_axis = isinstance(axis, int) and not isinstance(axis, bool) and axis != 0
    if axis is not None and not is_axis:
        raise ProbeError(
            f"channel_axis = {axis!r}",
            required="1, 2 …, or −1 for the last; leave it out, and the kind of layer decides",
        )


def channels_second(tensor: Tensor, axis: int, where: str) -> Tensor:
    """Return a tensor with its channels on the second axis; (N,) is N values of one channel.

    Raises:
        ProbeError: it has no such axis.
    """
    if tensor.dim() < 2:
        return tensor.reshape(-1, 1)
    if not -tensor.dim() < axis < tensor.dim():
        raise ProbeError(
            f"channel_axis = {axis}, and the tensor is of shape {tuple(tensor.shape)}",
            required="one of its axes behind the first",
            where=where,
        )
    return tensor.movedim(axis, 1)


class MomentsByLayer:
    """Mean and variance of each channel of several layers, over all that passed them.

    A layer that runs several times in a forward has the values of all of its calls in one, or,
    where these have different numbers of channels, as an activation that a whole network shares,
    each number's channels beside each other.
    """

    def __init__(self) -> None:
        self._found: dict[str, dict[int, Moments]] = {}

    def add(self, path: str, x: Tensor) -> None:
        """Add values with their channels on the second axis; nothing if there are none."""
        if not x.numel():
            return
        own, found = self._found.setdefault(path, {}), moments_of(x).cpu()
        former = own.get(x.shape[1])
        own[x.shape[1]] = found if former is None else former.merged(found)

    def of(self, path: str) -> list[Moments]:
        """Return the moments of a layer; none if nothing passed it."""
        return list(self._found.get(path, {}).values())
