"""Make a network's batch norm fast: torch's layers become bnkit's, activations are fused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call, refuse_uninitialized
from bnkit.rewrite.acceleration.activation_fusion import (
    Pair,
    Refusal,
    activation_of,
    pairs_in_sequentials,
)
from bnkit.rewrite.acceleration.layer_check import LayerCheck, check_of, compare
from bnkit.rewrite.acceleration.layer_swap import Survey, fuse_activation, survey_layers, swap_class
from bnkit.rewrite.acceleration.network_check import NetworkCheck, check_of_network, excess
from bnkit.rewrite.acceleration.traced_fusion import kept_outputs, pairs_in_traces
from bnkit.rewrite.double_trace import trace_as_given
from bnkit.rewrite.history import past_of
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.result import Change, Rewrite, Skipped
from bnkit.rewrite.rewrite_arguments import refuse_scripted

_SWAPPED = "torch's {} swapped for bnkit's"
_FUSED = "the {} after it fused into it"
_IDENTITY = "{} replaced by the identity, fused into the batch norm before it"
_ELSEWHERE = (
    "activations outside of torch.nn.Sequential were not fused: which of them follow a batch norm "
    "shows in a run, for which example_args is needed"
)
_SCRIPTED = (
    "Leave out example_args, or give the network as it was before torch.jit.script or "
    "torch.jit.trace"
)
_ON_META = "swapped without a check, because its tensors are on the meta device and have no values"


def accelerate(
    model: nn.Module, example_args: Example | None = None, *, inplace: bool = False
) -> Rewrite:
    """Swap torch's BatchNorm1d, 2d and 3d for bnkit's, and fuse activations into them.

    A layer keeps its identity and all that it holds: only its class changes, so hooks, parameters
    that an optimizer has, and whatever refers to it go on working. `state_dict`, names, modes and
    buffers are unchanged. A fused activation stands as an identity where it stood; the batch norm's
    own output is then that of the activation.

    Fused are ReLU, LeakyReLU and ReLU6. Without an example that is done only inside `nn.Sequential`
    where batch norm and activation follow each other, neither is held elsewhere or hooked, and the
    network's code does nothing with the Sequential but call it. With an example one run in eval and
    one in training mode are traced, and activations are fused wherever they alone take a batch
    norm's output. An activation module that is used several times, one called as a function, and
    additions cannot be fused by swapping modules; `.skipped` names them, and
    `torch.compile(model, backend="bnkit")` fuses them.

    Each layer is compared with torch's on random input, in training and eval mode: output,
    gradients and buffers. With an example the whole network is compared too; if it gives something
    else with activations fused, they are not fused.

    Args:
        model: any network with at least one batch norm.
        example_args: the input of one forward: a tensor, positional arguments in a tuple or list,
            or keyword arguments in a mapping. A small batch will do.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.difference` is measured where there is an example.

    Raises:
        ArgumentTypeError: `model` is no module, or `example_args` none of what an example can be.
        RewriteError: there is no batch norm; parameters are uninitialized; a part is TorchScript
            and there is an example; the network does not run on the example; a layer or
            the network gives something else than before. The model is then as it was.

    Cost: with an example two forwards, four with backward, and up to eight more of those where the
    network amplifies rounding; a copy of the model unless `inplace`.
    """
    _refuse_unusable(model, example_args)
    with ExitStack() as kept:
        for context in (_without_compilation(), torch.inference_mode(False), torch.enable_grad()):
            kept.enter_context(context)
        if not inplace and example_args is not None:
            # A closure that was not copied may run the original.
            kept.enter_context(preserve(model, example_args))
        rewrite = Rewrite(
            model if inplace else copied(model), name="accelerate", _earlier=past_of(model)
        )
        try:
            _accelerate(rewrite, example_args)
        except BaseException:
            rewrite.undo()
            raise
        rewrite._finish()
    return rewrite


def _accelerate(rewrite: Rewrite, example: Example | None) -> None:
    model = rewrite.model
    survey = survey_layers(model)
    fusable = dict(chain(survey.torchs.items(), survey.ours.items()))
    check = None
    if example is None:
        pairs, refusals = _pairs_without_run(model, fusable)
    else:
        pairs, refusals = _pairs_in_run(model, fusable, example)
        check = check_of_network(model, example)
    rewrite.skipped += survey.skipped
    fusions = _swap_each(rewrite, survey, pairs)
    swapped = [change.path for change in rewrite.changes]
    rewrite.skipped += [
        Skipped(refusal.path, refusal.reason)
        for refusal in refusals
        if refusal.path in {"", *swapped, *survey.ours}
    ]
    if example is not None and check is not None:
        rewrite.skipped += check.skipped
        fusions = _check_network(rewrite, example, check, list(fusable.values()), fusions)
    fused = [pair for pair, _ in fusions]
    rewrite.changes += [Change(pair.path, _FUSED.format(pair.kind)) for pair in fused]
    rewrite.changes += [Change(p.activation_path, _IDENTITY.format(p.kind)) for p in fused]


def _refuse_unusable(model: Any, example: Any) -> None:
    if not isinstance(model, nn.Module):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ArgumentTypeError(
            f"model is {'the class' if isinstance(model, type) else 'a'} {kind}",
            required="a network, a torch.nn.Module",
            remedy="Make an object of it first" if isinstance(model, type) else "",
        )
    refuse_uninitialized(model)
    if example is not None:
        as_call(example)
        refuse_scripted(model, "a trace cannot look into it", _SCRIPTED)
    if survey_layers(model).batch_norms:
        return
    others = sorted({type(m).__name__ for m in model.modules() if "Norm" in type(m).__name__})
    raise RewriteError(
        "the network has no batch norm" + (f", only {', '.join(others)}" if others else ""),
        required="at least one torch.nn.BatchNorm1d, 2d or 3d that is registered as a submodule",
        remedy="If it calls batch_norm as a function, use torch.compile(model, "
        'backend="bnkit") instead',
    )


def _without_compilation() -> AbstractContextManager[Any]:
    """Return a context in which compiled parts of the network run as they were written."""
    # Loading Dynamo takes seconds, and without it nothing has been compiled.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


_Fusion = tuple[Pair, Callable[[], None]]


def _swap_each(rewrite: Rewrite, survey: Survey, pairs: Iterable[Pair]) -> list[_Fusion]:
    """Swap the layers and fuse the pairs, each compared with torch's; return the fused pairs."""
    by_norm = {id(pair.norm): pair for pair in pairs}
    fusions: list[_Fusion] = []
    for path, layer in chain(survey.torchs.items(), survey.ours.items()):
        pair = by_norm.get(id(layer))
        check: LayerCheck | None = None
        if any(tensor.is_meta for tensor in chain(layer.parameters(), layer.buffers())):
            rewrite.skipped.append(Skipped(path, _ON_META))
        else:
            try:
                check = check_of(layer, pair.activation if pair else None)
            except Exception as error:
                reason = f"left alone, because on random input it raised: {_first_line(error)}"
                rewrite.skipped.append(Skipped(path, reason))
                continue
        if path in survey.torchs:
            what = _SWAPPED.format(_torch_name(layer))
            rewrite._reversals.append(swap_class(layer))
            rewrite.changes.append(Change(path, what))
        if pair is not None:
            name, slope = activation_of(pair.activation) or ("", 0.0)
            fusions.append((pair, fuse_activation(layer, pair.activation, name, slope)))
            rewrite._reversals.append(fusions[-1][1])
        if check is not None:
            compare(path, check, layer)
    return fusions


def _torch_name(layer: _BatchNorm) -> str:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return next(kind.__name__ for kind in kinds if isinstance(layer, kind))


def _pairs_without_run(
    model: nn.Module, norms: dict[str, _BatchNorm]
) -> tuple[list[Pair], list[Refusal]]:
    pairs, refusals = pairs_in_sequentials(model, {id(norm): p for p, norm in norms.items()})
    told = {id(pair.activation) for pair in pairs}
    others = [m for m in model.modules() if activation_of(m) is not None and id(m) not in told]
    if others and len(pairs) + len(refusals) < len(norms):
        refusals = [*refusals, Refusal("", _ELSEWHERE)]
    return pairs, refusals


def _pairs_in_run(
    model: nn.Module, norms: dict[str, _BatchNorm], example: Example
) -> tuple[list[Pair], list[Refusal]]:
    try:
        with kept_outputs(model, norms) as kept:
            traces = trace_as_given(model, example)
    except RewriteError as error:
        if error.__cause__ is not None and not error.where:
            error.where = _where_raised(model, error.__cause__)
        raise
    if traces.training is None:
        # What a run in training mode would show is not known; what holds without a run still does.
        pairs, refusals = pairs_in_sequentials(model, {id(norm): p for p, norm in norms.items()})
        reason = f"activations were fused only inside nn.Sequential: {traces.training_error}"
        return pairs, [*refusals, Refusal("", reason)]
    return pairs_in_traces(traces.traces, norms, kept)


def _check_network(
    rewrite: Rewrite,
    example: Example,
    check: NetworkCheck,
    layers: list[_BatchNorm],
    fusions: list[_Fusion],
) -> list[_Fusion]:
    """Compare the network with what it was; return the fusions that were kept."""
    found = excess(rewrite, example, check, layers)
    if found and fusions:
        for pair, take_back in reversed(fusions):
            take_back()
            rewrite._reversals.remove(take_back)
            reason = f"not fused with its {pair.kind}, because then {found}"
            rewrite.skipped.append(Skipped(pair.path, reason))
        fusions = []
        found = excess(rewrite, example, check, layers)
    if found:
        raise RewriteError(
            f"with bnkit's layers {found}",
            required="the network must give what it gave before",
            remedy="Please report this with the network",
        )
    return fusions


def _where_raised(model: nn.Module, error: BaseException) -> str:
    """Return the path of the innermost module whose forward an error came from."""
    paths = {id(module): path for path, module in model.named_modules()}
    path, step = "", error.__traceback__
    while step is not None:
        path = paths.get(id(step.tb_frame.f_locals.get("self")), "") or path
        step = step.tb_next
    return path


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")
