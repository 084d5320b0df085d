"""What bnkit's HTML pages share: shell, style, palette, numbers as text; imports no torch.

A page is one file that opens offline: its scripts and styles stand in it, and its content security
policy lets exactly these scripts run and nothing be fetched.
"""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.page.embed import json_for_script as json_for_script
    from bnkit.page.shell import render_fragment as render_fragment
    from bnkit.page.shell import render_page as render_page
    from bnkit.page.shell import write_page as write_page

__getattr__, __dir__ = attach(
    __name__,
    {
        "json_for_script": "bnkit.page.embed",
        "render_fragment": "bnkit.page.shell",
        "render_page": "bnkit.page.shell",
        "write_page": "bnkit.page.shell",
    },
)
