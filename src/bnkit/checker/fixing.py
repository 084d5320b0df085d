"""`fix`: the remedies of a report that can be applied automatically, applied and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bnkit.checker.fixers import FIXERS, Applied, Ground, Refusal
from bnkit.checker.report import Report
from bnkit.errors import CheckError, did_you_mean
from bnkit.inspection.trace import Example
from bnkit.rewrite.history import past_of
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.optimizer_groups import OptimizerGroups
from bnkit.rewrite.output_check import OutputCheck
from bnkit.rewrite.result import Change, Rewrite, Skipped
from bnkit.rules.rule import EVAL_EQUIVALENT, EXACT, NEEDS_RETRAINING, Finding

_GRADES = (EXACT, EVAL_EQUIVALENT, NEEDS_RETRAINING)


def fix(
    model: nn.Module,
    report: Report,
    safety: str = EXACT,
    *,
    example_args: Example | None = None,
    optimizer: Any = None,
    inplace: bool = False,
) -> Rewrite:
    """Apply the remedies of a report that are at least as safe as asked for.

    Applied are: a redundant bias dropped (BN401), statistics in half precision to float32 (BN106),
    momentum turned round (BN501), γ and β into groups without decay (BN503), all exact; and frozen
    layers kept in eval mode (BN301, BN302), eval-equivalent. All other findings are listed in
    `.skipped` with what to do by hand, as are layers for which a remedy cannot be shown to be safe.

    On the example, exact remedies must leave the outputs in eval and in training mode as they
    were, up to rounding, and eval-equivalent ones those in eval mode; one that does not is undone
    and skipped. Silenced findings are left alone.

    Args:
        model: the model that was checked.
        report: what `bnkit.check` returned for it.
        safety: "exact"; "eval-equivalent", which includes exact ones; or "needs-retraining".
        example_args: what the model is run on; by default what the check ran it on.
        optimizer: the one that trains the model; parameters that go are taken out of it. It holds
            the given model's, so it needs `inplace`. Learning-rate schedulers are to be built anew
            where groups are split.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.undo()` turns model and optimizer back. `.difference` is that of the outputs
        in eval mode on the example; None without one.

    Raises:
        CheckError: an unknown safety, no report, or an optimizer without `inplace`.
        RewriteError: the model cannot be copied.

    Cost: two forwards before and up to five after for each grade; a copy of the model unless
    `inplace`. If a remedy has to be undone, the same for each finding.
    """
    _refuse(report, safety, optimizer, inplace=inplace)
    example = report.example if example_args is None else example_args
    rewrite = Rewrite(model if inplace else copied(model), name="fix", _earlier=past_of(model))
    groups = None if optimizer is None else OptimizerGroups(optimizer)
    ground = Ground(rewrite.model, groups, example)
    grades = _GRADES[: _GRADES.index(safety) + 1]
    plan = _plan(report, grades, rewrite)
    if not plan:
        return rewrite
    check = OutputCheck(rewrite.model, example)
    try:
        for grade in grades:
            _apply(rewrite, ground, check, [f for f in plan if f.safety == grade])
        if rewrite.changes:
            rewrite.skipped += check.skipped
            rewrite.difference = check.difference(rewrite.model)
    except BaseException:
        rewrite.undo()
        raise
    if rewrite.changes:
        rewrite._finish()
    return rewrite


def _refuse(report: Any, safety: str, optimizer: Any, *, inplace: bool) -> None:
    if not isinstance(report, Report):
        raise CheckError(
            f"report is a {type(report).__name__}", required="what bnkit.check returned"
        )
    if safety not in _GRADES:
        raise CheckError(
            f"safety is {safety!r}",
            required=f"one of {', '.join(_GRADES)}",
            remedy=did_you_mean(str(safety), _GRADES),
        )
    if optimizer is None:
        return
    if not inplace:
        raise CheckError(
            "optimizer is given without inplace=True",
            required="it holds the parameters of the given model, not those of a copy",
            remedy="Give inplace=True; undo() turns both back",
        )
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise CheckError(
            f"optimizer is a {type(optimizer).__name__} without param_groups",
            required="an optimizer as of torch.optim",
        )


def _plan(report: Report, grades: Sequence[str], rewrite: Rewrite) -> list[Finding]:
    """Return the findings to be remedied; the others are listed as skipped."""
    plan: list[Finding] = []
    for finding in report.findings:
        reason = ""
        if finding.silenced:
            reason = f"silenced: {finding.silenced}"
        elif not finding.safety or finding.code not in FIXERS:
            reason = f"is to be remedied by hand: {finding.remedy}"
        elif finding.safety not in grades:
            reason = f'its remedy is {finding.safety}: fix(…, safety="{finding.safety}") applies it'
        if reason:
            rewrite.skipped.append(Skipped(finding.layer, f"{finding.code} {reason}"))
        elif (finding.code, finding.layer) not in {(f.code, f.layer) for f in plan}:
            plan.append(finding)
    return plan


def _apply(
    rewrite: Rewrite, ground: Ground, check: OutputCheck, findings: Sequence[Finding]
) -> None:
    """Apply remedies of one grade at once; if that changes too much, one by one."""
    done = [(finding, _try(rewrite, ground, finding)) for finding in findings]
    applied = [(finding, change) for finding, change in done if change is not None]
    if not applied or not _excess(rewrite, check, applied):
        _account(rewrite, applied)
        return
    for _, change in reversed(applied):
        _take_back(rewrite, change)
    for finding, _ in applied:
        again = _try(rewrite, ground, finding)
        if again is None:
            continue
        clause = _excess(rewrite, check, [(finding, again)])
        if clause:
            _take_back(rewrite, again)
            rewrite.skipped.append(Skipped(finding.layer, f"{finding.code} was undone: {clause}"))
        else:
            _account(rewrite, [(finding, again)])


def _try(rewrite: Rewrite, ground: Ground, finding: Finding) -> Applied | None:
    try:
        change = FIXERS[finding.code](ground, finding.layer)
    except Refusal as reason:
        text = f"{finding.code} was not applied: {reason}"
        rewrite.skipped.append(Skipped(finding.layer, text))
        return None
    rewrite._reversals += change.reversals
    return change


def _take_back(rewrite: Rewrite, change: Applied) -> None:
    """Undo a change; it must be the last of those that are not undone."""
    for restore in reversed(change.reversals):
        assert rewrite._reversals.pop() is restore
        restore()


def _excess(
    rewrite: Rewrite, check: OutputCheck, applied: Sequence[tuple[Finding, Applied]]
) -> str:
    layers = [layer for _, change in applied for layer in change.layers]
    in_training = all(finding.safety == EXACT for finding, _ in applied)
    return check.excess(rewrite.model, layers, in_training=in_training)


def _account(rewrite: Rewrite, applied: Sequence[tuple[Finding, Applied]]) -> None:
    rewrite.changes += [
        Change(finding.layer, f"{finding.code}: {change.what}") for finding, change in applied
    ]
