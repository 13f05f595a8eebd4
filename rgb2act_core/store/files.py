"""Atomic files and JSON files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.hosts import host_name, is_running
from ..system.input_files import read_json_text
from .disk_errors import OTHER_ROOT, guard

RECORD_DIGEST = "record_digest"


@contextlib.contextmanager
def atomic_write(path: Path, *, remedy: str = OTHER_ROOT) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and rename it to ``path`` at the end.

    The content is flushed to the disk before the rename, so that readers see the old file or the
    complete new one, even after a kill or a power failure. If the block raises, the temporary file
    is deleted and ``path`` stays unchanged. The file's mode follows the umask. Disk errors are
    translated as in ``guard``.
    """
    temporary = temporary_path(path)
    with guard(path, remedy=remedy):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode & 0o777
            yield temporary
            temporary.chmod(mode)  # a library may have replaced the file by one of its owner only
            publish(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # keep the first error
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, *, remedy: str = OTHER_ROOT) -> Iterator[Path]:
    """Yield a new temporary folder next to ``path``, and rename it to ``path`` at the end.

    ``path`` must not exist or be an empty folder. Its content is flushed as in ``atomic_write``. A
    temporary folder that a killed process of this host left is removed by the next one of the same
    path.
    """
    with guard(path, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, left in _left(path.parent):
            if name == path.name and left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        temporary = temporary_path(path)
        temporary.mkdir()
        try:
            yield temporary
            for each in temporary.rglob("*"):
                _sync(each)
            publish(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def temporary_path(path: Path) -> Path:
    """Return a new name next to ``path``, which ``sweep_files`` and ``atomic_folder`` recognise."""
    unique = f"{host_name()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{unique}.part")


def sweep_files(folder: Path) -> None:
    """Remove the temporary files in a folder that killed processes of this host left.

    Does nothing in a folder that is missing or read-only.
    """
    with contextlib.suppress(OSError):
        for _, path in _left(folder):
            if not path.is_dir():
                path.unlink()


def _left(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what killed processes of this host left in a folder, after the name that it is for."""
    host = re.escape(host_name())
    pattern = re.compile(rf"\.(.+)\.{host}-(\d+)-[0-9a-f]{{8}}\.part", re.DOTALL)
    for entry in os.scandir(folder):
        match = pattern.fullmatch(entry.name)
        if match and not is_running(int(match[2])):
            yield match[1], Path(entry.path)


def publish(temporary: Path, path: Path) -> None:
    """Flush a complete file or folder to the disk and rename it to ``path``."""
    _sync(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str, *, remedy: str = OTHER_ROOT) -> None:
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
    if digest is not None and digest != digest_or_none(data):
        raise UserError(f"{path}: was altered after it was written; delete it and run again")
    return data


def digest_or_none(data: dict[str, Any]) -> str | None:
    """Return the digest; None if a number is NaN or infinite, which is never written."""
    try:
        return json_digest(data)
    except ValueError:
        return None


def json_digest(value: Any) -> str:
    """Return a digest of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def sync_folder(path: Path) -> None:
    """Flush a folder to the disk, so that renames in it survive a power failure."""
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
