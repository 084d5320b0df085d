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
    """

    home: str
    needs_path: bool


SOURCES = {
    "digits": SourceEntry("bnkit.lab.data.digits:DigitsSource", needs_path=False),
    "folder": SourceEntry("bnkit.lab.data.folder:FolderSource", needs_path=True),
    "arrays": SourceEntry("bnkit.lab.data.arrays:ArrayFileSource", needs_path=True),
}
