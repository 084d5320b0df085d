"""Turn a network's batch norms into another kind of layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import ArgumentError, ArgumentTypeError, RewriteError, did_you_mean
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, Trace, as_call, refuse_uninitialized, uncompiled
from bnkit.inspection.walk import norm_kind
from bnkit.rewrite.acceleration.layer_check import LayerCheck, check_of, compare
from bnkit.rewrite.acceleration.network_check import NetworkCheck, check_of_network, excess
from bnkit.rewrite.conversion.norm_candidate import Candidate, find_candidates
from bnkit.rewrite.conversion.norm_kinds import KINDS, NormKind, Refusal
from bnkit.rewrite.double_trace import trace_as_given
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.optimizer_groups import OptimizerGroups, groups_of
from bnkit.rewrite.output_check import OutputCheck
from bnkit.rewrite.result import Rewrite
from bnkit.rewrite.rewrite_arguments import refuse_scripted

_MOST_GROUPS = 32
_RETRAIN = (
    "the network computes another function now: train or fine-tune it before use; statistics of "
    "the batch norms that became another kind are gone"
)
_NO_EXAMPLE = "outputs were not compared: give example_args"


def convert(
    model: nn.Module,
    to: str = "bnkit",
    *,
    layers: Patterns | None = None,
    example_args: Example | None = None,
    optimizer: Any = None,
    inplace: bool = False,
    groups: int = _MOST_GROUPS,
) -> Rewrite:
    """Turn batch norms into another kind of layer; weight, bias, eps and modes are carried over.

    The kinds, and what the network gives then:

    - "bnkit", "torch": bnkit's or torch's BatchNorm1d, 2d or 3d; the same, in both modes.
    - "frozen": the same layer, constant: γ, β and statistics, also after `train()`; the same in
      eval mode.
    - "group": GroupNorm with the largest number of groups that divides C, up to `groups` and C/2;
      it has to be retrained.
    - "layer": GroupNorm with one group, over channels and places, γ and β per channel; it has to be
      retrained. Over (N, C) that is `nn.LayerNorm(C)`.
    - "instance": InstanceNorm1d, 2d or 3d without running statistics; it has to be retrained.

    For "bnkit", "torch" and "frozen" the layer stays the same object and only its class changes, so
    hooks, optimizers and whatever else refers to it go on working. For the other kinds a new layer
    takes its place in every place, with the same parameter objects, mode and hooks; its running
    statistics are gone. A `BatchNormAct` goes on adding and activating. A subclass with behaviour
    of its own is frozen with it, and left as it is by every other kind; `.skipped` says why.

    Args:
        model: any network with at least one batch norm.
        to: the kind.
        layers: paths or patterns such as "layer1.*"; None for all.
        example_args: the input of one forward: a tensor, positional arguments in a tuple or list,
            or keyword arguments in a mapping. With it the whole network is compared; some layers
            can be converted only with it.
        optimizer: one that holds the model's parameters, with `inplace`: frozen ones leave it. The
            other kinds keep the parameter objects, so it goes on training them.
        inplace: change the model itself and not a copy.
        groups: for "group" alone: how many groups at most.

    Returns:
        The rewrite; `.difference` is measured in eval mode where there is an example.

    Raises:
        ArgumentTypeError: `model` is no module, or another argument of a wrong type.
        ArgumentError: no such kind; `groups` below 1, or given for another kind.
        RewriteError: there is no batch norm, or a pattern names no normalization layer; parameters
            are uninitialized; a part is TorchScript; an optimizer is given without `inplace`, or
            holds none of the parameters; the network does not run on the example, before or after;
            a layer or the network gives something else where it must give the same; a layer that
            was replaced still runs. The model is then as it was.

    Cost: without an example none beyond the layers; with one four or five forwards, for "bnkit" and
    "torch" six, four of them with backward, and up to eight more where rounding is amplified; a
    copy of the model unless `inplace`.
    """
    kind = _checked(model, to, groups)
    refuse_uninitialized(model)
    chosen = _chosen(model, layers, example_args)
    held = groups_of(optimizer, inplace=inplace)
    with ExitStack() as kept:
        for context in (uncompiled(), torch.inference_mode(False), torch.enable_grad()):
            kept.enter_context(context)
        if not inplace and example_args is not None:
            # A closure that was not copied may run the original.
            kept.enter_context(preserve(model, example_args))
        edits = kept.enter_context(rewriting("convert", model, inplace=inplace))
        _Conversion(edits, kind, groups, example_args, held).run(chosen)
    return edits.rewrite


def _checked(model: Any, to: Any, groups: Any) -> NormKind:
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"model is a {type(model).__name__}", required="a network, a torch.nn.Module"
        )
    if not isinstance(to, str) or to not in KINDS:
        remedy = did_you_mean(to, KINDS) if isinstance(to, str) else ""
        if to == "sync":
            remedy = (
                "A synchronised layer of bnkit's does not exist yet; torch's is made by torch.nn."
                "SyncBatchNorm.convert_sync_batchnorm, which drops what a subclass adds"
            )
        kind = ArgumentError if isinstance(to, str) else ArgumentTypeError
        raise kind(
            f"there is no kind {to!r} to convert to",
            required=f"one of {', '.join(KINDS)}",
            remedy=remedy,
        )
    if not isinstance(groups, int) or isinstance(groups, bool):
        raise ArgumentTypeError(f"got groups={groups!r}", required="a whole number")
    if groups < 1:
        raise ArgumentError(f"got groups={groups}", required="at least one group")
    if to != "group" and groups != _MOST_GROUPS:
        raise ArgumentError(
            f"got groups={groups} and to={to!r}", required="groups is for to='group' alone"
        )
    return KINDS[to]


def _chosen(
    model: nn.Module, layers: Patterns | None, example: Example | None
) -> dict[str, nn.Module]:
    """Return path → normalization layer."""
    if example is not None:
        as_call(example)
    refuse_scripted(model, "its layers cannot be changed")
    every = [module for module in model.modules() if norm_kind(module) is not None]
    if not any(isinstance(module, _BatchNorm) for module in every):
        others = sorted({type(module).__name__ for module in every})
        raise RewriteError(
            "the network has no batch norm" + (f", only {', '.join(others)}" if others else ""),
            required="at least one torch.nn.BatchNorm1d, 2d or 3d that is registered as a "
            "submodule",
        )
    is_norm = lambda module: norm_kind(module) is not None  # noqa: E731
    return chosen_layers(model, layers, is_norm, "normalization layer")


class _Conversion:
    """One conversion, step by step."""

    def __init__(
        self,
        edits: Edits,
        kind: NormKind,
        groups: int,
        example: Example | None,
        optimizer: OptimizerGroups | None,
    ) -> None:
        self.edits, self.kind, self.groups = edits, kind, groups
        self.example, self.optimizer = example, optimizer
        self.is_exact = "training" in kind.preserves

    def run(self, chosen: dict[str, nn.Module]) -> None:
        """Convert what can be converted, and show that the network is what it has to be."""
        edits, model = self.edits, self.edits.model
        norms = {}
        for path in chosen:
            layer = model.get_submodule(path)
            if isinstance(layer, _BatchNorm):
                norms[path] = layer
            else:
                name = type(layer).__name__
                edits.skipped(path, f"is a {name} and no batch norm, so it is left as it is")
        traces = None
        check: NetworkCheck | OutputCheck | None = None
        if self.example is not None:
            traces = trace_as_given(model, self.example).traces
            self._skip_functions(traces)
            if self.is_exact:
                check = check_of_network(model, self.example)
            else:
                check = OutputCheck(edits.given, self.example, ["eval"])
        candidates = find_candidates(model, norms, traces)
        if self.optimizer is not None:
            self._refuse_stranger(candidates)
        done = [norm for norm in candidates if self._convert(norm)]
        self._compare(done, check)
        if done and not self.kind.preserves:
            edits.rewrite.notes.append(_RETRAIN)

    def _skip_functions(self, traces: Iterable[Trace]) -> None:
        places = {
            (call.inside, call.name)
            for watched in traces
            for call in watched.calls
            if call.module is None and "batch_norm" in call.name
        }
        for inside, name in sorted(places):
            self.edits.skipped(
                inside,
                f"calls batch norm as a function, {name}, or a layer that is not registered, "
                "which is left as it is",
            )

    def _refuse_stranger(self, candidates: Iterable[Candidate]) -> None:
        assert self.optimizer is not None
        trained = [p for norm in candidates for p in norm.layer.parameters() if p.requires_grad]
        if trained and all(self.optimizer.group_of(p) is None for p in trained):
            raise RewriteError(
                "the optimizer holds none of the parameters of the layers to convert",
                required="the optimizer that trains this model",
                remedy="Build it from model.parameters(), or leave out optimizer",
            )

    def _convert(self, norm: Candidate) -> bool:
        edits, layer = self.edits, norm.layer
        tensors = [*layer.parameters(), *layer.buffers()]
        trained = [p for p in layer._parameters.values() if p is not None and p.requires_grad]
        check = None
        if self.is_exact and norm.base is not nn.SyncBatchNorm:
            check = _check_of(layer) if not any(t.is_meta for t in tensors) else None
        try:
            what = self.kind.convert(edits, norm, self.groups)
        except Refusal as reason:
            edits.skipped(norm.path, f"left as it is, because {reason}")
            return False
        edits.changed(norm.path, what)
        if check is not None:
            compare(norm.path, check, layer)
        elif self.is_exact and self.example is None:
            edits.skipped(norm.path, "converted without a check, because it could not be run alone")
        for parameter in trained:
            if self.optimizer is not None and not parameter.requires_grad:
                edits.also_undo(self.optimizer.drop(parameter))
        return True

    def _compare(self, done: list[Candidate], check: NetworkCheck | OutputCheck | None) -> None:
        edits, example, found = self.edits, self.example, ""
        if example is None or check is None:
            edits.skipped("", _NO_EXAMPLE)
            return
        edits.rewrite.skipped += check.skipped
        layers = [norm.layer for norm in done]
        if isinstance(check, NetworkCheck):
            found = excess(edits.rewrite, example, check, layers)
        elif self.kind.preserves:
            found = check.excess(edits.model, layers, in_training=False)
        if found:
            raise RewriteError(
                f"with the layers converted {found}",
                required="the network must give what it gave before",
                remedy="Please report this with the network",
            )
        if isinstance(check, OutputCheck):
            with _refusing_to_run([] if self.kind.preserves else done):
                check.measure(edits.rewrite)


def _check_of(layer: _BatchNorm) -> LayerCheck | None:
    try:
        return check_of(layer, None)
    except Exception:
        return None


@contextmanager
def _refusing_to_run(replaced: Iterable[Candidate]) -> Iterator[None]:
    """Give a context in which it is an error that a replaced layer still runs.

    Its hooks cannot tell: they are those of the layer in its place.
    """
    ran: list[str] = []

    def stop(path: str) -> Any:
        ran.append(path)
        raise RuntimeError

    layers = list(replaced)
    for norm in layers:
        vars(norm.layer)["forward"] = lambda *_, path=norm.path: stop(path)
    try:
        yield
    except RewriteError as error:
        if not ran:
            raise
        raise RewriteError(
            "still runs after it was replaced",
            required="a batch norm may be held by its parent module alone, and not also by a "
            "function or an object that is no module",
            remedy="Call it as an attribute of its module, or keep it in torch.nn.ModuleList, "
            "ModuleDict or Sequential",
            where=ran[0] or "(model)",
        ) from error
    finally:
        for norm in layers:
            del vars(norm.layer)["forward"]
