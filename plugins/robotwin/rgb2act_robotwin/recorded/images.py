"""Camera images of one episode, decoded on access.

Shapes: T = frames, V = cameras, H W = pixels
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgb2act_core import UserError, first_line, read_regular
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from . import jpeg

FORMATS = ("PNG", "JPEG")  # determined by the content; others may start programs
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits per channel


@attrs.frozen(eq=False)
class StoredImages:
    """Images of an HDF5 file; ``rows[t]`` is the row of frame t."""

    path: Path
    keys: tuple[str, ...]  # one per camera
    rows: NDArray[np.int64]  # (T,)
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T, V, H, W, 3)."""
        return (len(self.rows), len(self.keys), *self.size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return uint8 frames of an index, a slice or an array of indices."""
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
            raise UserError(_damaged(self.path, key, row, first_line(err))) from err


@attrs.frozen(eq=False)
class FolderImages:
    """Images of single files; ``paths[v][t]`` is frame t of camera v."""

    paths: tuple[tuple[Path, ...], ...]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T, V, H, W, 3)."""
        return (len(self.paths[0]), len(self.paths), *self.size, 3)

    def __len__(self) -> int:
        return len(self.paths[0])

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return uint8 frames of an index, a slice or an array of indices."""
        steps = np.arange(len(self))[index]
        wanted = np.atleast_1d(steps)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for t, step in enumerate(wanted):
            for v, files in enumerate(self.paths):
                out[t, v] = read_image(files[step], self.size)
        return out if np.ndim(steps) else out[0]


def read_image(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return an image file as uint8 RGB (H, W, 3); raise UserError if it has another size."""
    try:
        data = io.BytesIO(read_regular(path))  # of a file, Pillow allocates what a chunk declares
        with Image.open(data, formats=FORMATS) as image:
            found = (image.height, image.width)
            if size is not None and found != size:
                raise UserError(f"{path}: has {found!r} pixels, the first frame {size!r}; {REMEDY}")
            if max(found) > jpeg.LARGEST:
                raise UserError(
                    f"{path}: has {found!r} pixels; at most {jpeg.LARGEST} per side are supported"
                )
            if image.mode not in MODES:
                raise UserError(
                    f"{path}: has the mode {image.mode!r}; convert it to 8 bits per channel"
                )
            return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as err:
        raise UserError(
            f"{path}: cannot be read as an image ({first_line(err)}); {REMEDY}"
        ) from err


def read_jpegs(
    path: Path, key: str, rows: NDArray[np.int64]
) -> tuple[list[bytes], list[jpeg.Header]]:
    """Return the JPEGs of some rows of an array and their headers.

    Raises UserError for the first frame that is not a JPEG or has another size than the first one.
    """
    data = _bytes(path, key, rows)
    heads: list[jpeg.Header] = []
    for row, one in zip(rows.tolist(), data, strict=True):
        try:
            heads.append(jpeg.header(one))
        except ValueError as err:
            raise UserError(_damaged(path, key, row, str(err))) from None
        head, first = heads[-1], heads[0]
        if (head.height, head.width) != (first.height, first.width):
            what = f"is {head.height}x{head.width}, frame {rows[0]} is {first.height}x{first.width}"
            raise UserError(_damaged(path, key, row, what))
    return data, heads


def _bytes(path: Path, key: str, rows: NDArray[np.int64]) -> list[bytes]:
    """Return JPEGs without the zeros that pad them; nearby rows are read at once."""
    info = hdf5.array_info(path, key)
    if len(info.shape) != 1 or info.dtype.kind not in "SO":
        raise UserError(f"{path}: {key}: is {info.dtype} {info.shape}, expected JPEGs; {REMEDY}")
    if len(rows) == 0:
        return []
    low, high = int(rows.min()), int(rows.max())
    if high >= info.rows:
        raise UserError(
            f"{path}: {key}: has {info.rows} frames, but frame {high} is needed; {REMEDY}"
        )
    if high - low < 4 * len(rows):
        block = hdf5.read(path, key, slice(low, high + 1))
        found = [block[row - low] for row in rows]
    else:
        found = [hdf5.read(path, key, int(row))[()] for row in rows]
    return [bytes(one).rstrip(b"\0") for one in found]


def _damaged(path: Path, key: str, row: int, what: str) -> str:
    return f"{path}: {key}: frame {row}: {what}; {REMEDY}"
