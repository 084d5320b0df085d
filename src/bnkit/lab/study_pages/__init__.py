"""A page per study of the catalogue, from its file and from results that are kept.

`python -m bnkit.lab.study_pages docs/studies` writes them all.
"""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.study_pages.kept_result import KeptResult as KeptResult
    from bnkit.lab.study_pages.kept_result import keep as keep
    from bnkit.lab.study_pages.page_files import pages as pages
    from bnkit.lab.study_pages.page_files import write_pages as write_pages

__getattr__, __dir__ = attach(
    __name__,
    {
        "KeptResult": "bnkit.lab.study_pages.kept_result",
        "keep": "bnkit.lab.study_pages.kept_result",
        "pages": "bnkit.lab.study_pages.page_files",
        "write_pages": "bnkit.lab.study_pages.page_files",
    },
    extra="lab",
)
