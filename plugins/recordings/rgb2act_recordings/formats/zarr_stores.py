"""Files of a zarr store of format 2: a folder or a zip file."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

import attrs

from rgb2act_core import (
    UserError,
    check_memory,
    check_regular,
    check_within,
    file_digest,
    read_regular,
)

AGAIN = "copy or record the data set again"
ENTRIES = 2_000_000  # maximal number of files in a zip file
_DAMAGE = (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile)


class Store(Protocol):
    """The files of a store, by names such as ``data/action/.zarray``. Instances can be pickled."""

    def __hash__(self) -> int:
        """Return the hash, for caches of chunks."""

    @property
    def path(self) -> Path:
        """The folder or zip file."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the content of a file of at most ``limit`` bytes; None if there is none.

        Raises UserError if it is larger, or damaged.
        """

    def children(self, folder: str) -> list[str]:
        """Return the names of the arrays in a group, sorted."""

    def digest(self, folders: Collection[str]) -> str:
        """Return a digest that changes whenever a file in one of the folders does."""


@attrs.frozen
class FolderStore:
    """A store in a folder."""

    path: Path

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the content of a regular file within the folder."""
        file = self.path / name
        try:
            check_within(file, self.path)
            return read_regular(file, limit)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise UserError(f"{file}: cannot be read ({err.strerror}); {AGAIN}") from err

    def children(self, folder: str) -> list[str]:
        """Return the folders with an array."""
        found = self.path / folder
        names = [child.name for child in found.iterdir()] if found.is_dir() else []
        return sorted(name for name in names if (found / name / ".zarray").is_file())

    def digest(self, folders: Collection[str]) -> str:
        """Return the digests of the folders."""
        return " ".join(file_digest(self.path / folder) for folder in sorted(folders))


@attrs.frozen
class ZipStore:
    """A store in a zip file."""

    path: Path

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the content of an entry, whose declared size is checked before it is unpacked."""
        try:
            archive = _opened(self.path, self._state)
            try:
                entry = archive.getinfo(name)
            except KeyError:
                return None
            if entry.file_size > limit:
                raise ValueError(f"has {entry.file_size} bytes, at most {limit} are possible")
            check_memory(self.path, entry.file_size, name)
            return archive.read(entry)
        except _DAMAGE as err:
            raise UserError(f"{self.path}: {name}: cannot be read ({err}); {AGAIN}") from err

    def children(self, folder: str) -> list[str]:
        """Return the folders with an array."""
        try:
            names = _opened(self.path, self._state).namelist()
        except _DAMAGE as err:
            raise UserError(f"{self.path}: cannot be read ({err}); {AGAIN}") from err
        paths = [PurePosixPath(name) for name in names if name.endswith("/.zarray")]
        return sorted({p.parts[-2] for p in paths if str(p.parent.parent) == folder})

    @property
    def _state(self) -> tuple[int, int]:
        status = check_regular(self.path)
        return status.st_mtime_ns, status.st_size

    def digest(self, folders: Collection[str]) -> str:
        """Return the digest of the file."""
        return file_digest(self.path)


@lru_cache(maxsize=4)
def _opened(path: Path, _: tuple[int, int]) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path)
    if len(archive.filelist) > ENTRIES:
        archive.close()
        raise ValueError(f"it has more than {ENTRIES} entries")
    return archive


def open_store(path: Path) -> Store | None:
    """Return the store at a path; None if it is neither a folder nor a zip file."""
    if path.is_dir():
        return FolderStore(path)
    try:
        check_regular(path)
        return ZipStore(path) if zipfile.is_zipfile(path) else None
    except (UserError, OSError):
        return None
