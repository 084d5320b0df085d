"""Arms: named rewrites of the network, so that they work on a user's network as on ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import NetworkError, RewriteError
from bnkit.lab.study.arm_names import NORMS
from bnkit.rewrite import Rewrite, convert, remove
from bnkit.rewrite.conversion.norm_candidate import (
    WITH_ACTIVATION,
    Candidate,
    find_candidates,
)
from bnkit.rewrite.edits import rewriting
from bnkit.rewrite.result import Skipped

# Wu and He 2018, table 3: 32 groups were best.
_MOST_GROUPS = 32

ArmRewrite = Callable[[nn.Module, Tensor, str], Rewrite]


def apply_arm(
    network: nn.Module, norm: str, example: Tensor, name: str, share: float = 1.0
) -> Rewrite:
    """Rewrite a new network into an arm's; the weights that remain are not touched.

    Args:
        network: built for this trial, changed in place.
        norm: a key of `NORMS`.
        example: a batch of the data, to trace the network with.
        name: the network's name, for messages.
        share: of the batch norms that the arm keeps, in (0, 1]; the others are removed first.

    Raises:
        NetworkError: the network has no batch norm, or one that the arm cannot rewrite; all of
            them are rewritten, or none.
    """
    module, _, function = NORMS[norm].home.rpartition(":")
    rewrite: ArmRewrite = getattr(import_module(module), function)
    try:
        removed = without_the_others(network, example, share)
        applied = rewrite(network, example, norm)
    except RewriteError as error:
        raise NetworkError(
            f"{error.where}: {error.given}" if error.where else error.given,
            required=error.required,
            remedy=error.remedy or "There is nothing to compare: name a network with batch norms",
            where=f"network {name}, arm norm {norm!r}",
        ) from error
    if removed is None:
        return applied
    changes, skipped = removed.changes + applied.changes, removed.skipped + applied.skipped
    return Rewrite(network, changes=changes, skipped=skipped)


def as_given(network: nn.Module, *_: Tensor | str) -> Rewrite:
    """Leave the network as it is."""
    return Rewrite(network)


def without_batch_norm(network: nn.Module, example: Tensor, _: str) -> Rewrite:
    """Remove the batch norms."""
    return remove(network, example, inplace=True)


def without_the_others(network: nn.Module, example: Tensor, share: float) -> Rewrite | None:
    """Remove batch norms until a share of them is left, evenly spread over the network.

    Of n batch norms, in the order of the network's modules, k = max(1, ⌊share · n + ½⌋) stay:
    those numbered ⌊(i + ½) · n / k⌋ for i = 0 … k − 1.

    Returns:
        What was removed; None for the whole share.

    Raises:
        RewriteError: there is none, or one that cannot be removed.
    """
    if share == 1:
        return None
    paths = list(_batch_norms(network))
    if not paths:
        raise RewriteError(
            "the network has no batch norm", required="at least one, of which a share is kept"
        )
    kept = {paths[number] for number in evenly_spread(len(paths), share)}
    others = [path for path in paths if path not in kept]
    if not others:
        reason = f"norm_share = {share:g} keeps all {len(paths)} of its batch norms"
        return Rewrite(network, skipped=[Skipped("", reason)])
    return remove(network, example, layers=others, inplace=True)


def evenly_spread(count: int, share: float) -> list[int]:
    """Return which of `count` things, one or more, make up a share of them: at least one."""
    kept = max(1, math.floor(share * count + 0.5))
    return [math.floor((number + 0.5) * count / kept) for number in range(kept)]


def converted(network: nn.Module, example: Tensor, norm: str) -> Rewrite:
    """Turn every batch norm into the kind of layer that `norm` names.

    Raises:
        RewriteError: a batch norm was left as it is, or is called as a function.
    """
    before = _batch_norms(network)
    groups = _most_groups(before) if norm == "group" else _MOST_GROUPS
    rewrite = convert(network, norm, example_args=example, inplace=True, groups=groups)
    changed = {change.path for change in rewrite.changes}
    left = {
        item.path: item.reason
        for item in rewrite.skipped
        if item.path not in changed
        and (item.path in before or "calls batch norm as a function" in item.reason)
    }
    if left:
        raise not_applied(left, norm)
    return rewrite


def without_scale(network: nn.Module, _: Tensor, norm: str) -> Rewrite:
    """Take γ and β from every batch norm.

    Raises:
        RewriteError: there is no batch norm with γ or β, or one whose class may need them.
    """
    candidates = find_candidates(network, _batch_norms(network), None)
    scaled = [found for found in candidates if found.layer.affine]
    if not scaled:
        raise RewriteError(
            "the network has no batch norm with γ and β", required="at least one to take them from"
        )
    reasons = {found.path: _why_scale_stays(found) for found in scaled}
    left = {path: reason for path, reason in reasons.items() if reason}
    if left:
        raise not_applied(left, norm)
    with rewriting("without-scale", network, inplace=True) as edits:
        for found in scaled:
            edits.set_parameter(found.layer, "weight", None)
            edits.set_parameter(found.layer, "bias", None)
            edits.set_attribute(found.layer, "affine", False)
            edits.changed(found.path, "γ and β taken away: they stay 1 and 0")
    return edits.rewrite


def with_noise(network: nn.Module, _: Tensor, norm: str) -> Rewrite:
    """Turn every batch norm into bnkit's `NoisyBatchNorm`, with the noise of its source.

    Raises:
        RewriteError: there is no batch norm, or one whose class cannot be that.
    """
    candidates = find_candidates(network, _batch_norms(network), None)
    if not candidates:
        raise RewriteError("the network has no batch norm", required="at least one to add noise to")
    reasons = {found.path: _why_no_noise(found) for found in candidates}
    left = {path: reason for path, reason in reasons.items() if reason}
    if left:
        raise not_applied(left, norm)
    with rewriting("with-noise", network, inplace=True) as edits:
        for found in candidates:
            edits.set_class(found.layer, "noisy")
            edits.changed(found.path, "noise in training: shifted and scaled by random amounts")
    return edits.rewrite


def not_applied(left: dict[str, str], norm: str) -> RewriteError:
    """Return the error for batch norms that an arm cannot rewrite: path → why, as a clause."""
    path, reason = next(iter(left.items()))
    more = f" ({len(left)} layers in all)" if len(left) > 1 else ""
    return RewriteError(
        f"{reason}{more}",
        required="an arm rewrites all of the network's batch norms, or none of them",
        remedy=f'Leave out the arm of norm = "{norm}", or name another network',
        where=path or "(model)",
    )


def _batch_norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """Return path → batch norm, each once."""
    return {path: m for path, m in network.named_modules() if isinstance(m, _BatchNorm)}


def _most_groups(norms: dict[str, _BatchNorm]) -> int:
    """Return 32, or fewer, so that groups have two channels: of one each it is instance norm."""
    fewest = min((layer.num_features for layer in norms.values()), default=_MOST_GROUPS)
    return max(1, min(_MOST_GROUPS, fewest // 2))


def _why_scale_stays(found: Candidate) -> str:
    if found.is_frozen:
        return "it is frozen"
    return found.own


def _why_no_noise(found: Candidate) -> str:
    if found.is_frozen:
        return "it is frozen"
    if found.base in WITH_ACTIVATION:
        return "it activates too, and the noise belongs before the activation"
    if found.axes is None or found.base is nn.SyncBatchNorm:
        return f"it is a {type(found.layer).__name__}, which has no noisy form"
    return found.own


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
