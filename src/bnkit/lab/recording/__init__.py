"""Probes in a training loop of the user's own, and in Lightning."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.recording.lightning_callback import ProbeCallback as ProbeCallback
    from bnkit.lab.recording.recorded_run import is_recorded as is_recorded
    from bnkit.lab.recording.recorder import Recorder as Recorder

__getattr__, __dir__ = attach(
    __name__,
    {
        "ProbeCallback": "bnkit.lab.recording.lightning_callback",
        "Recorder": "bnkit.lab.recording.recorder",
        "is_recorded": "bnkit.lab.recording.recorded_run",
    },
)
