"""Strict reader of NPZ point clouds: sizes are checked before anything is decompressed.

Shapes: P = points
"""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line
from ..system.input_files import check_memory, open_regular

ARRAY_NAMES = (("xyz", "rgb"), ("points", "colors"))
HEADER = 4096  # maximal bytes of an array's header
MEMBERS = 1000  # maximal number of arrays
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, OverflowError, TypeError),
    *(zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError),
    tokenize.TokenError,
)


def read_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return ``xyz`` and ``rgb``, or ``points`` and ``colors``. Points may be (P, 6).

    Raises UserError if the file is damaged, contains pickled objects or is too large.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            names = next((pair for pair in ARRAY_NAMES if pair[0] in members), None)
            if names is None:
                held = ", ".join(map(repr, list(members)[:8])) or "nothing"
                raise UserError(f"{path}: contains {held:.200}; name the arrays 'xyz' and 'rgb'")
            if len(members) > MEMBERS:
                raise ValueError(f"{len(members)} arrays")
            found = [_read(path, archive, members[name]) for name in names if name in members]
    except DAMAGE as err:
        raise UserError(f"{path}: cannot be read as NPZ ({first_line(err)})") from err
    xyz, rgb = found[0], found[1] if len(found) > 1 else None
    if rgb is None and xyz.ndim == 2 and xyz.shape[1] == 6:
        return xyz[:, :3], xyz[:, 3:]
    return xyz, rgb


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if info.compress_type not in COMPRESSIONS:
        raise ValueError(f"unknown compression {info.compress_type}")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"{info.filename}: unknown version {version}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header may be odd Python
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, HEADER)
        if dtype.hasobject:
            raise ValueError("Object arrays are never read, since they can run code")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=1) < 0 or size + HEADER < info.file_size or size > info.file_size:
            raise ValueError(f"{info.filename} has shape {shape}, but {info.file_size} bytes")
        check_memory(path, 3 * size, info.filename)  # the array, and its copies in float32
        data = stream.read(size)
        if len(data) != size or stream.read(1):  # the end, where zipfile compares the checksum
            raise ValueError(f"{info.filename} does not have {size} bytes")
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")
