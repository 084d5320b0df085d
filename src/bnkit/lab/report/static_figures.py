"""Every figure as an SVG or PNG file, for a paper or a README: the page's data and palette."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnkit._files import write_whole
from bnkit.errors import MissingExtraError, StoreError
from bnkit.lab.report.figures import figures_of
from bnkit.lab.report.figures.data import Figure, Panel, View
from bnkit.lab.report.figures.source import file_name
from bnkit.lab.report.static_panels import DASHES, MARKERS, draw_flat, draw_in_3d
from bnkit.page.palette import ARM_COLOURS, appearance

if TYPE_CHECKING:
    from bnkit.lab.store.study_store import StoredStudy

FORMATS = ("svg", "png")
COLUMNS = 3
PANEL_INCHES = (4.2, 3.2)
DPI = 150
# SVG text stays text, which a reader can search; ids are the same in every run.
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "bnkit", "font.size": 9, "axes.grid": True}
SETTINGS |= {"grid.color": "#d5d9de", "axes.spines.top": False, "axes.spines.right": False}


def write_figures(study: StoredStudy, folder: Path, format_: str = "svg") -> list[Path]:
    """Write every figure of a study, one file per view: per layer, key or seed that can be chosen.

    Args:
        study: what `bnkit.lab.store.read_study` returns.
        folder: where the files go; it is made if it is missing.
        format_: "svg" or "png".

    Returns:
        The files, in the order of the page.

    Raises:
        StoreError: another format, or the folder cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    if format_ not in FORMATS:
        raise StoreError(f"format {format_!r}", required=f"one of {', '.join(FORMATS)}")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed",
            required="figures are drawn into files with it",
            remedy='Install it with pip install "bnkit[lab]"',
        ) from error
    found = figures_of(study.settings, study.trials, study.metrics, study.summaries)
    paths: list[Path] = []
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        for figure in found.all:
            for view in figure.views:
                for mode in figure.modes or ("flat",):
                    name = _name(figure, view, mode, {path.stem for path in paths})
                    path = folder / f"{name}.{format_}"
                    _write(path, _picture(figure, view, mode, found.arms, format_))
                    paths.append(path)
    return paths


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: _write_bytes(temporary, content))
    except OSError as error:
        raise StoreError(
            f"cannot write the figure to {path} ({error.strerror or error})",
            required="a writable folder",
            remedy="Choose another one with --figures",
        ) from error


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _name(figure: Figure, view: View, mode: str, taken: set[str]) -> str:
    chosen = [each.options[k] for each, k in zip(figure.selections, view.choice, strict=True)]
    parts = [figure.id, *map(file_name, chosen), *(["3-d"] if mode == "3-D" else [])]
    base = name = "--".join(parts)
    count = 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name


def _picture(figure: Figure, view: View, mode: str, arms: Sequence[str], format_: str) -> bytes:
    from matplotlib.figure import Figure as Canvas

    count = len(view.panels)
    columns = 2 if count == 4 else min(COLUMNS, count)
    rows = -(-count // columns)
    width, height = PANEL_INCHES
    canvas = Canvas(figsize=(columns * width, rows * height + 0.6), layout="constrained")
    projection = {"projection": "3d"} if mode == "3-D" else {}
    for place, panel in enumerate(view.panels):
        axes = canvas.add_subplot(rows, columns, place + 1, **projection)
        axes.set_title(_title(panel), loc="left", fontsize=8)
        (draw_in_3d if mode == "3-D" else draw_flat)(axes, panel, view)
    chosen = [
        f"{each.name} {each.options[k]}"
        for each, k in zip(figure.selections, view.choice, strict=True)
    ]
    canvas.suptitle(_plain(", ".join([figure.title, *chosen])), x=0.01, ha="left", fontsize=11)
    if any(panel.lines or panel.spans for panel in view.panels):
        _legend(canvas, view, arms)
    if figure.notes:
        canvas.supxlabel(_plain(_wrapped(" ".join(figure.notes), 30 * columns + 30)), fontsize=7)
    stream = io.BytesIO()
    metadata = {"Date": None} if format_ == "svg" else {"Software": None}
    canvas.savefig(stream, format=format_, dpi=DPI, metadata=metadata)
    return stream.getvalue()


def _title(panel: Panel) -> str:
    return _plain(_wrapped("\n".join(filter(None, [panel.title, panel.bands.get("interval")])), 55))


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def _plain(text: str) -> str:
    # matplotlib reads what stands between dollar signs as a formula
    return text.replace("$", r"\$")


def _legend(canvas: Any, view: View, arms: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    shown = {line.arm for panel in view.panels for line in panel.lines}
    shown |= {span.arm for panel in view.panels for span in panel.spans}
    handles = []
    for arm in sorted(shown):
        look = appearance(arm)
        handles.append(
            Line2D(
                [],
                [],
                color=ARM_COLOURS["light"][look.colour],
                linestyle=DASHES[look.dash],
                marker=MARKERS[look.marker],
                label=_plain(arms[arm]),
            )
        )
    if any(line.marks for panel in view.panels for line in panel.lines):
        style: dict[str, Any] = {"linestyle": "none", "marker": "X", "color": "black"}
        handles.append(Line2D([], [], **style, label="diverged"))
    canvas.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
