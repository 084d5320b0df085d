"""A worked example as an interactive page: one HTML file that computes on the reader's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnkit import __version__
from bnkit import page as pages
from bnkit.errors import ArgumentError
from bnkit.explain.worked_example import WorkedExample

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = Path(__file__).parent / "assets"
# All arithmetic of the page lies in the first; each uses those before it.
SCRIPTS = (
    "arithmetic.js",
    "numbers.js",
    "batch_text.js",
    "elements.js",
    "fields.js",
    "charts.js",
    "cubes.js",
    "worked.js",
    "demonstrations.js",
    "page.js",
)
SECTIONS = (
    ("batch", "Your batch"),
    ("steps", "Step by step"),
    ("before-after", "Before and after"),
    ("running", "Running statistics"),
    ("modes", "Training and inference"),
    ("one", "Batch size 1"),
    ("axes", "Which axes"),
    ("sigmoid", "Sigmoid"),
)
# As in batch_text.js, which refuses longer texts: a page with more numbers answers slowly.
MOST_VALUES = 16384


def render_html(example: WorkedExample, channel_names: Sequence[str] = ()) -> str:
    """Return a page that starts with the example's batch and lets its reader change every number.

    Args:
        example: its batch and settings are what the page starts with.
        channel_names: shown beside the channels' numbers; empty for none.

    Raises:
        ArgumentError: the batch is too large for a page.
    """
    if example.x.size > MOST_VALUES:
        raise ArgumentError(
            f"x has shape {example.shape}, {example.x.size} values",
            required=f"the page shows and edits at most {MOST_VALUES} values",
            remedy="Give fewer examples or positions, or print the text instead",
        )
    return pages.render_page(
        TEMPLATES,
        "explain.html",
        sections=SECTIONS,
        style=(ASSETS / "explain.css").read_text(encoding="utf-8"),
        scripts=[(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS],
        data={"batch-data": _batch(example, channel_names)},
        version=__version__,
        agreement=_agreement(example),
    )


def _batch(example: WorkedExample, channel_names: Sequence[str]) -> dict[str, object]:
    examples, channels, *positions = example.shape
    shape = [examples, channels, *[1] * (2 - len(positions)), *positions]
    return {
        "shape": shape,
        "rank": len(example.shape),
        "values": example.x.ravel().tolist(),
        "weight": example.weight.tolist(),
        "bias": example.bias.tolist(),
        "running_mean": example.running_mean_before.tolist(),
        "running_var": example.running_var_before.tolist(),
        "eps": example.eps,
        "momentum": example.momentum,
        "names": list(channel_names),
    }


def _agreement(example: WorkedExample) -> str:
    layer = example.agreement.layer
    if example.agreement.agrees:
        return f"the numbers and {layer} agree to within float64 rounding."
    return f"the numbers and {layer} differ by more than float64 rounding explains."
