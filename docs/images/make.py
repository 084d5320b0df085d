"""The pictures of the documentation, from a study that was run.

    bnkit study run mnist-sigmoid --out runs/mnist-sigmoid
    python docs/images/make.py runs/mnist-sigmoid

Writes beside itself: screenshots of the report in light, in dark and on a phone, and one figure as
SVG. Needs a browser: `make browser`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from playwright.sync_api import sync_playwright  # noqa: E402

import bnkit.lab  # noqa: E402
from helpers.browser import ARGUMENTS, NAMES, open_page  # noqa: E402

DESKTOP = {"width": 1100, "height": 1500}
PHONE = {"width": 390, "height": 844}
PICTURES: dict[str, dict[str, Any]] = {
    "report-light": {"viewport": DESKTOP, "color_scheme": "light"},
    "report-dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "report-phone": {"viewport": PHONE, "device_scale_factor": 2},
}
FIGURE = "activation-percentile.svg"


def take(page: Path) -> None:
    """Write the screenshots of a report."""
    with sync_playwright() as running:
        program = next(filter(None, map(shutil.which, NAMES)), running.chromium.executable_path)
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        for name, options in PICTURES.items():
            opened = open_page(browser, page, **options)
            opened.draw_all('.plot[data-figure="test-accuracy"]', ".main-svg")
            opened.page.evaluate("scrollTo(0, 0)")
            opened.page.screenshot(path=HERE / f"{name}.png")
            opened.page.close()
        browser.close()


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="the folder of a study that was run")
    folder = parser.parse_args().study
    result = bnkit.lab.judge_again(folder)
    take(result.report_path)
    with tempfile.TemporaryDirectory() as temporary:
        for path in result.figures(temporary):
            if path.name.startswith(Path(FIGURE).stem):
                shutil.copyfile(path, HERE / FIGURE)
                break


if __name__ == "__main__":
    main()
