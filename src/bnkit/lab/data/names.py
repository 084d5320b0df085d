"""The data a study can name: name → where its source is; imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple

GIVEN = "given"
"""Name of arrays that Python code hands over; it cannot be opened from a study file."""


class SourceEntry(NamedTuple):
    """A data source by name.

    Attributes:
        home: `module:Class`; the class is called with the settings.
        needs_path: whether `data.path` must be given; otherwise it must not be.
        is_stored: whether it lies in the data folder; the class then takes that folder as well.
    """

    home: str
    needs_path: bool = False
    is_stored: bool = False


SOURCES = {
    "digits": SourceEntry("bnkit.lab.data.digits:DigitsSource"),
    "iris": SourceEntry("bnkit.lab.data.tabular:TabularSource"),
    "wine": SourceEntry("bnkit.lab.data.tabular:TabularSource"),
    "breast-cancer": SourceEntry("bnkit.lab.data.tabular:TabularSource"),
    "mnist": SourceEntry("bnkit.lab.data.mnist:MnistSource", is_stored=True),
    "cifar-10": SourceEntry("bnkit.lab.data.cifar_10:Cifar10Source", is_stored=True),
    "hindi-digits": SourceEntry("bnkit.lab.data.hindi_digits:HindiDigitsSource", is_stored=True),
    "folder": SourceEntry("bnkit.lab.data.folder:FolderSource", needs_path=True),
    "arrays": SourceEntry("bnkit.lab.data.arrays:ArrayFileSource", needs_path=True),
}
