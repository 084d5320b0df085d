"""Settings → the source they name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from bnkit.errors import DataError
from bnkit.lab.data.dataset import DataSource
from bnkit.lab.data.names import SOURCES
from bnkit.lab.data.settings import DataSettings


def open_source(settings: DataSettings, data_dir: str | Path | None = None) -> DataSource:
    """Return the source that the settings name; nothing is read yet.

    Args:
        settings: of the `[data]` table.
        data_dir: the folder that mnist, cifar-10 and hindi-digits lie in, up to three folders deep;
            default the one that BNKIT_DATA_DIR names, else bnkit's cache folder of this user.

    Raises:
        DataError: the settings stand for arrays that were to be handed over in Python.
    """
    if settings.name not in SOURCES:
        raise DataError(
            f'data.name = "{settings.name}" stands for arrays handed over in Python',
            required=f"a run without them must name one of {', '.join(SOURCES)}",
            remedy="Pass the arrays again as data= of bnkit.lab.run, or name another source",
        )
    entry = SOURCES[settings.name]
    module, _, attribute = entry.home.partition(":")
    source = getattr(import_module(module), attribute)
    opened: DataSource = source(settings, data_dir) if entry.is_stored else source(settings)
    return opened
