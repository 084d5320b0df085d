"""Batch norms folded into the conv and linear layers beside them: fewer operations, same output."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import ArgumentError, RewriteError
from bnkit.inspection.trace import Example, refuse_uninitialized
from bnkit.rewrite.double_trace import DoubleTrace, trace_as_given
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.folding.fold_groups import fold_groups
from bnkit.rewrite.folding.fold_obstacles import kind_of
from bnkit.rewrite.folding.fold_proof import FoldedGroup, full_precision
from bnkit.rewrite.folding.foldable_pairs import Border, FoldPlan
from bnkit.rewrite.inference_tensors import refuse_inference_tensors
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.result import Rewrite
from bnkit.rewrite.rewrite_arguments import refuse_scripted, refuse_unusable

_FOR_INFERENCE = (
    "the result is for inference: what is folded uses the stored statistics in training mode too; "
    "pairs are those of the example's run"
)
_SEEN = "pairs are found by running the network once"
_CORRECTED = ", with a correction of the border"
_WHAT = "batch norm, nor a conv or linear layer"


def fold(
    model: nn.Module,
    example_args: Example | None = None,
    *,
    layers: Patterns | None = None,
    border: Border = "refuse",
    inplace: bool = False,
) -> Rewrite:
    """Fold batch norms into the conv or linear layer directly before or after them.

    s·(W x + b) + t = (s·W) x + (s·b + t), and likewise W (s·x + t) + b, where s = γ/√(var + eps)
    and t = β − s·mean. An identity stays where the batch norm was; of a `BatchNormAct` the
    addition and the activation stay.

    Pairs are found in a run of the example, never by names. What cannot be shown to be right is
    left and listed in `.skipped`: shared layers, tied or parametrized weights, hooks, an output
    that goes elsewhere too, channels on another axis, and a batch norm before a conv that pads
    with zeros, or is transposed. Folded weights are computed in float64 and rounded once; every
    pair is compared, on the first samples of its input, with the layers apart in float64.

    Args:
        model: any network in eval mode.
        example_args: the input of one forward, which is required: a tensor, positional arguments
            in a tuple or list, or keyword arguments in a mapping.
        layers: patterns of paths, of batch norms or of the layers that they go into; None for all.
        border: what becomes of a batch norm before a conv that pads with zeros or is transposed:
            "refuse" leaves it; "correct" makes the conv one that adds what its taps inside see of
            the shift, exact for inputs of any size.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; the differences are those of the outputs on the example, in eval mode.

    Raises:
        ArgumentError: no network; no example, or one without values; no pattern in `layers`;
            another word for `border`.
        RewriteError: the model is in training mode, has no batch norm, is or holds TorchScript, has
            parameters without values, or does not run on the example; a pattern names nothing; the
            folded network differs by more than rounding. The model is then as it was.

    Cost: eight forwards, and per folded pair the check on up to about 2²⁰ values of its input.
    """
    _refuse_arguments(model, example_args, layers, border)
    assert example_args is not None
    _refuse_unprovable(model)
    if inplace:
        refuse_inference_tensors(model.named_parameters(), "Fold a copy, with inplace=False")
    chosen = _chosen(model, layers)
    runs = trace_as_given(model, example_args)
    with full_precision(), rewriting("fold", model, inplace=inplace) as edits:
        done = fold_groups(edits, model, example_args, runs, border=border, chosen=chosen)
        done.outputs.measure(edits.rewrite)
        _tell(edits, done.plan, done.proved, runs)
    return edits.rewrite


def _refuse_arguments(
    model: nn.Module, example: Example | None, layers: Patterns | None, border: str
) -> None:
    refuse_unusable("fold", model, example, layers, _SEEN)
    if border not in ("refuse", "correct"):
        raise ArgumentError(f"border is {border!r}", required='it must be "refuse" or "correct"')
    refuse_uninitialized(model)
    if model.training:
        raise RewriteError(
            "the model is in training mode",
            required="a fold keeps what eval mode gives",
            remedy="Call model.eval() first",
        )


def _refuse_unprovable(model: nn.Module) -> None:
    refuse_scripted(model, "a trace cannot look into it, so it may read what is folded")
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise RewriteError(
            "the network has no batch norm",
            required="at least one torch.nn.BatchNorm1d, 2d or 3d, or a subclass",
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise RewriteError(
                "is on the meta device, without values",
                required="a fold computes with them",
                remedy="Load the weights first",
                where=name,
            )


def _chosen(model: nn.Module, layers: Patterns | None) -> set[int] | None:
    """Return the ids of the layers that are wanted; None for all."""
    if layers is None:
        return None

    def is_eligible(module: nn.Module) -> bool:
        return isinstance(module, _BatchNorm) or kind_of(module) is not None

    return {id(m) for m in chosen_layers(model, layers, is_eligible, _WHAT).values()}


def _tell(edits: Edits, plan: FoldPlan, proved: dict[str, FoldedGroup], runs: DoubleTrace) -> None:
    for path, folded in proved.items():
        group = folded.group
        for norm in group.norms:
            corrected = (
                _CORRECTED if norm in group.before and folded.numbers.taps is not None else ""
            )
            edits.changed(norm, f"folded into {path}{corrected}")
        if group.linear.bias is None and folded.numbers.bias is not None:
            edits.changed(path, "bias added, which the fold needs")
    for path, reason in plan.reasons.items():
        edits.skipped(path, f"not folded: {reason}")
    for call in runs.evaluation.calls:
        if call.module is None and "batch_norm" in call.name:
            reason = "a batch norm called as a function is not folded: make it a module"
            edits.skipped(call.inside, f"{call.name}, {reason}")
    edits.rewrite.notes.append(_FOR_INFERENCE)
    for path, times in _more_in_training(proved, runs).items():
        edits.rewrite.notes.append(f"in training mode {path} runs {times} times, in eval mode once")


def _more_in_training(proved: dict[str, FoldedGroup], runs: DoubleTrace) -> dict[str, int]:
    """Return path → calls in training mode, for layers that run once in eval mode and not there."""
    if runs.training is None:
        return {}
    calls = [call.name for call in runs.training.calls if call.module is not None]
    layers = [path for folded in proved.values() for path in folded.group.members]
    return {path: calls.count(path) for path in layers if calls.count(path) > 1}
