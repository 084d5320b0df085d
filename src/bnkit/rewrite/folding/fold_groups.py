"""All that can be folded in a network, folded; the network is run to see that it is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example
from bnkit.rewrite.called_layers import calls_noted
from bnkit.rewrite.double_trace import DoubleTrace
from bnkit.rewrite.edits import Edits
from bnkit.rewrite.folding.fold_network_check import is_explained
from bnkit.rewrite.folding.fold_obstacles import Ties, is_act
from bnkit.rewrite.folding.fold_proof import FoldedGroup, prove
from bnkit.rewrite.folding.foldable_pairs import Border, FoldPlan, PairSearch
from bnkit.rewrite.folding.folded_layers import put_into
from bnkit.rewrite.folding.seen_outputs import outputs_seen_elsewhere
from bnkit.rewrite.network_run import run_network
from bnkit.rewrite.output_check import OutputCheck

_HELD = (
    "{} still ran in the folded network: a list, a closure or another object that is no module "
    "holds it too; keep it in torch.nn.ModuleList, ModuleDict or Sequential"
)


@dataclass(frozen=True)
class FoldOutcome:
    """What was folded.

    Attributes:
        plan: why the rest was not.
        proved: path of a conv or linear layer → what went into it.
        outputs: of the network before.
    """

    plan: FoldPlan
    proved: dict[str, FoldedGroup]
    outputs: OutputCheck


def fold_groups(
    edits: Edits,
    model: nn.Module,
    example: Example,
    runs: DoubleTrace,
    *,
    border: Border = "refuse",
    chosen: set[int] | None = None,
    any_mode: bool = False,
) -> FoldOutcome:
    """Fold all batch norms that can be shown to fold; what is in the way of others is noted.

    Args:
        edits: of a rewrite that has changed nothing yet.
        model: as given.
        example: what its forward takes.
        runs: the model's traces.
        border: as of `fold`.
        chosen: ids of the layers that are wanted; None for all.
        any_mode: also fold batch norms that are in training mode, by what they do in eval mode.

    Raises:
        RewriteError: the outputs hold no values; the network is not right in the end.
    """
    with _in_eval_mode(model) if any_mode else nullcontext():
        plan = _plan(model, example, runs, border, chosen)
    check = _NetworkCheck(model, example)
    proved = prove(model, example, plan)
    _apply_what_holds(edits, check, plan, proved)
    return FoldOutcome(plan, proved, check.outputs)


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    # In training mode, too, looking at a parametrized weight would move what it is computed from.
    with preserve(model):
        model.eval()
        yield


def _plan(
    model: nn.Module,
    example: Example,
    runs: DoubleTrace,
    border: Border,
    chosen: set[int] | None,
) -> FoldPlan:
    norms = {path: m for path, m in model.named_modules() if isinstance(m, _BatchNorm)}
    ran = {call.name: call.module for call in runs.evaluation.calls if call.module is not None}
    seen = outputs_seen_elsewhere(model, example, ran)
    ties = Ties(model, runs.traces)
    return PairSearch(runs.evaluation, ties, seen, border, chosen).plan(norms)


class _NetworkCheck:
    """What a network gave before it was folded.

    Attributes:
        outputs: the check of its outputs.
    """

    def __init__(self, model: nn.Module, example: Example) -> None:
        self.outputs = OutputCheck(model, example, ("eval",))
        self._example = example
        self._before = run_network(model, example, training=False, with_gradients=False)
        if self._before.outputs and not any(t.numel() for t in self._before.outputs):
            raise RewriteError(
                "the outputs on the example hold no values",
                required="what a fold keeps is shown on them",
                remedy="Give an example with samples",
            )

    def excess(self, model: nn.Module, layers: dict[nn.Module, float]) -> str:
        """Return what differs by more than what its layers are off by, as a clause, or nothing."""
        clause = self.outputs.excess(model, list(layers), in_training=False)
        if not clause or "raises" in clause:
            return clause
        return "" if is_explained(self._before, model, self._example, layers) else clause


def _apply_what_holds(
    edits: Edits, check: _NetworkCheck, plan: FoldPlan, proved: dict[str, FoldedGroup]
) -> None:
    """Fold all groups; if the network then is not right, all but those that make it so.

    A pair that is right in itself can be wrong in its network, if something that no trace shows
    holds one of its layers too, such as a list. Such a layer is called where it should no longer
    be, also where the outputs on the example do not show it.

    Raises:
        RewriteError: the network is not right, yet with each group alone it is.
    """
    clause = _wrong_but_for_held(edits, check, plan, proved)
    if not clause:
        return
    for path, folded in list(proved.items()):
        edits.take_back()
        alone, _ = _wrong(edits, check, {path: folded})
        if alone:
            del proved[path]
            reason = f"folded into {path} the network is not right: {alone}"
            plan.reasons |= dict.fromkeys(folded.group.norms, reason)
    edits.take_back()
    clause, _ = _wrong(edits, check, proved)
    if clause:
        raise RewriteError(
            f"the folded network is not right: {clause}",
            required="its outputs on the example must stay the same but for rounding",
            remedy="Choose what is folded with layers=",
        )


def _wrong_but_for_held(
    edits: Edits, check: _NetworkCheck, plan: FoldPlan, proved: dict[str, FoldedGroup]
) -> str:
    """Fold all groups but those of layers that still run, and return what is then wrong."""
    clause, ran = _wrong(edits, check, proved)
    while ran:
        for path, folded in list(proved.items()):
            still = [member for member in folded.group.members if member in ran]
            if still:
                del proved[path]
                reason = _HELD.format(" and ".join(still))
                plan.reasons |= dict.fromkeys(folded.group.norms, reason)
        edits.take_back()
        clause, ran = _wrong(edits, check, proved)
    return clause


def _wrong(
    edits: Edits, check: _NetworkCheck, proved: dict[str, FoldedGroup]
) -> tuple[str, set[str]]:
    """Fold groups, and return what is then wrong with the network, as a clause, and what still ran.

    What still ran are the paths of layers that should not any more: batch norms that were replaced
    and, of the network that a copy was made of, all layers of the groups.
    """
    gone: dict[nn.Module, str] = {}
    for path, folded in proved.items():
        group, model = folded.group, edits.model
        layer = model.get_submodule(path)
        gone |= {member: name for name, member in group.members.items() if member is not layer}
        put_into(edits, layer, folded.numbers)
        if edits.model.get_submodule(path) is not layer:
            gone[layer] = path
        for norm_path in group.norms:
            norm = model.get_submodule(norm_path)
            assert isinstance(norm, _BatchNorm)
            gone[norm] = norm_path
            rest = norm.without_batch_norm() if is_act(norm) else nn.Identity()  # type: ignore[operator]
            edits.replace(norm, rest.train(norm.training))
    layers = {edits.model.get_submodule(path): off.deviation for path, off in proved.items()}
    with calls_noted(gone) as ran:
        return check.excess(edits.model, layers), ran
