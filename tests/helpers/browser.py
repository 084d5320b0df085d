"""A page as a person opens it: in a browser, offline, with every complaint noted.

`browser` is a fixture of the whole run (one browser per worker); `open_page` opens a file in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from source_tree import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Besides what a headless container needs: no request of the browser's own.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# `make browser` puts axe-core (MPL-2.0) there; BNKIT_AXE names another copy of its axe.min.js.
AXE = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")
# Far beyond what is waited for on an idle machine.
TIMEOUT_MS = 60_000
# What Chromium tells of its own speed where it draws three dimensions without a graphics card.
HINTS = ("GL Driver Message", "Canvas2D: Multiple readback operations")


@dataclass
class Opened:
    """An open page, and what it logged or asked the network for."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    @property
    def width_px(self) -> int:
        """The width that the content takes; above the window's, the page scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def draw_all(self, selector: str, drawn: str) -> None:
        """Scroll to every element of `selector` and wait until it holds `drawn`."""
        for place in self.page.locator(selector).all():
            place.scroll_into_view_if_needed()
            place.locator(drawn).first.wait_for(state="attached", timeout=TIMEOUT_MS)

    def grave_findings(self) -> list[str]:
        """Return what axe-core finds serious or critical; skip where it is not installed."""
        source = Path(os.environ.get("BNKIT_AXE") or AXE)
        if not source.is_file():
            pytest.skip("axe-core is not installed: `make browser` fetches it")
        # axe-core is ours, not the page's: the page's policy would not let it run otherwise
        self.page.evaluate(source.read_text("utf-8"))
        found = self.page.evaluate("axe.run().then((result) => result.violations)")
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: "
            + "; ".join(node["html"][:200] for node in one["nodes"][:3])
            for one in found
            if one["impact"] in GRAVE
        ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with sync_api.sync_playwright() as running:
        path = next(filter(None, map(shutil.which, NAMES)), running.chromium.executable_path)
        if not Path(path).is_file():
            pytest.skip("there is no Chromium on this machine: `make browser` tries to get one")
        launched = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


def open_page(browser: Any, path: Path, **options: Any) -> Opened:
    """Open a file; `options` are Playwright's, such as viewport and color_scheme.

    Complaints are what the console shows, scripts that fail, and every request but for the file.
    """
    opened = Opened(browser.new_page(**options))
    opened.page.set_default_timeout(TIMEOUT_MS)

    def on_request(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")) and request.url != path.as_uri():
            opened.complaints.append(request.url)

    def on_message(message: Any) -> None:
        if not any(hint in message.text for hint in HINTS):
            opened.complaints.append(message.text)

    opened.page.on("console", on_message)
    opened.page.on(
        "pageerror",
        lambda error: opened.complaints.append(str(error) + "\n" + str(error.stack)[:1500]),
    )
    opened.page.on("request", on_request)
    opened.page.goto(path.as_uri())
    return opened
