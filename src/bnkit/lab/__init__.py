"""Train with and without batch norm, measure why it helps, and end in verdicts."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.probes import PROBES as PROBES
    from bnkit.lab.recording import ProbeCallback as ProbeCallback
    from bnkit.lab.recording import Recorder as Recorder
    from bnkit.lab.study_comparison import compare as compare
    from bnkit.lab.study_result import StudyResult as StudyResult
    from bnkit.lab.study_run import judge_again as judge_again
    from bnkit.lab.study_run import run as run

__getattr__, __dir__ = attach(
    __name__,
    {
        "PROBES": "bnkit.lab.probes",
        "ProbeCallback": "bnkit.lab.recording",
        "Recorder": "bnkit.lab.recording",
        "StudyResult": "bnkit.lab.study_result",
        "compare": "bnkit.lab.study_comparison",
        "judge_again": "bnkit.lab.study_run",
        "run": "bnkit.lab.study_run",
    },
    extra="lab",
)
