"""From a stored study to one self-contained HTML page; imports no torch."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.report.comparison import write_comparison as write_comparison
    from bnkit.lab.report.page import write_report as write_report
    from bnkit.lab.report.static_figures import write_figures as write_figures

__getattr__, __dir__ = attach(
    __name__,
    {
        "write_comparison": "bnkit.lab.report.comparison",
        "write_figures": "bnkit.lab.report.static_figures",
        "write_report": "bnkit.lab.report.page",
    },
)
