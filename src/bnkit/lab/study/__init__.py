"""A study: its file, its plan, its trials, and the verdicts on its claims."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.study.claims import judge as judge
    from bnkit.lab.study.claims import summarize as summarize
    from bnkit.lab.study.spec import StudySettings as StudySettings
    from bnkit.lab.study.spec import plan as plan
    from bnkit.lab.study.study_file import find_study as find_study
    from bnkit.lab.study.study_file import resolve as resolve
    from bnkit.lab.study.study_file import study_names as study_names

__getattr__, __dir__ = attach(
    __name__,
    {
        "StudySettings": "bnkit.lab.study.spec",
        "study_names": "bnkit.lab.study.study_file",
        "find_study": "bnkit.lab.study.study_file",
        "judge": "bnkit.lab.study.claims",
        "plan": "bnkit.lab.study.spec",
        "resolve": "bnkit.lab.study.study_file",
        "summarize": "bnkit.lab.study.claims",
    },
    extra="lab",
)
