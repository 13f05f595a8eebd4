"""Read arrays of HDF5 files; every problem is a UserError with the file and the key.

Files are closed after use, so that other programs can write to them. Rows of contiguous arrays are
read directly at their offset in the file, without the HDF5 library.
"""

from __future__ import annotations

import math
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

from ..errors import UserError, first_line
from ..system.input_files import check_memory, check_regular
from .hdf5_chunks import check_chunks
from .hdf5_heaps import check_all_heaps, check_heaps

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)
REMEDY = "copy or record it again, or leave it out with [environment] skip"
CACHED = 4096  # arrays whose shape and offset are cached
LINKS = 100_000  # maximal number of names in a file; an episode has fewer than 100


class _OpenFiles(threading.local):
    """The files that this thread has open."""

    def __init__(self) -> None:
        self.files: dict[Path, h5py.File] = {}


_open = _OpenFiles()


@attrs.frozen
class ArrayInfo:
    """Shape, dtype and offset of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None  # in the file, bytes; None if it is chunked, compressed or empty

    @property
    def rows(self) -> int:
        """The length of the first axis; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def nbytes(self) -> int:
        """The declared size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def nbytes_of(self, rows: int | slice) -> int:
        """Return the declared size of one row or of a range of rows in bytes."""
        count = 1 if isinstance(rows, int) else len(range(*rows.indices(self.rows)))
        return math.prod(self.shape[1:]) * self.dtype.itemsize * count


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; nested uses in one thread share it."""
    if path in _open.files:
        yield _open.files[path]
        return
    try:
        state = check_regular(path)
        file = h5py.File(path, "r", locking=False)  # many network file systems cannot lock
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; list the episodes with rgb2act inspect") from None
    except PermissionError:
        raise UserError(f"{path}: cannot be read (permission denied); allow reading it") from None
    except DAMAGE as err:
        raise UserError(f"{path}: cannot be read as HDF5 ({first_line(err)}); {REMEDY}") from err
    _open.files[path] = file
    try:
        _check_links(path, state.st_mtime_ns, state.st_size)
        yield file
    finally:
        del _open.files[path]
        file.close()


@lru_cache(maxsize=CACHED)
def _check_links(path: Path, modified: int, size: int) -> None:
    """Raise UserError if an open file has links to other files, which are never followed."""
    count = 0

    def fault(name: bytes, link: Any) -> str | None:  # a result ends the visit
        nonlocal count
        count += 1
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            return f"{name.decode(errors='replace')!r:.80} is a link to another file"
        return f"has more than {LINKS} names" if count > LINKS else None

    try:
        found = _open.files[path].id.links.visit(fault, info=True)
    except DAMAGE as err:
        raise UserError(f"{path}: its keys cannot be read ({first_line(err)}); {REMEDY}") from err
    if found is not None:
        raise UserError(f"{path}: {found}; {REMEDY}")


def has(path: Path, key: str) -> bool:
    """Return whether a file has an array or a group of this name."""
    with open_file(path) as file, _damage(path, key):
        return key in file


def read_attribute(path: Path, key: str, name: str) -> Any:
    """Return an attribute of a group or an array; None if it has no such attribute."""
    with open_file(path) as file, _damage(path, f"{key}: attribute {name!r}"):
        state = path.stat()
        _check_all_heaps(path, state.st_mtime_ns, state.st_size)
        return file[key].attrs.get(name)


@lru_cache(maxsize=CACHED)
def _check_all_heaps(path: Path, modified: int, size: int) -> None:
    with path.open("rb") as stream:
        check_all_heaps(stream)


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as err:
        raise UserError(f"{path}: {what}: cannot be read ({first_line(err)}); {REMEDY}") from err


def array_info(path: Path, key: str) -> ArrayInfo:
    """Return shape, dtype and offset of one array of a file."""
    try:
        state = path.stat()
    except OSError:
        raise UserError(f"{path}: no such file; list the episodes with rgb2act inspect") from None
    return _array(path, key, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=CACHED)
def _array(path: Path, key: str, modified: int, size: int) -> ArrayInfo:
    with open_file(path) as file, _damage(path, key):
        found = file.get(key)
        if isinstance(found, h5py.Dataset):
            _check_storage(path, key, found, size)
            return ArrayInfo(found.shape or (), found.dtype, _offset(found, size))
    what = "missing" if found is None else "a group where an array is expected"
    raise UserError(f"{path}: {key}: is {what}; {REMEDY}")


def _check_storage(path: Path, key: str, found: h5py.Dataset, size: int) -> None:
    """Raise UserError or OSError if the library must not read the values of an array."""
    if found.is_virtual or found.external:
        raise UserError(f"{path}: {key}: its values are in another file; {REMEDY}")
    if found.chunks is not None:
        check_memory(path, math.prod(found.chunks) * found.dtype.itemsize, key)
        check_chunks(found)
    if found.dtype.hasobject:
        with path.open("rb") as stream:
            check_heaps(found, stream, size)


def _offset(found: h5py.Dataset, size: int) -> int | None:
    plain = found.dtype.kind in "fiuS" and found.shape and found.chunks is None
    offset = found.id.get_offset() if plain else None
    if offset is not None and offset + found.nbytes > size:
        raise OSError("the array extends beyond the end of the file")
    return offset


def read(path: Path, key: str, rows: int | slice | None = None) -> NDArray[Any]:
    """Return one array of a file, or one row or a range of rows of it."""
    info = array_info(path, key)
    check_memory(path, info.nbytes if rows is None else info.nbytes_of(rows), key)
    with _damage(path, key):
        if rows is not None and info.offset is not None:
            return _read_at(path, info, info.offset, rows)
        with open_file(path) as file:
            return np.asarray(file[key][... if rows is None else rows])


def _read_at(path: Path, info: ArrayInfo, offset: int, rows: int | slice) -> NDArray[Any]:
    """Return rows of a contiguous array, read without the HDF5 library."""
    start, stop = (rows, rows + 1) if isinstance(rows, int) else rows.indices(info.rows)[:2]
    if not 0 <= start <= stop <= info.rows:
        raise ValueError(f"rows {start} to {stop} of {info.rows}")
    each = int(np.prod(info.shape[1:], dtype=np.int64)) * info.dtype.itemsize
    with path.open("rb") as stream:
        stream.seek(offset + start * each)
        data = stream.read((stop - start) * each)
    if len(data) != (stop - start) * each:
        raise OSError("the file is truncated")
    found = np.frombuffer(data, info.dtype).reshape(stop - start, *info.shape[1:])
    return np.asarray(found[0] if isinstance(rows, int) else found)


def read_numbers(path: Path, key: str) -> NDArray[np.float64]:
    """Return an array of finite numbers as float64 (T, D); one of shape (T,) becomes (T, 1)."""
    found = read(path, key)
    if found.dtype.kind not in "fiu" or not found.ndim:
        raise UserError(f"{path}: {key}: is {found.dtype} {found.shape}, expected rows of numbers")
    found = found.astype(np.float64)
    found = found[:, None] if found.ndim == 1 else found
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        value = found[tuple(bad[0])].item()
        where = "".join(f"[{i}]" for i in bad[0][1:])
        raise UserError(f"{path}: {key}: frame {bad[0][0]}: value{where} is {value!r}; {REMEDY}")
    return found


def names(path: Path, key: str, groups: bool = False) -> list[str]:
    """Return the names of the arrays in a group, or of its groups; empty without such a group."""
    wanted = h5py.Group if groups else h5py.Dataset
    with open_file(path) as file, _damage(path, key):
        found = file.get(key)
        if not isinstance(found, h5py.Group):
            return []
        return sorted(name for name, item in found.items() if isinstance(item, wanted))


def read_text(path: Path, key: str) -> Any:
    """Return the text or the list of texts in an array; None if the key is missing."""
    if not has(path, key):
        return None
    found = read(path, key)
    try:
        words = [w.decode() if isinstance(w, bytes) else str(w) for w in found.reshape(-1)]
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: {key}: is not UTF-8 at byte {err.start}; {REMEDY}") from None
    return words[0] if found.ndim == 0 else words
