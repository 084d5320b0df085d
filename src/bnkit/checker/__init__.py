"""Inspection, rules and rewrite put together: is the batch norm in this model right?"""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.checker.checking import check as check
    from bnkit.checker.fixing import fix as fix
    from bnkit.checker.report import Finding as Finding
    from bnkit.checker.report import NotRun as NotRun
    from bnkit.checker.report import Report as Report
    from bnkit.checker.silencing import Silence as Silence
    from bnkit.checker.watching import watch as watch

__getattr__, __dir__ = attach(
    __name__,
    {
        "Finding": "bnkit.checker.report",
        "NotRun": "bnkit.checker.report",
        "Report": "bnkit.checker.report",
        "Silence": "bnkit.checker.silencing",
        "check": "bnkit.checker.checking",
        "fix": "bnkit.checker.fixing",
        "watch": "bnkit.checker.watching",
    },
)
