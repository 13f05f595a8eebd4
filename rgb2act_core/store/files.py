"""Atomic files, JSON files, lock files, and disk errors as UserErrors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.formatting import format_bytes
from ..system.input_files import read_json_text

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
RECORD_DIGEST = "record_digest"
_OTHER_ROOT = "choose another folder with --root"


@contextlib.contextmanager
def atomic_write(path: Path, *, remedy: str = _OTHER_ROOT) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and rename it to ``path`` at the end.

    The content is flushed to the disk before the rename, so that readers see the old file or the
    complete new one, even after a kill or a power failure. If the block raises, the temporary file
    is deleted and ``path`` stays unchanged. The file's mode follows the umask. Disk errors are
    translated as in ``guard``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with guard(path, remedy=remedy):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode & 0o777
            yield temporary
            temporary.chmod(mode)  # safetensors creates files for the owner only
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Flush a complete file to the disk and rename it to ``path``."""
    _sync(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str, *, remedy: str = _OTHER_ROOT) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path, remedy=remedy) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically. NaN and infinities raise ValueError."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False))


def write_record(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a digest that ``read_json`` compares."""
    plain = json.loads(json.dumps(data, allow_nan=False))
    write_json(path, {**plain, RECORD_DIGEST: json_digest(plain)})


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, without the digest that ``write_record`` adds.

    Raises UserError if the file is missing, damaged or does not match its digest.
    """
    try:
        data = read_json_text(path)
    except (OSError, ValueError) as err:
        raise UserError(f"{path}: cannot be read ({err}); delete it and run again") from err
    if not isinstance(data, dict):
        raise UserError(f"{path}: is not a JSON object; delete it and run again")
    digest = data.pop(RECORD_DIGEST, None)  # files of older versions have none
    if digest is not None and digest != json_digest(data):
        raise UserError(f"{path}: was altered after it was written; delete it and run again")
    return data


def json_digest(value: Any) -> str:
    """Return a digest of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


@contextlib.contextmanager
def guard(path: Path, *, needed: int = 0, remedy: str = _OTHER_ROOT) -> Iterator[None]:
    """Raise UserError naming ``path`` if the disk is full or the path can't be written.

    ``needed`` is the number of bytes about to be written, for the message. ``remedy`` says what
    to do about a path that can't be written. Other errors pass through.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise UserError(
                f"{path}: {_full(path, needed)}; free some space and run again"
            ) from err
        if err.errno in _DENIED:
            reason = os.strerror(err.errno).lower()
            raise UserError(f"{path}: cannot be written ({reason}); {remedy}") from err
        raise


def _full(path: Path, needed: int) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = f"{format_bytes(shutil.disk_usage(folder).free)} free"
    details = f"{format_bytes(needed)} needed, {free}" if needed else free
    return f"the disk is full ({details})"


@contextlib.contextmanager
def locked(path: Path, *, remedy: str = _OTHER_ROOT) -> Iterator[None]:
    """Hold the lock file at ``path``; print a line while another process holds it."""
    # imported here so that commands that only write files start fast
    from filelock import FileLock, Timeout

    from ..system.progress import say

    with guard(path, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another run that is working on {path.with_suffix('').name}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sync_folder(path: Path) -> None:
    """Flush a folder to the disk, so that renames in it survive a power failure."""
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
