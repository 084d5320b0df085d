"""`watch`: a context around a training loop, for the rules that need to see steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from torch import nn

from bnkit.checker.checking import chosen_rules, judge
from bnkit.checker.report import Report
from bnkit.checker.silencing import Silence, read_silences
from bnkit.errors import CheckError
from bnkit.inspection.facts.steps import StepFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.inspection.read_setup import read_setup
from bnkit.inspection.read_steps import accumulation, read_steps
from bnkit.inspection.step_recorder import StepRecorder
from bnkit.inspection.walk import walk
from bnkit.rules.registry import resolve_thresholds

# The rules that need steps, and the one whose k is seen in them.
_DEFAULT = ("BN305", "BN306", "BN505")


class watch:  # noqa: N801 — a function to its users, as contextlib's contexts are
    """Watch a training loop for what moves running statistics.

        with bnkit.watch(model, optimizer) as watched:
            train_one_epoch(model, optimizer, loader)
        print(watched.report)

    What is found: statistics that move under no_grad, in forwards that train nothing, or without a
    forward (BN305), and more than once per batch (BN306). Gradient accumulation is recognised by
    gradients that add up; it is no double update, and reported as BN505.

    The loop runs as without it. At the end all hooks are gone, also if the loop raises; the report
    then tells of what was seen.

    Args:
        model: the model that is trained.
        optimizer: a torch optimizer; its steps are counted.
        accumulation_steps: batches per optimizer step, if what is seen is not to count.
        select, ignore: as of `bnkit.check`; by default BN305, BN306 and BN505.
        thresholds, silence: as of `bnkit.check`.

    Raises:
        CheckError: something given cannot be used.

    Cost: for each forward of a batch norm in training mode, a comparison and a copy of its
    statistics; on a GPU, these wait for it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        accumulation_steps: int | None = None,
        select: Iterable[str] | None = _DEFAULT,
        ignore: Iterable[str] | None = None,
        thresholds: Mapping[str, Any] | None = None,
        silence: Iterable[Silence | Mapping[str, Any]] = (),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise CheckError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
        self._rules = chosen_rules(select, ignore)
        self._silences = read_silences(silence)
        self._thresholds = resolve_thresholds(thresholds or {})
        self._model, self._optimizer = model, optimizer
        self._accumulation_steps = accumulation_steps
        self._recorder = StepRecorder(model, optimizer)
        self._report: Report | None = None
        self._state = "new"

    def __enter__(self) -> watch:
        if self._state != "new":
            raise CheckError(
                "this watch was entered before",
                required="each watches one loop",
                remedy="Make another: bnkit.watch(model, optimizer)",
            )
        self._recorder.open()
        self._state = "open"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._recorder.close()
        self._state = "ended" if error is None else "raised"

    @property
    def steps(self) -> StepFacts | None:
        """What was seen so far, as facts; None if no optimizer step was made."""
        return read_steps(self._recorder, is_complete=self._state == "ended")

    @property
    def report(self) -> Report:
        """The findings; within the loop, those on what was seen so far."""
        if self._state in ("new", "open"):
            return self._judge()
        if self._report is None:
            self._report = self._judge()
        return self._report

    def _judge(self) -> Report:
        model, steps = walk(self._model), self.steps
        setup = read_setup(
            self._model,
            model,
            optimizer=self._optimizer,
            accumulation_steps=self._accumulation_steps,
        )
        if self._accumulation_steps is None and steps is not None:
            setup = replace(setup, accumulation_steps=accumulation(steps))
        elif self._accumulation_steps is not None and steps is not None:
            steps = replace(steps, accumulated=(self._accumulation_steps,) * steps.steps)
        facts = Facts(model=model, setup=setup, steps=steps, thresholds=self._thresholds)
        return judge(facts, self._rules, self._silences)
