"""What a batch norm does in eval mode, folded into the conv or linear layer directly before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from bnkit.inspection.trace import Trace
from bnkit.rewrite.edits import Edits
from bnkit.rewrite.folding.fold_arithmetic import linear_map, with_norm_after
from bnkit.rewrite.module_slots import path_of

_LINEAR_MAPS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def find_scale_pairs(
    model: nn.Module, norms: dict[str, _BatchNorm], traces: Sequence[Trace]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return which batch norms fold into which layer, and why the others do not.

    Args:
        model: the network.
        norms: path → layer, shared ones under each of their paths.
        traces: of the network.

    Returns:
        First path of a batch norm → that of the conv or linear layer that it folds into; and first
        path → the reason, as a clause, of the others.
    """
    pairs: dict[str, str] = {}
    obstacles: dict[str, str] = {}
    first = {id(layer): path for path, layer in reversed(norms.items())}
    for path, layer in norms.items():
        if first[id(layer)] == path:
            linear, reason = _layer_before(model, layer, traces)
            if linear is None:
                obstacles[path] = reason
            else:
                pairs[path] = path_of(model, linear)
    return pairs, obstacles


def _layer_before(
    model: nn.Module, norm: _BatchNorm, traces: Sequence[Trace]
) -> tuple[nn.Module | None, str]:
    found: dict[int, nn.Module] = {}
    reasons = list(_of_norm(norm))
    for watched in traces:
        linear, reason = _maker(watched, norm)
        reasons += [reason] if reason else []
        found |= {} if linear is None else {id(linear): linear}
    if not reasons and len(found) != 1:
        reasons.append("not one layer stands before it in every run" if found else "it never ran")
    if not reasons:
        reasons += _of_map(model, next(iter(found.values())), traces)
    return (None, reasons[0]) if reasons else (next(iter(found.values())), "")


def fold_scale_into(edits: Edits, linear: nn.Module, norm: _BatchNorm) -> None:
    """Give a layer weight·s and β + (bias − mean)·s, s = γ/√(var + eps), computed in float64."""
    weight, bias = linear._parameters["weight"], linear._parameters.get("bias")
    assert weight is not None
    trained = bias if bias is not None else norm.bias if norm.bias is not None else weight
    folded = with_norm_after(linear_map(linear), norm).rounded(weight.dtype)
    edits.set_parameter(linear, "weight", folded.weight.to(weight.device))
    assert folded.bias is not None
    new_bias = folded.bias.to(weight.device)
    edits.set_parameter(linear, "bias", new_bias, requires_grad=trained.requires_grad)


def _of_norm(norm: _BatchNorm) -> Iterator[str]:
    if norm.running_mean is None or norm.running_var is None:
        yield "it has no running statistics, so it normalizes by the batch in eval mode too"
    if any(getattr(norm, table) for table in _HOOK_TABLES):
        yield "it has hooks"
    if is_parametrized(norm):
        yield "it is parametrized"


def _maker(watched: Trace, norm: _BatchNorm) -> tuple[nn.Module | None, str]:
    """Return the layer that alone made a batch norm's input, or a reason; neither if none ran."""
    calls = [call for call in watched.calls if call.module is norm]
    if not calls:
        return None, ""
    if len(calls) > 1:
        return None, f"it runs {len(calls)} times in a forward"
    number = calls[0].sources[0] if calls[0].sources else None
    maker = None if number is None or calls[0].has_unseen_source else watched.calls[number]
    layer = None if maker is None else maker.module
    reason = ""
    if maker is None or number is None or layer is None:
        reason = "no conv or linear layer stands directly before it"
    elif type(layer) not in _LINEAR_MAPS and not is_parametrized(layer):
        reason = f"{maker.name}, a {type(layer).__name__}, stands directly before it"
    elif sum(other.module is layer for other in watched.calls) > 1:
        reason = f"{maker.name} is shared: it runs several times in a forward"
    elif sum(number in other.sources for other in watched.calls) > 1 or (
        number in watched.output_sources
    ):
        reason = f"the output of {maker.name} goes elsewhere too"
    elif isinstance(layer, nn.Linear) and len(maker.outputs[0].shape) != 2:
        reason = f"the channels of {maker.name} lie on the last axis, and not on the second"
    return (None, reason) if reason else (layer, "")


def _of_map(model: nn.Module, linear: nn.Module, traces: Sequence[Trace]) -> Iterator[str]:
    if is_parametrized(linear):
        yield "the layer before it is parametrized"
        return
    if any(getattr(linear, table) for table in _HOOK_TABLES):
        yield "the layer before it has hooks"
    own = [linear._parameters.get("weight"), linear._parameters.get("bias")]
    if own[0] is None or not own[0].is_floating_point():
        yield "the layer before it holds no real weight as a parameter"
        return
    ids = {id(parameter) for parameter in own if parameter is not None}
    holders = [m for m in model.modules() for p in m._parameters.values() if id(p) in ids]
    named = model.named_parameters(remove_duplicate=False)
    names = {name for name, parameter in named if id(parameter) in ids}
    is_read = any(names & set(call.held) for watched in traces for call in watched.calls)
    if len(holders) > len(ids) or is_read:
        yield "a weight of the layer before it is used elsewhere too"
