"""--data: an image folder or .npz file → arrays that a check passes through the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnkit._extras import require
from bnkit.errors import CheckError


def read_data(path: Path, options: Mapping[str, Any], shapes: Sequence[str] | None) -> Any:
    """Return (images, labels), decoded as a study of `bnkit.lab` decodes them.

    Args:
        path: an image folder with a folder per class, or an .npz file.
        options: image_size, colour, mean, std, as in a study file's [data].
        shapes: of --shape; a folder's images are resized to the first if no size is given.

    Raises:
        CheckError, DataError: it cannot be read.
    """
    require("lab")
    from bnkit.lab.data import open_source

    dataset = open_source(data_settings(path, options, shapes)).load()
    return dataset.train_images, dataset.train_labels


def data_settings(path: Path, options: Mapping[str, Any], shapes: Sequence[str] | None) -> Any:
    """Return the settings with which data at a path are decoded; arguments as of `read_data`.

    Raises:
        CheckError: nothing lies at the path, or an option is not as it must be.
    """
    require("lab")
    from pydantic import ValidationError

    from bnkit.lab.data import DataSettings

    if not path.exists():
        raise CheckError("there is no such folder or file", where=str(path))
    values = dict(options)
    is_folder = path.is_dir()
    sizes = shapes[0].split(":")[0].split("x") if shapes else []
    if is_folder and len(sizes) == 4 and "image_size" not in values:
        values["image_size"] = [int(size) for size in sizes[2:]]
    try:
        name = "folder" if is_folder else "arrays"
        # A check makes batches of its own; this size is held against the data and not used.
        return DataSettings(name=name, path=path, batch_size=1, **values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckError(f"{where}: {first['msg']}", where="[tool.bnkit.data]") from error
