"""The formats that commands print in."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

_ASCII = str.maketrans(
    {"Σ": "sum", "√": "sqrt", "·": "*", "−": "-", "²": "^2", "←": "<-", "×": "x", "γ": "gamma"}
    | {"β": "beta", "→": "->", "…": "...", "✓": "+", "✗": "x", "─": "-", "–": "-", "±": "+-"}
)


class OutputFormat(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[
    OutputFormat, typer.Option("--format", help="How to print: text for people, json for programs.")
]


def print_text(text: str) -> None:
    """Print text; in ASCII if the terminal or pipe lacks √, Σ and the like."""
    typer.echo(text if can_print(text) else in_ascii(text))


def print_page(page: str) -> None:
    """Print an HTML page in UTF-8, which it says it is in, whatever the terminal's encoding."""
    typer.echo(page.encode("utf-8"))


def can_print(text: str) -> bool:
    """Return whether standard output takes the text as it is."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def in_ascii(text: str) -> str:
    """Return the text in ASCII, for a terminal or pipe that takes nothing else."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def print_json(content: Any) -> None:
    """Print data as JSON; non-finite numbers, which JSON lacks, become null."""
    typer.echo(json.dumps(_finite(content), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
