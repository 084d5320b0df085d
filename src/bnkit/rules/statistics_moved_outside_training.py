"""BN305 statistics-moved-outside-training: a forward that trains nothing, and yet leaves a mark."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.steps import Movement
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule

_REMEDIES = {
    "no-grad": "Put the model into eval mode around these forwards, and back with model.train(): "
    "torch.no_grad() does not keep statistics from moving; bnkit.frozen_statistics(model) does.",
    "no-step": "Run these forwards in eval mode or within bnkit.frozen_statistics(model), or let "
    "their loss reach an optimizer step.",
    "written": "Write running statistics only where the weights that belong to them are loaded, "
    "and recalibrate them afterwards.",
}


def find(facts: Facts) -> Iterator[Finding]:
    """Tell of each layer and each cause once."""
    steps = facts.steps
    assert steps is not None
    found: dict[tuple[str, str], list[Movement]] = {}
    for movement in steps.movements:
        found.setdefault((movement.layer, movement.cause), []).append(movement)
    for (layer, cause), movements in found.items():
        first = movements[0].step
        when = f"first after {first} optimizer step{'' if first == 1 else 's'}"
        yield RULE.finding(
            layer, _message(cause, len(movements), when), remedy=_REMEDIES.get(cause, "")
        )


def _message(cause: str, count: int, when: str) -> str:
    times = "once" if count == 1 else f"{count} times"
    if cause == "no-grad":
        return f"its running statistics moved {times} in training mode under no_grad, {when}"
    if cause == "no-step":
        return (
            f"its running statistics moved {times} in forwards in training mode whose loss reached "
            f"no backward into the parameters, {when}"
        )
    return f"its running statistics were written {times} without a forward, {when}"


RULE = Rule(
    code="BN305",
    name="statistics-moved-outside-training",
    severity="E",
    needs="S",
    find=find,
    flags="During watched training (bnkit.watch), running statistics of a layer that is trained "
    "moved in a forward under no_grad or inference_mode, in a forward whose loss was never "
    "trained on, or without a forward. Recomputation by checkpointing is BN306's.",
    why="A validation, a probe or a logging forward in training mode mixes its data into the "
    "running statistics, and normalizes by its own batch. The next evaluation is then of another "
    "model than the one that was trained, and runs with and without the probe differ.",
    fine="Where statistics are recalibrated on purpose: after reset_running_stats() or with "
    "another momentum than in training, as update_bn does; that is not flagged. A generator that "
    "is run under no_grad between its own steps is, since its statistics move.",
    before="""
for x, y in loader:
    train_step(model, x, y)
    with torch.no_grad():
        log(loss(model(x_val), y_val))  # still in training mode
""",
    after="""
for x, y in loader:
    train_step(model, x, y)
    model.eval()
    with torch.no_grad():
        log(loss(model(x_val), y_val))
    model.train()
""",
    remedy="Run these forwards in eval mode, or within bnkit.frozen_statistics(model).",
    source="torch.nn.modules.batchnorm._BatchNorm.forward: what moves statistics is the training "
    "mode, whatever the gradient mode.",
)
