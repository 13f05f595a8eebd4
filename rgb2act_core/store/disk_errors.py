"""Errors of the operating system while files are written, as one line with a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..system.formatting import format_bytes

OTHER_ROOT = "choose another folder with --root"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_OPEN_FILES = (errno.EMFILE, errno.ENFILE)
_DEVICE = (errno.EIO, errno.EREMOTEIO)
# errors of processes and pipes, which are not about a folder
_PROCESSES = (errno.EPIPE, errno.ECHILD, errno.ESRCH, errno.EBADF, errno.EINTR, errno.ENOMEM)
# errors of sockets, and of disks that are reached over a network
_NETWORK = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EADDRINUSE,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
    errno.ECOMM,
)


@contextlib.contextmanager
def guard(
    path: Path, *, needed: int = 0, remedy: str = OTHER_ROOT, sockets: bool = False
) -> Iterator[None]:
    """Raise UserError naming ``path`` if the operating system cannot write it.

    ``needed`` is the number of bytes about to be written, for the message. ``remedy`` is what
    to do about a path that can't be written. Errors of pipes and processes pass through, and so
    does an error about a missing file outside of the folder of ``path``. With ``sockets``, the
    block also uses sockets, and network errors that name no file below ``path`` pass through.
    """
    try:
        yield
    except OSError as err:
        if sockets and err.errno in _NETWORK and not _names_file_below(path, err):
            raise
        if (message := _message(path, err, needed, remedy)) is None:
            raise
        raise UserError(message) from err


def is_read_only(err: UserError) -> bool:
    """Return whether an error of ``guard`` is one of a folder that must not be written."""
    cause = err.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


def _message(path: Path, err: OSError, needed: int, remedy: str) -> str | None:
    number = err.errno
    if number is None or number in _PROCESSES or (number in _MISSING and not _concerns(path, err)):
        return None
    reason = os.strerror(number).lower()
    if number in _FULL:
        return f"{path}: {_full(path, needed)}; free some space and run again"
    if number == errno.ESTALE or (number in _MISSING and _was_deleted(path, err)):
        return f"{path}: was deleted or moved while it was in use ({reason}); run again"
    if number in _OPEN_FILES:
        return f"{path}: cannot be opened ({reason}); raise the limit with ulimit -n"
    if number in _DEVICE:
        return f"{path}: cannot be written ({reason}); check the disk, or {remedy}"
    if number in _NETWORK:
        return f"{path}: cannot be written ({reason}); check the network, or {remedy}"
    return f"{path}: cannot be written ({reason}); {remedy}"


def _concerns(path: Path, err: OSError) -> bool:
    """Return whether an error about a missing file is one about the folder of ``path``."""
    if not isinstance(err.filename, str):
        return True
    return Path(err.filename).absolute().is_relative_to(path.absolute().parent)


def _was_deleted(path: Path, err: OSError) -> bool:
    """Return whether ``path`` is a folder that was deleted, or a file in one."""
    deleted = _names_file_below(path, err) and not _exists(path)
    return deleted or not _exists(path.absolute().parent)


def _names_file_below(path: Path, err: OSError) -> bool:
    return (
        isinstance(err.filename, str) and path.absolute() in Path(err.filename).absolute().parents
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _full(path: Path, needed: int) -> str:
    folder = next(parent for parent in path.absolute().parents if _exists(parent))
    free = f"{format_bytes(shutil.disk_usage(folder).free)} free"
    details = f"{format_bytes(needed)} needed, {free}" if needed else free
    return f"the disk is full ({details})"
