"""Guard for files that others wrote: what a reader checks before it opens or allocates anything.

Only regular files are opened, so that a named pipe or a device cannot block the process. Sizes
that a file declares are compared with its real size and with the free memory before anything is
allocated. ``ENOENT`` and other errors of the system pass through, since each reader names its own
remedy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError
from .formatting import format_bytes
from .memory import available_memory

DEPTH = 100  # levels of nested lists and objects; no file of this package has more than 20
TEXT_LIMIT = 256 << 20  # bytes of a JSON, TOML or text file
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: Path) -> os.stat_result:
    """Return the status of a regular file, following links.

    Raises UserError for a named pipe, device or socket, and OSError for a folder or no file.
    """
    status = path.stat()
    _check_mode(path, status)
    return status


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without ever waiting for a writer.

    Raises UserError for a named pipe, device or socket, and OSError if it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_mode(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")  # noqa: PTH123 an open descriptor


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the name of a file to the errors of reading it, which have none for an open file."""
    try:
        yield
    except OSError as err:
        if err.filename is None:
            err.filename = str(path)
        raise


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes (default: free memory).

    Raises UserError and OSError as ``open_regular`` does.
    """
    with open_regular(path) as stream, named(path):
        size = os.fstat(stream.fileno()).st_size
        if limit is not None and size > limit:
            raise UserError(
                f"{path}: has {format_bytes(size)}, at most {format_bytes(limit)} are read; give"
                " another file"
            )
        check_memory(path, size)
        return stream.read(size)


def check_memory(path: Path, needed: int, what: str = "") -> None:
    """Raise UserError if reading ``needed`` bytes would take more than half of the free memory.

    ``what`` names the part of the file that declares this size.
    """
    available = available_memory()
    if needed > available // 2:
        part = f"{what}: " if what else ""
        raise UserError(
            f"{path}: {part}needs {format_bytes(needed)} of memory, but {format_bytes(available)}"
            " are free; give a smaller or undamaged file"
        )


def check_within(path: Path, folder: Path) -> None:
    """Raise UserError if ``path`` is a link to a file outside ``folder``."""
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UserError(
            f"{path}: is a link to {target}, outside {folder}; give the folder that has the files,"
            " or copy them into one folder (cp -rL follows links)"
        )


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON text.

    Raises ValueError if it is not valid or nested more than ``DEPTH`` levels deep.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("lists and objects are nested too deeply") from None
    level = [value]
    for _ in range(DEPTH):
        level = [item for part in level for item in _children(part)]
        if not level:
            return value
    raise ValueError("lists and objects are nested too deeply")


def read_json_text(path: Path) -> Any:
    """Return the value in a JSON file: UserError, OSError or ValueError as above."""
    return parse_json(read_regular(path, TEXT_LIMIT))


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, dict | list)]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict | list)]
    return []


def _check_mode(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise UserError(f"{path}: is {kind}; give a regular file")
