"""The SHA-256 of weights files, remembered on disk: a file of gigabytes is read once a machine.

What is remembered lies in the user's cache folder and not in a store, because it is true of this
machine's files: ``digests/<digest of the files' identities>.json``. An identity is device, inode,
size, and the times of the last change of content and of inode in nanoseconds; the kernel sets the
last one and no program can set it back. A file that changed a moment ago is not remembered: on a
file system with coarse clocks it could change again unseen.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..system.progress import Advance, task

BLOCK = 1 << 22  # bytes
WORTH = 16 << 20  # bytes; less is hashed faster than it is looked up over a network
SETTLED = 3.0  # seconds since the last change; the coarsest clock of a file system ticks in two
SILENT = 2.0  # seconds of hashing before progress is shown

Identity = tuple[str, int, int, int, int, int]


def cache_folder() -> Path:
    """Return where downloads and digests are kept: ``RGB2ACT_CACHE``, or the user's cache."""
    if chosen := os.environ.get("RGB2ACT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "rgb2act"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder in name order."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return _digest(path, tuple(files), _identities(path, files))


def _identities(path: Path, files: list[Path] | tuple[Path, ...]) -> tuple[Identity, ...]:
    found = []
    for file in files:
        s, name = file.stat(), str(file.relative_to(path)) if file != path else ""
        found.append((name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
    return tuple(found)


@functools.cache  # keys are asked for again and again
def _digest(path: Path, files: tuple[Path, ...], identities: tuple[Identity, ...]) -> str:
    if sum(size for _, _, _, size, _, _ in identities) < WORTH:
        return _hash(path, files)
    place = _place(identities)
    if known := _recall(place, identities):
        return known
    digest = _hash(path, files)
    if _settled(identities) and _identities(path, files) == identities:
        _remember(place, identities, digest)
    return digest


def _hash(path: Path, files: tuple[Path, ...]) -> str:
    sha = hashlib.sha256()
    with _shown(path, sum(file.stat().st_size for file in files)) as advance:
        for file in files:
            if path.is_dir():
                sha.update(str(file.relative_to(path)).encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    sha.update(block)
                    advance(len(block))
    return sha.hexdigest()


@contextlib.contextmanager
def _shown(path: Path, total: int) -> Iterator[Advance]:
    """Show progress once hashing has taken some time."""
    began, done = time.monotonic(), 0
    bar: Advance | None = None
    with contextlib.ExitStack() as stack:

        def advance(count: int) -> None:
            nonlocal bar, done
            done += count
            if bar is not None:
                bar(done // 10**6 - (done - count) // 10**6)
            elif time.monotonic() - began > SILENT:
                title = f"read {path.name} for its digest"
                bar = stack.enter_context(task(title, total // 10**6, "MB", done // 10**6))

        yield advance


def _place(identities: tuple[Identity, ...]) -> Path:
    name = hashlib.blake2b(json.dumps(identities).encode(), digest_size=16).hexdigest()
    return cache_folder() / "digests" / f"{name}.json"


def _settled(identities: tuple[Identity, ...]) -> bool:
    newest = max(max(changed, moved) for _, _, _, _, changed, moved in identities)
    return time.time() - newest / 1e9 > SETTLED  # a clock that is behind gives False too


def _recall(place: Path, identities: tuple[Identity, ...]) -> str | None:
    """Return the digest that is remembered; None when there is none or what lies there is torn."""
    try:
        data: Any = json.loads(place.read_text(encoding="utf-8"))
        digest, seal = data["sha256"], data["seal"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return str(digest) if seal == _seal(identities, digest) else None


def _remember(place: Path, identities: tuple[Identity, ...], digest: str) -> None:
    """Write the digest whole or not at all; a cache that cannot be written costs only time."""
    beside = place.with_name(f".{place.stem}.{os.getpid()}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps({"sha256": digest, "seal": _seal(identities, digest)}))
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)


def _seal(identities: tuple[Identity, ...], digest: Any) -> str:
    """Return what damage to an entry would not fit."""
    text = json.dumps([identities, digest])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
