"""The learning rate at a step: a function of the step alone, and so the same in every arm."""

from __future__ import annotations

import math

from bnkit.lab.training.settings import ConstantSchedule, CosineSchedule, StepSchedule

Schedule = ConstantSchedule | StepSchedule | CosineSchedule


def rate_factor(schedule: Schedule, step: int, total: int, per_epoch: int) -> float:
    """Return what the learning rate is multiplied by at a step.

    step:   factor^⌊(step − 1)/every⌋, as torch's StepLR.
    cosine: step/warmup in the warm-up; then final + (1 − final)·½(1 + cos(π·t)), where t runs from
            0 towards 1, as torch's CosineAnnealingLR.

    Args:
        schedule: its settings.
        step: the optimizer step, counted from 1.
        total: optimizer steps of the whole training.
        per_epoch: optimizer steps of one epoch.
    """
    taken = step - 1
    if isinstance(schedule, StepSchedule):
        passed = taken // per_epoch if schedule.unit == "epochs" else taken
        return float(schedule.factor ** (passed // schedule.every))
    if isinstance(schedule, CosineSchedule):
        warmup = schedule.warmup * (per_epoch if schedule.unit == "epochs" else 1)
        if step <= warmup:
            return step / warmup
        # A warm-up given in epochs can be longer than a training given in steps.
        descended = (taken - warmup) / max(total - warmup, 1)
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * descended))
    return 1.0
