"""Read from HDF5 files; what is wrong with one is a UserError that names file and key.

No file stays open, so others may write to it. RoboTwin's arrays are contiguous: their rows are read
from where they lie in the file, without HDF5, in about the time of a plain read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
from numpy.typing import NDArray

from rgb2act_core.errors import UserError

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)
AGAIN = "copy or record it again, or leave it out with [environment] skip"
KNOWN = 4096  # arrays whose place in their file is remembered


class _Held(threading.local):
    """Hold what this thread has open at the moment."""

    def __init__(self) -> None:
        self.files: dict[Path, h5py.File] = {}


_held = _Held()


@attrs.frozen
class Array:
    """Say what an array is and where it lies."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None  # in the file; None when it is chunked, compressed or empty

    @property
    def rows(self) -> int:
        """Return the length of the first axis; 1 for a scalar."""
        return self.shape[0] if self.shape else 1


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Give a file opened for reading until the outermost use of it ends."""
    if path in _held.files:
        yield _held.files[path]
        return
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; look for it with rgb2act inspect") from None
    except DAMAGE as err:
        raise UserError(f"{path}: cannot be read as HDF5 ({first(err)}); {AGAIN}") from err
    _held.files[path] = file
    try:
        yield file
    finally:
        del _held.files[path]
        file.close()


def array(path: Path, key: str) -> Array:
    """Return what is known of one array of a file."""
    try:
        state = path.stat()
    except OSError:
        raise UserError(f"{path}: no such file; look for it with rgb2act inspect") from None
    return _array(path, key, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=KNOWN)
def _array(path: Path, key: str, modified: int, size: int) -> Array:
    with opened(path) as file:
        try:
            found = file.get(key)
            if isinstance(found, h5py.Dataset):
                return Array(found.shape or (), found.dtype, _offset(found, size))
        except DAMAGE as err:
            raise UserError(f"{path}: {key}: cannot be read ({first(err)}); {AGAIN}") from err
    what = "missing" if found is None else "a group where an array is expected"
    raise UserError(f"{path}: {key}: is {what}; {AGAIN}")


def _offset(found: h5py.Dataset, size: int) -> int | None:
    plain = found.dtype.kind in "fiuS" and found.shape and found.chunks is None
    offset = (
        found.id.get_offset() if plain and not found.external and not found.is_virtual else None
    )
    if offset is not None and offset + found.nbytes > size:
        raise OSError("the array ends behind the end of the file")
    return offset


def read(path: Path, key: str, rows: int | slice | None = None) -> NDArray[Any]:
    """Return one array of a file, or a row or a run of rows of it."""
    about = array(path, key)
    try:
        if rows is not None and about.offset is not None:
            return _plain(path, about, rows)
        with opened(path) as file:
            return np.asarray(file[key][... if rows is None else rows])
    except DAMAGE as err:
        raise UserError(f"{path}: {key}: cannot be read ({first(err)}); {AGAIN}") from err


def _plain(path: Path, about: Array, rows: int | slice) -> NDArray[Any]:
    """Return rows of a contiguous array by a plain read of the file."""
    start, stop = (rows, rows + 1) if isinstance(rows, int) else rows.indices(about.rows)[:2]
    if not 0 <= start <= stop <= about.rows:
        raise ValueError(f"rows {start} to {stop} of {about.rows}")
    each = int(np.prod(about.shape[1:], dtype=np.int64)) * about.dtype.itemsize
    assert about.offset is not None
    with path.open("rb") as stream:
        stream.seek(about.offset + start * each)
        data = stream.read((stop - start) * each)
    if len(data) != (stop - start) * each:
        raise OSError("the file is cut short")
    found = np.frombuffer(data, about.dtype).reshape(stop - start, *about.shape[1:])
    return np.asarray(found[0] if isinstance(rows, int) else found)


def numbers(path: Path, key: str) -> NDArray[np.float64]:
    """Return an array of numbers; columns (T,) become (T, 1). NaN and infinity are told by row."""
    found = read(path, key)
    if found.dtype.kind not in "fiu" or not found.ndim:
        raise UserError(f"{path}: {key}: is {found.dtype} {found.shape}, expected rows of numbers")
    found = found.astype(np.float64)
    found = found[:, None] if found.ndim == 1 else found
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        value = found[tuple(bad[0])].item()
        where = "".join(f"[{i}]" for i in bad[0][1:])
        raise UserError(f"{path}: {key}: frame {bad[0][0]}: value{where} is {value!r}; {AGAIN}")
    return found


def text(path: Path, key: str) -> Any:
    """Return text, or a list of texts, that an array holds; None when the key is missing."""
    with opened(path) as file:
        if key not in file:
            return None
        found = read(path, key)
    try:
        words = [w.decode() if isinstance(w, bytes) else str(w) for w in found.reshape(-1)]
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: {key}: is not UTF-8 at byte {err.start}; {AGAIN}") from None
    return words[0] if found.ndim == 0 else words


def first(err: BaseException) -> str:
    """Return the beginning of an error's message."""
    return (str(err) or type(err).__name__).strip("'\"").partition("\n")[0][:160]
