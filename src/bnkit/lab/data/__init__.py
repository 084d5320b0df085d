"""Digits, image folders and arrays, decoded once and checked before anything trains on them."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.data.arrays import ArraySource as ArraySource
    from bnkit.lab.data.arrays import from_arrays as from_arrays
    from bnkit.lab.data.dataset import Dataset as Dataset
    from bnkit.lab.data.dataset import DataSource as DataSource
    from bnkit.lab.data.names import SOURCES as SOURCES
    from bnkit.lab.data.preparation import check_batch_size as check_batch_size
    from bnkit.lab.data.settings import DataSettings as DataSettings
    from bnkit.lab.data.sources import open_source as open_source

__getattr__, __dir__ = attach(
    __name__,
    {
        "SOURCES": "bnkit.lab.data.names",
        "ArraySource": "bnkit.lab.data.arrays",
        "DataSettings": "bnkit.lab.data.settings",
        "DataSource": "bnkit.lab.data.dataset",
        "Dataset": "bnkit.lab.data.dataset",
        "check_batch_size": "bnkit.lab.data.preparation",
        "from_arrays": "bnkit.lab.data.arrays",
        "open_source": "bnkit.lab.data.sources",
    },
)
