"""Which layers feed a batch norm: from its input backwards, up to what applies weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.inspection.trace import Call, Trace
from bnkit.rewrite.result import Skipped

_FEEDING_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
# A bias is in the weights already: each row of an embedding can be shifted.
_NEED_NO_BIAS = (_BatchNorm, nn.Embedding, nn.EmbeddingBag)

# Functions that take input, weight and, in third place, a bias.
_CONVOLUTION = re.compile(r"(\w+_)?conv(_transpose|_tbc|olution)?(\dd)?(_\w+)?|linear")
# Functions of which a factor can be a weight.
# fmt: off
_PRODUCTS = {
    "matmul", "rmatmul", "imatmul", "mm", "bmm", "mv", "dot", "vdot", "vecdot", "inner", "outer",
    "ger", "kron", "tensordot", "einsum", "chain_matmul", "multi_dot", "spmm", "smm", "hspmm",
    "dsmm", "bilinear", "scaled_dot_product_attention", "multi_head_attention_forward", "lstm",
    "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
}
# fmt: on
# Functions that add a product to their first tensor.
_ADDED_PRODUCTS = {"addmm", "addbmm", "baddbmm", "addmv", "addr", "sspaddmm"}

_UNSEEN = (
    "what makes its input could not be followed, so a layer that feeds it may lack the bias that "
    "it made redundant"
)
_NEVER_RAN = (
    "removed, but it never ran on the example, so a layer that feeds it may lack the bias that it "
    "made redundant"
)


@dataclass
class Feeding:
    """What feeds a network's batch norms.

    Attributes:
        paths: feeding layers that have no bias and can be given one, in the order in which they
            first ran → whether it is to be trained: where a β that it stands for is.
        skipped: what feeds a batch norm without a bias and can be given none, and batch norms of
            which it is not known what feeds them.
    """

    paths: dict[str, bool] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def find_feeding(
    norms: dict[str, _BatchNorm], traces: Sequence[Trace], failure: str = ""
) -> Feeding:
    """Return what feeds the batch norms, by all traces together.

    Args:
        norms: path → layer, shared ones under each of their paths; some of the network's, or all.
        traces: of the network that holds them.
        failure: why a further trace is missing, as a clause; told of what never ran.
    """
    paths: dict[str, bool] = {}
    skipped: dict[Skipped, None] = {}
    wanted = {id(layer) for layer in norms.values()}
    ran: set[int] = set()
    for watched in traces:
        ends: dict[int, bool] = {}
        for call in watched.calls:
            if not isinstance(call.module, _BatchNorm) or id(call.module) not in wanted:
                continue
            ran.add(id(call.module))
            if call.module.bias is None:  # nothing did a bias's work
                continue
            search = _search(watched, call)
            for number in search.ends:
                ends[number] = ends.get(number, False) or call.module.bias.requires_grad
            if search.is_incomplete:
                skipped[Skipped(call.name, _UNSEEN)] = None
        for number in sorted(ends):
            _judge(watched.calls[number], ends[number], paths, skipped)
    reason = f"{_NEVER_RAN}; {failure}" if failure else _NEVER_RAN
    missed = [Skipped(path, reason) for path, layer in norms.items() if id(layer) not in ran]
    return Feeding(paths, [*skipped, *missed])


@dataclass
class _Search:
    ends: set[int]
    is_incomplete: bool


def layers_behind(watched: Trace, sources: Iterable[int | None]) -> set[int]:
    """Return the calls that apply weights, met first from some calls' outputs backwards.

    Args:
        watched: a trace.
        sources: numbers of calls; None for what came from outside.
    """
    return _search_from(watched, sources, has_unseen=False).ends


def _search(watched: Trace, norm: Call) -> _Search:
    return _search_from(watched, norm.sources[:1], has_unseen=norm.has_unseen_source)


def _search_from(watched: Trace, sources: Iterable[int | None], *, has_unseen: bool) -> _Search:
    ends: set[int] = set()
    seen: set[int] = set()
    comes_from_outside = False
    waiting = list(sources)
    while waiting:
        number = waiting.pop()
        if number is None:
            comes_from_outside = True
            continue
        if number in seen:
            continue
        seen.add(number)
        call = watched.calls[number]
        if _applies_weights(call):
            ends.add(number)
        else:
            has_unseen |= call.has_unseen_source
            waiting += call.sources
    # A tensor that was made of nothing, such as torch.empty's, has been filled out of sight.
    return _Search(ends, has_unseen or not (ends or comes_from_outside))


def _applies_weights(call: Call) -> bool:
    if call.module is None:
        name = _short_name(call)
        return name in _PRODUCTS | _ADDED_PRODUCTS or bool(_CONVOLUTION.fullmatch(name))
    # PReLU's slope is a parameter, yet a bias before it is still the bias of the layer before it.
    if isinstance(call.module, nn.PReLU):
        return False
    return isinstance(call.module, _FEEDING_LAYERS) or any(True for _ in call.module.parameters())


def _judge(
    call: Call, is_trained: bool, paths: dict[str, bool], skipped: dict[Skipped, None]
) -> None:
    """Sort a call at which a search ended: to be given a bias, to be told of, or neither."""
    if call.module is None:
        if not _function_has_bias(call):
            reason = f"{call.name} feeds a batch norm, and a function can be given no bias"
            skipped[Skipped(call.inside, reason)] = None
    elif isinstance(call.module, _FEEDING_LAYERS):
        if getattr(call.module, "bias", None) is None:
            paths[call.name] = paths.get(call.name, False) or is_trained
    elif not _module_has_bias(call.module):
        kind = type(call.module).__name__
        reason = f"feeds a batch norm without a bias; a {kind} can be given none"
        skipped[Skipped(call.name, reason)] = None


def _function_has_bias(call: Call) -> bool:
    name = _short_name(call)
    if name in _ADDED_PRODUCTS:
        return call.sources[0] is None
    if name == "bilinear":
        return len(call.sources) > 3
    return bool(_CONVOLUTION.fullmatch(name)) and len(call.sources) > 2


def _module_has_bias(module: nn.Module) -> bool:
    return isinstance(module, _NEED_NO_BIAS) or any(
        "bias" in name for name, _ in module.named_parameters()
    )


def _short_name(call: Call) -> str:
    return call.name.rsplit(".", 1)[-1].strip("_")
