"""The backend of `torch.compile(model, backend="bnkit")`, and its account of what it changed."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.compilation.backend import bnkit_backend as bnkit_backend
    from bnkit.compilation.graph_report import GraphReport as GraphReport
    from bnkit.compilation.graph_report import compile_reports as compile_reports

__getattr__, __dir__ = attach(
    __name__,
    {
        "GraphReport": "bnkit.compilation.graph_report",
        "bnkit_backend": "bnkit.compilation.backend",
        "compile_reports": "bnkit.compilation.graph_report",
    },
)
