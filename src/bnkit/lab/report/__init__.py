"""From a stored study to one self-contained HTML page; imports no torch."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.report.page import write_report as write_report

__getattr__, __dir__ = attach(__name__, {"write_report": "bnkit.lab.report.page"})
