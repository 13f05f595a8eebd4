"""The file formats, each recognised by its content."""

from __future__ import annotations

from pathlib import Path

from . import aloha, replay_buffer, robomimic
from .data_set import DataSet

FORMATS = (aloha, robomimic, replay_buffer)


def open_data_set(path: Path) -> DataSet | None:
    """Return the data set at a path; None if it has none of the formats.

    Raises UserError for a data set whose list of episodes is damaged.
    """
    for form in FORMATS:
        found: DataSet | None = form.open_data_set(path)
        if found is not None:
            return found
    return None
