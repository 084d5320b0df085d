"""Settings → the source they name."""

from __future__ import annotations

from importlib import import_module

from bnkit.errors import DataError
from bnkit.lab.data.dataset import DataSource
from bnkit.lab.data.names import SOURCES
from bnkit.lab.data.settings import DataSettings


def open_source(settings: DataSettings) -> DataSource:
    """Return the source that the settings name; nothing is read yet.

    Raises:
        DataError: the settings stand for arrays that were to be handed over in Python.
    """
    if settings.name not in SOURCES:
        raise DataError(
            f'data.name = "{settings.name}" stands for arrays handed over in Python',
            required=f"a run without them must name one of {', '.join(SOURCES)}",
            remedy="Pass the arrays again as data= of bnkit.lab.run, or name another source",
        )
    module, _, attribute = SOURCES[settings.name].home.partition(":")
    source: DataSource = getattr(import_module(module), attribute)(settings)
    return source
