"""The arm whose batch norms are normalized by the statistics of many training images."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.trace import trace
from bnkit.lab.study.arms import not_applied
from bnkit.lab.training.full_batch import FullBatchNorm
from bnkit.layers import BatchNorm1d, BatchNorm2d, BatchNorm3d
from bnkit.rewrite import Rewrite
from bnkit.rewrite.conversion.norm_candidate import WITH_ACTIVATION, Candidate, find_candidates
from bnkit.rewrite.edits import rewriting


class FullBatchNorm1d(FullBatchNorm, BatchNorm1d):
    """`FullBatchNorm` of (N, C) and (N, C, L)."""


class FullBatchNorm2d(FullBatchNorm, BatchNorm2d):
    """`FullBatchNorm` of (N, C, H, W)."""


class FullBatchNorm3d(FullBatchNorm, BatchNorm3d):
    """`FullBatchNorm` of (N, C, D, H, W)."""


_OF_RANK: tuple[tuple[type[nn.Module], type[FullBatchNorm]], ...] = (
    (nn.BatchNorm1d, FullBatchNorm1d),
    (nn.BatchNorm2d, FullBatchNorm2d),
    (nn.BatchNorm3d, FullBatchNorm3d),
)


def with_full_batch_statistics(network: nn.Module, example: Tensor, norm: str) -> Rewrite:
    """Have every batch norm take statistics of many images, which the training loop gives it.

    Each stays the same object, with its parameters, buffers and settings; its class changes.

    Raises:
        RewriteError: there is no batch norm, or one that cannot take them.
    """
    norms = {path: m for path, m in network.named_modules() if isinstance(m, _BatchNorm)}
    if not norms:
        raise RewriteError(
            "the network has no batch norm", required="at least one whose statistics are replaced"
        )
    found = find_candidates(network, norms, [trace(network, example)])
    left = {each.path: reason for each in found if (reason := _why_it_stays(each))}
    if left:
        raise not_applied(left, norm)
    with rewriting("full-batch-statistics", network, inplace=True) as edits:
        for each in found:
            former = type(each.layer)
            each.layer.__class__ = _full_batch_class(each.layer)
            edits.also_undo(partial(setattr, each.layer, "__class__", former))
            edits.changed(each.path, "normalizes by statistics of many training images")
    return edits.rewrite


def _full_batch_class(layer: nn.Module) -> type[FullBatchNorm]:
    return next(kind for namesake, kind in _OF_RANK if isinstance(layer, namesake))


def _why_it_stays(found: Candidate) -> str:
    """Return why a batch norm cannot take other statistics, as a clause; empty if it can."""
    if found.is_frozen:
        return "it is frozen"
    if found.own:
        return found.own
    if found.base in WITH_ACTIVATION:
        return "it adds and activates too"
    if not isinstance(found.layer, tuple(namesake for namesake, _ in _OF_RANK)):
        return f"it is a {type(found.layer).__name__}, which is none of BatchNorm1d, 2d and 3d"
    if found.shapes is not None and len(found.shapes) > 1:
        return f"it runs {len(found.shapes)} times in one forward, and has one set of statistics"
    return ""
