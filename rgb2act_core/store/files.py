"""JSON files that appear whole, lock files, and disk errors as UserError."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import UserError
from ..system.progress import say


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(data, indent=1, allow_nan=False)
    with guard(path):
        try:
            with beside.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise UserError naming the file when it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise UserError(f"{path}: cannot be read ({err}); delete it and run again") from err
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a JSON object; delete it and run again")
    return data


@contextlib.contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn a full disk or a store that cannot be written into a UserError that names it."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{path}: the disk is full; free some space and run again") from err
        if err.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise UserError(
                f"{path}: cannot be written ({err.strerror}); choose another folder with --root"
            ) from err
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``; say so when another run has it, and wait for it."""
    with guard(path):
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
    """Make renames in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
