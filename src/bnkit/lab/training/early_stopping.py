"""When a trial's metric no longer improves."""

from __future__ import annotations

from bnkit.lab.training.evaluation import Checkpoint
from bnkit.lab.training.settings import EarlyStoppingSettings


class EarlyStopping:
    """Watches one metric from checkpoint to checkpoint."""

    def __init__(self, settings: EarlyStoppingSettings | None) -> None:
        self._settings = settings
        self._best: float | None = None
        self._without_best = 0

    def is_due(self, checkpoint: Checkpoint) -> bool:
        """Return whether the trial ends here: `patience` checkpoints have brought no new best."""
        if self._settings is None:
            return False
        value = getattr(checkpoint, self._settings.metric.replace(" ", "_"))
        gain = -value if self._settings.metric.endswith("loss") else value
        if self._best is None or gain > self._best + self._settings.min_change:
            self._best, self._without_best = gain, 0
        else:
            self._without_best += 1
        return self._without_best >= self._settings.patience
