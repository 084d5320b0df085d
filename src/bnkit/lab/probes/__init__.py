"""What a training can be asked beside its losses: probes, and the session that runs them."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach
from bnkit.lab.probes.names import PROBES

if TYPE_CHECKING:
    from bnkit.lab.probes.choice import make_probes as make_probes
    from bnkit.lab.probes.names import recorded_metrics as recorded_metrics
    from bnkit.lab.probes.probe import Probe as Probe
    from bnkit.lab.probes.session import Session as Session
    from bnkit.lab.probes.settings import ProbeSettings as ProbeSettings

__getattr__, __dir__ = attach(
    __name__,
    {
        "Probe": "bnkit.lab.probes.probe",
        "ProbeSettings": "bnkit.lab.probes.settings",
        "Session": "bnkit.lab.probes.session",
        "make_probes": "bnkit.lab.probes.choice",
        "recorded_metrics": "bnkit.lab.probes.names",
        # The class of every probe, such as GradientNorms.
        **{entry.home.split(":")[1]: entry.home.split(":")[0] for entry in PROBES.values()},
    },
)

__all__ = [
    "PROBES",
    "Probe",
    "ProbeSettings",
    "Session",
    "make_probes",
    "recorded_metrics",
]
