"""What `recalibrate` and `adapt` share: --data, --batch-size, and reading the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="A folder of images, or an .npz or .npy file; all is read, and labels need not be "
        "there.",
    ),
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Samples of a batch of the pass.")
]


def read_images(data: Path, shape: list[str] | None) -> tuple[Any, list[str]]:
    """Return all images of --data, decoded as [tool.bnkit.data] says, and notes on what was read.

    Raises:
        CheckError, DataError: they cannot be read.
    """
    from bnkit.checker.settings import read_settings
    from bnkit.cli.check_data import data_settings

    stored = read_settings(Path.cwd()).get("data")
    options = stored if isinstance(stored, dict) else {}
    decoding = {key: options[key] for key in options if key != "path"}
    settings = data_settings(data, decoding, shape)
    from bnkit.lab.data.unlabelled import read_unlabelled

    return read_unlabelled(settings)
