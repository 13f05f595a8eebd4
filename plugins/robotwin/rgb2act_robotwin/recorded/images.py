"""Frames of one episode, decoded when they are looked at.

Shapes: T = frames, V = cameras, H W = pixels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgb2act_core.errors import UserError

from . import hdf5, jpeg
from .hdf5 import AGAIN, first


@attrs.frozen(eq=False)
class StoredImages:
    """Read frames out of an HDF5 file; ``rows[t]`` is the row of frame t."""

    path: Path
    keys: tuple[str, ...]  # one a camera
    rows: NDArray[np.int64]  # (T,)
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the whole shape, (T, V, H, W, 3)."""
        return (len(self.rows), len(self.keys), *self.size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return frames by an index, a slice or an array of indices."""
        rows = self.rows[index]
        wanted = np.atleast_1d(rows)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for v, key in enumerate(self.keys):
            for t, data in enumerate(_bytes(self.path, key, wanted)):
                out[t, v] = self._decode(key, int(wanted[t]), data)
        return out if np.ndim(rows) else out[0]

    def _decode(self, key: str, row: int, data: bytes) -> NDArray[np.uint8]:
        try:
            head = jpeg.header(data)
            if (head.height, head.width) != self.size:
                raise ValueError(f"is {head.height}x{head.width}")
            return jpeg.decode(data, head)
        except ValueError as err:
            raise UserError(_damaged(self.path, key, row, first(err))) from err


@attrs.frozen(eq=False)
class FolderImages:
    """Read frames out of image files, ``paths[v][t]`` for camera v and frame t."""

    paths: tuple[tuple[Path, ...], ...]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the whole shape, (T, V, H, W, 3)."""
        return (len(self.paths[0]), len(self.paths), *self.size, 3)

    def __len__(self) -> int:
        return len(self.paths[0])

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return frames by an index, a slice or an array of indices."""
        steps = np.arange(len(self))[index]
        wanted = np.atleast_1d(steps)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for t, step in enumerate(wanted):
            for v, files in enumerate(self.paths):
                out[t, v] = read_image(files[step], self.size)
        return out if np.ndim(steps) else out[0]


def read_image(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return an image file as uint8 (H, W, 3), RGB as the file says; of that size, if given."""
    try:
        with Image.open(path) as image:
            found = (image.height, image.width)
            if size is not None and found != size:
                raise UserError(f"{path}: is {found!r} pixels, the first frame {size!r}; {AGAIN}")
            if max(found) > jpeg.LARGEST:
                raise UserError(f"{path}: is {found!r} pixels; give at most {jpeg.LARGEST} a side")
            return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as err:
        raise UserError(f"{path}: cannot be read as an image ({first(err)}); {AGAIN}") from err


def scan(path: Path, key: str, count: int) -> tuple[list[bytes], list[jpeg.Header]]:
    """Return the first ``count`` JPEGs of an array and what their headers say.

    UserError names the first frame that is no JPEG, or of another size.
    """
    data = _bytes(path, key, np.arange(count))
    heads: list[jpeg.Header] = []
    for row, one in enumerate(data):
        try:
            heads.append(jpeg.header(one))
        except ValueError as err:
            raise UserError(_damaged(path, key, row, str(err))) from None
        seen, before = heads[-1], heads[0]
        if (seen.height, seen.width) != (before.height, before.width):
            what = f"is {seen.height}x{seen.width}, frame 0 {before.height}x{before.width}"
            raise UserError(_damaged(path, key, row, what))
    return data, heads


def _bytes(path: Path, key: str, rows: NDArray[np.int64]) -> list[bytes]:
    """Return JPEGs; h5py has stripped the zeros behind them. One read, if rows lie close."""
    about = hdf5.array(path, key)
    if len(about.shape) != 1 or about.dtype.kind not in "SO":
        raise UserError(f"{path}: {key}: is {about.dtype} {about.shape}, expected JPEGs; {AGAIN}")
    if len(rows) == 0:
        return []
    low, high = int(rows.min()), int(rows.max())
    if high >= about.rows:
        raise UserError(
            f"{path}: {key}: has {about.rows} frames, frame {high} is asked for; {AGAIN}"
        )
    if high - low < 4 * len(rows):
        block = hdf5.read(path, key, slice(low, high + 1))
        found = [block[row - low] for row in rows]
    else:
        found = [hdf5.read(path, key, int(row))[()] for row in rows]
    return [bytes(one).rstrip(b"\0") for one in found]


def _damaged(path: Path, key: str, row: int, what: str) -> str:
    return f"{path}: {key}: frame {row}: {what}; {AGAIN}"
