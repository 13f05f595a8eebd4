"""SHA-256 digests of weights files, cached on disk so that large files are read only once.

The cache is in the user's cache folder, not in a store, because it describes the files of this
machine: ``digests/<digest of the file identities>.json``. A file's identity is its device, inode,
size, and the times (ns) of the last change of content (mtime) and inode (ctime). Only the kernel
sets the ctime, so programs that restore the mtime are detected. The digest of a file that changed
a moment ago is not cached: where the clock is coarse, the file could change again unnoticed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.input_files import named, open_regular
from ..system.progress import progress_bar
from ..system.progress_json import Advance
from .files import write_text

BLOCK = 1 << 22  # bytes
CACHED_FROM = 16 << 20  # bytes; hashing a smaller file is faster than a lookup over a network
SETTLED = 3.0  # seconds since the last change; the coarsest file system clock has steps of 2 s
SILENT = 2.0  # seconds before progress is shown

Identity = tuple[str, int, int, int, int, int]


def cache_folder() -> Path:
    """Return the folder of downloads and digests: ``RGB2ACT_CACHE`` or the user's cache."""
    if chosen := os.environ.get("RGB2ACT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "rgb2act"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder.

    Raises UserError for a named pipe or a device, and OSError if a file can't be read.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return _digest(path, tuple(files), _identities(path, files))


def _identities(path: Path, files: list[Path] | tuple[Path, ...]) -> tuple[Identity, ...]:
    found = []
    for file in files:
        s, name = file.stat(), str(file.relative_to(path)) if file != path else ""
        found.append((name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
    return tuple(found)


@functools.cache  # keys are computed many times in a process
def _digest(path: Path, files: tuple[Path, ...], identities: tuple[Identity, ...]) -> str:
    if sum(size for _, _, _, size, _, _ in identities) < CACHED_FROM:
        return _hash(path, files)
    entry = _entry(identities)
    if known := _read_entry(entry, identities):
        return known
    digest = _hash(path, files)
    if _settled(identities) and _identities(path, files) == identities:
        _write_entry(entry, identities, digest)
    return digest


def _hash(path: Path, files: tuple[Path, ...]) -> str:
    sha = hashlib.sha256()
    with _shown(path, sum(file.stat().st_size for file in files)) as advance:
        for file in files:
            if path.is_dir():
                sha.update(str(file.relative_to(path)).encode() + b"\0")
            with open_regular(file) as stream, named(file):
                while block := stream.read(BLOCK):
                    sha.update(block)
                    advance(len(block))
    return sha.hexdigest()


@contextlib.contextmanager
def _shown(path: Path, total: int) -> Iterator[Advance]:
    """Show progress once hashing has taken ``SILENT`` seconds."""
    start, done = time.monotonic(), 0
    bar: Advance | None = None
    with contextlib.ExitStack() as stack:

        def advance(count: int) -> None:
            nonlocal bar, done
            done += count
            if bar is not None:
                bar(done // 10**6 - (done - count) // 10**6)
            elif time.monotonic() - start > SILENT:
                title = f"hash {path.name}"
                bar = stack.enter_context(progress_bar(title, total // 10**6, "MB", done // 10**6))

        yield advance


def _entry(identities: tuple[Identity, ...]) -> Path:
    name = hashlib.blake2b(json.dumps(identities).encode(), digest_size=16).hexdigest()
    return cache_folder() / "digests" / f"{name}.json"


def _settled(identities: tuple[Identity, ...]) -> bool:
    newest = max(max(changed, moved) for _, _, _, _, changed, moved in identities)
    return time.time() - newest / 1e9 > SETTLED  # also False if the clock is behind


def _read_entry(entry: Path, identities: tuple[Identity, ...]) -> str | None:
    """Return the cached digest, or None if it is missing or damaged."""
    try:
        data: Any = json.loads(entry.read_text(encoding="utf-8"))
        digest, seal = data["sha256"], data["seal"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return str(digest) if seal == _seal(identities, digest) else None


def _write_entry(entry: Path, identities: tuple[Identity, ...], digest: str) -> None:
    """Cache the digest; a cache that can't be written only costs time."""
    with contextlib.suppress(OSError, UserError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_text(entry, json.dumps({"sha256": digest, "seal": _seal(identities, digest)}))


def _seal(identities: tuple[Identity, ...], digest: Any) -> str:
    """Return a checksum that detects damage to an entry."""
    text = json.dumps([identities, digest])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
