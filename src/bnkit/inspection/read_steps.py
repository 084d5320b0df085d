"""What a step recorder noted → facts about the steps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from bnkit.inspection.facts.steps import Movement, StepFacts, WatchedLayer
from bnkit.inspection.step_recorder import StepRecorder, Update


def read_steps(recorder: StepRecorder, *, is_complete: bool) -> StepFacts | None:
    """Return the facts; None if no optimizer step was made.

    A forward that ran under no_grad and again in backward was checkpointed (use_reentrant=True)
    and trains. A forward is training if a backward went from any batch norm of it into a
    parameter's gradient: a branch that no loss takes up is not a probe.

    Args:
        recorder: what was noted; nothing of it is changed.
        is_complete: whether the loop ended by itself, so that what was not trained on by now
            never will be.
    """
    if not recorder.step:
        return None
    by_window: dict[tuple[str, int], list[Update]] = defaultdict(list)
    for update in recorder.updates:
        by_window[update.layer, update.step].append(update)
    checkpointed = {id(update) for window in by_window.values() for update in _first_runs(window)}
    trained_calls = {update.call for update in recorder.updates if _is_trained_on(update, recorder)}
    causes: dict[int, str] = {}
    for update in recorder.updates:
        is_open = update.step >= recorder.step and not is_complete
        if id(update) not in checkpointed and not is_open:
            causes[id(update)] = _cause(update, trained_calls)
    movements = [
        Movement(update.layer, update.step, causes[id(update)])
        for update in recorder.updates
        if causes.get(id(update))
    ]
    movements += [Movement(layer, step, "written") for layer, step in recorder.writes]
    outside = {key for key, cause in causes.items() if cause}
    return StepFacts(
        steps=recorder.step,
        accumulated=tuple(recorder.accumulated),
        layers=tuple(
            _layer(path, recorder, by_window, outside, checkpointed) for path in recorder.paths
        ),
        movements=tuple(sorted(movements, key=lambda movement: movement.step)),
        used_checkpointing=any(update.in_backward for update in recorder.updates),
    )


def accumulation(steps: StepFacts) -> int:
    """Return over how many batches gradients add up in most steps."""
    return Counter(steps.accumulated).most_common(1)[0][0]


def _first_runs(window: Iterable[Update]) -> list[Update]:
    """Return the forwards under no_grad that ran again in backward: reentrant checkpointing."""
    again, with_grad, without = 0, 0, []
    for update in window:
        if update.in_backward:
            again += 1
        elif update.has_grad_mode:
            with_grad += 1
        else:
            without.append(update)
    return without[: max(again - with_grad, 0)]


def _is_trained_on(update: Update, recorder: StepRecorder) -> bool:
    return update.had_create_graph or bool(update.tasks & recorder.training_tasks)


def _cause(update: Update, trained_calls: set[int]) -> str:
    if update.in_backward or not update.is_trained_layer or update.is_recalibration:
        return ""
    if not update.has_grad_mode:
        return "no-grad"
    # Without a node it has no parameter to train and nothing before it: not for this rule to judge.
    return "no-step" if update.has_node and update.call not in trained_calls else ""


def _layer(
    path: str,
    recorder: StepRecorder,
    by_window: dict[tuple[str, int], list[Update]],
    outside: set[int],
    checkpointed: set[int],
) -> WatchedLayer:
    updates, forwards, recomputed = [], [], []
    for step in range(recorder.step):
        window = [u for u in by_window.get((path, step), ()) if id(u) not in outside]
        window = [u for u in window if not u.is_recalibration]
        # Frozen layers that ran under no_grad are not trained: no update is too many there.
        window = [u for u in window if u.has_grad_mode or u.in_backward or id(u) in checkpointed]
        # A discriminator runs once more while its generator is trained: no batch of its own step.
        if not all(u.has_made_input for u in window if not u.in_backward):
            window = [u for u in window if u.in_backward or not u.has_made_input]
        again = sum(u.advance for u in window if u.in_backward)
        first = [u for u in window if not u.in_backward]
        forwards.append(len(first))
        recomputed.append(again)
        unseen = recorder.unseen.get((path, step), 0)
        updates.append(sum(u.advance for u in first) + again + unseen)
    return WatchedLayer(path, tuple(updates), tuple(forwards), tuple(recomputed))
