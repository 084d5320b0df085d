"""What `recalibrate` and `adapt` share: --data, --batch-size, --progress, and reading the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path, typer.Option("--data", help="An image folder, or an .npz file with images.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Samples of a batch of the pass.")
]


def read_images(data: Path, shape: list[str] | None) -> Any:
    """Return the images of --data, decoded as [tool.bnkit.data] says.

    Raises:
        CheckError, DataError: they cannot be read.
    """
    from bnkit.checker.settings import read_settings
    from bnkit.cli.check_data import read_data

    stored = read_settings(Path.cwd()).get("data")
    options = stored if isinstance(stored, dict) else {}
    images, _ = read_data(data, {key: options[key] for key in options if key != "path"}, shape)
    return images
