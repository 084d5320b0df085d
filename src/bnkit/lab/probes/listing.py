"""The probes as a list: for the command line, and the table of the guide; imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from bnkit.lab.probes.names import PROBES, ProbeEntry
from bnkit.lab.probes.when import When

_WIDTH = 78


def listed_probes() -> list[dict[str, Any]]:
    """Return every probe as plain data, in the order of their names."""
    return [
        {
            "kind": kind,
            "what": entry.what,
            "metrics": [metric._asdict() for metric in entry.metrics],
            "when": entry.when,
            "layers": entry.layers,
            "options": dict(entry.options),
        }
        for kind, entry in sorted(PROBES.items())
    ]


def probe_lines() -> Iterator[str]:
    """Yield the lines that `bnkit study probes` prints."""
    for kind, entry in sorted(PROBES.items()):
        yield kind
        for label, text in _parts(entry):
            indent = f"  {label}: "
            yield from textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent="    ")
        yield ""
    yield 'In a study file: [[probes]] with kind = "…"; in your own loop: bnkit.lab.Recorder.'


def probe_table() -> str:
    """Return the table of the guide, in Markdown."""
    rows = ["| kind | measures | records | options |", "|---|---|---|---|"]
    for kind, entry in sorted(PROBES.items()):
        parts = dict(_parts(entry))
        defaults = [f"when = {entry.when!r}".replace("'", '"')]
        defaults += [f'layers = "{entry.layers}"'] if entry.layers else []
        defaults += [parts["options"]] if "options" in parts else []
        cells = (f"`{kind}`", entry.what, parts["records"], f"`{', '.join(defaults)}`")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _parts(entry: ProbeEntry) -> Iterator[tuple[str, str]]:
    yield "measures", entry.what
    yield "records", "; ".join(_series(metric.name, metric.per) for metric in entry.metrics)
    yield "runs", str(When.parse(entry.when))
    if entry.layers:
        yield "layers", entry.layers
    if entry.options:
        yield "options", _options(entry.options)


def _series(name: str, per: tuple[str, ...]) -> str:
    return f"{name} (per {' and '.join(per)})" if per else name


def _options(options: Mapping[str, Any]) -> str:
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in options.items()}
    return ", ".join(f"{key} = {value!r}".replace("'", '"') for key, value in values.items())
