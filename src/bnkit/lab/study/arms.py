"""Arms: named rewrites of the network, so that they work on a user's network as on ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from bnkit.errors import NetworkError, RewriteError
from bnkit.lab.study.arm_names import NORMS
from bnkit.rewrite import Rewrite, remove


def _as_given(network: nn.Module, _: Tensor) -> Rewrite:
    return Rewrite(network)


def _without_batch_norm(network: nn.Module, example: Tensor) -> Rewrite:
    return remove(network, example, inplace=True)


_REWRITES: dict[str, Callable[[nn.Module, Tensor], Rewrite]] = {
    "batch": _as_given,
    "none": _without_batch_norm,
}
assert set(_REWRITES) == set(NORMS)


def apply_arm(network: nn.Module, norm: str, example: Tensor, name: str) -> Rewrite:
    """Rewrite a new network into an arm's; the weights that remain are not touched.

    Args:
        network: built for this trial, changed in place.
        norm: a key of `NORMS`.
        example: a batch of the data, to trace the network with.
        name: the network's name, for messages.

    Raises:
        NetworkError: the network has no batch norm, or cannot be rewritten with proof.
    """
    try:
        return _REWRITES[norm](network, example)
    except RewriteError as error:
        raise NetworkError(
            f"{error.where}: {error.given}" if error.where else error.given,
            required=error.required,
            remedy=error.remedy or "There is nothing to compare: name a network with batch norms",
            where=f"network {name}, arm norm {norm!r}",
        ) from error


def arm_notes(arm: str, rewrite: Rewrite) -> list[str]:
    """Return what an arm's rewrite did and what it skipped, one sentence for each kind."""
    grouped: dict[str, list[str]] = {}
    told = [(change.what, change.path) for change in rewrite.changes]
    told += [(f"skipped: {item.reason}", item.path) for item in rewrite.skipped]
    for what, path in told:
        grouped.setdefault(what, []).append(path or "the network itself")
    return [f"Arm {arm!r}: {what} ({_some(paths)})." for what, paths in grouped.items()]


def _some(paths: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"
