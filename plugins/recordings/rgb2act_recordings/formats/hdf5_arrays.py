"""Arrays of HDF5 files.

Shapes: R = recorded frames
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core.recordings import hdf5

SUFFIXES = (".hdf5", ".h5")


@attrs.frozen(kw_only=True)
class Hdf5Array:
    """One array of an HDF5 file."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoded: bool = False

    @property
    def label(self) -> str:
        """The file and the key."""
        return f"{self.path}: {self.key}"

    def rows(self, low: int, high: int) -> NDArray[Any]:
        """Return rows ``low`` to ``high`` - 1."""
        return hdf5.read(self.path, self.key, slice(low, high))


def arrays_of(path: Path, group: str, encoded: bool = False) -> dict[str, Hdf5Array]:
    """Return the arrays of a group by name.

    ``encoded`` marks those of bytes, one row per image, as JPEGs.
    """
    found = {}
    with hdf5.open_file(path):
        for name in hdf5.names(path, group):
            key = f"{group}/{name}"
            info = hdf5.array_info(path, key)
            of_bytes = (info.dtype.kind == "S" and len(info.shape) == 1) or (
                info.dtype == np.uint8 and len(info.shape) == 2
            )
            found[name] = Hdf5Array(
                path=path,
                key=key,
                shape=info.shape,
                dtype=info.dtype,
                encoded=encoded and of_bytes,
            )
    return found


def number_of(name: str) -> tuple[int, str]:
    """Return what names of episodes are sorted by: the number at their end, then the name."""
    digits = re.search(r"(\d{1,18})$", name)
    return (int(digits[1]) if digits else -1, name)
