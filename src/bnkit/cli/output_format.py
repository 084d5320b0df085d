"""The formats that commands print in."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer


class OutputFormat(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[
    OutputFormat, typer.Option("--format", help="How to print: text for people, json for programs.")
]


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
