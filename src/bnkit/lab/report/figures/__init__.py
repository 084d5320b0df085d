"""What figures hold, as plain data: the page and the static pictures draw the same.

`registry` says which metric is drawn how; one file per kind builds them.
"""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.report.figures.all_figures import StudyFigures as StudyFigures
    from bnkit.lab.report.figures.all_figures import figures_of as figures_of

__getattr__, __dir__ = attach(
    __name__,
    {
        "StudyFigures": "bnkit.lab.report.figures.all_figures",
        "figures_of": "bnkit.lab.report.figures.all_figures",
    },
)
