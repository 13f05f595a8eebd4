"""Download a file over HTTP: interrupted downloads resume, partial files stay invisible."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..store.disk_errors import guard
from ..store.file_digests import cache_folder, file_digest
from ..store.files import publish
from ..store.locks import locked
from ..system.formatting import format_bytes
from ..system.progress import progress_bar, say

BLOCK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without receiving a byte
MEGA = 10**6
LONGEST_LENGTH = 20  # digits of a file's bytes
_OTHER_CACHE = "set RGB2ACT_CACHE to another folder"
_BY_HAND = "download the file by other means and set weights to its path"


def cache_path(url: str, filename: str) -> Path:
    """Return where the file at ``url`` is cached; every URL has its own folder."""
    return cache_folder() / "weights" / hashlib.sha256(url.encode()).hexdigest()[:12] / filename


def fetch(url: str, filename: str, *, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the local path of the file at ``url``, downloading it if it is not cached.

    A partial download is resumed if the server still has the same file. Raises UserError if the
    URL cannot be read, or if the file does not match ``sha256`` (hex digits) or ``size`` (bytes).
    """
    path = cache_path(url, filename)
    if path.exists():
        return path
    with locked(path.with_name(f"{filename}.lock"), remedy=_OTHER_CACHE):
        if not path.exists():  # another process may have finished meanwhile
            part = path.with_name(f"{filename}.part")
            _receive(url, part)
            _check(part, url, sha256, size)
            with guard(path, remedy=_OTHER_CACHE):
                publish(part, path)
            part.with_suffix(".tag").unlink(missing_ok=True)
    return path


def _receive(url: str, part: Path) -> None:
    """Complete ``part``, reconnecting as long as every connection yields some bytes."""
    while True:
        before = _size(part)
        try:
            with guard(part, remedy=_OTHER_CACHE):
                missing = _receive_once(url, part)
        except urllib.error.HTTPError as err:
            raise UserError(f"{url}: server answers {err.code} {err.reason}; {_BY_HAND}") from err
        except (OSError, http.client.HTTPException) as err:
            if _size(part) <= before:
                reason = getattr(err, "reason", err)
                raise UserError(f"{url}: cannot be read ({reason}); {_resume_hint(part)}") from err
            missing = 1
        if missing <= 0:
            return
        if _size(part) <= before:
            raise UserError(f"{url}: the connection was closed early; {_resume_hint(part)}")
        say(f"{part.stem}: the connection was lost, resuming at {format_bytes(_size(part))}")


def _receive_once(url: str, part: Path) -> int:
    """Append the bytes of one connection; return how many bytes are still missing."""
    tag, have = part.with_suffix(".tag"), _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "rgb2act"})
    if have and tag.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())  # a changed file is sent from the start
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as err:
        if err.code == 416 and have:  # no bytes after these: complete, or another file
            return _out_of_range(err, part)
        raise
    with response:
        resumed = response.status == 206
        if not resumed:
            have = 0
            tag.unlink(missing_ok=True)
            if identity := _identity_of(response):
                tag.write_text(identity)
        stated = (response.headers.get("Content-Length") or "").strip()
        left = int(stated) if stated.isdecimal() and len(stated) < LONGEST_LENGTH else 0
        return left - _append(response, part, have, have + left)


def _append(response: Any, part: Path, have: int, total: int) -> int:
    """Write the body at offset ``have``; return how many bytes were received."""
    received = 0
    with (
        part.open("r+b" if have else "wb") as stream,
        progress_bar(f"download {part.stem}", total // MEGA, "MB", have // MEGA) as advance,
    ):
        stream.seek(have)
        stream.truncate()
        while block := response.read(BLOCK):
            stream.write(block)
            received += len(block)
            position = have + received
            advance(position // MEGA - (position - len(block)) // MEGA)
    return received


def _out_of_range(err: urllib.error.HTTPError, part: Path) -> int:
    """Return 0 if the partial file is complete; otherwise delete it and raise UserError."""
    total = (err.headers.get("Content-Range") or "").rpartition("/")[2]
    err.close()
    if total.isdigit() and int(total) == _size(part):
        return 0
    _discard(part)
    raise UserError(f"{part}: does not belong to the server's current file; run again")


def _identity_of(response: Any) -> str | None:
    """Return the strong ETag or the modification time, which distinguish versions of a file."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified = response.headers.get("Last-Modified")
    return str(modified) if modified else None


def _check(part: Path, url: str, sha256: str | None, size: int | None) -> None:
    """Delete the file and raise UserError if it does not match the expected digest or size."""
    problem = None
    if size is not None and _size(part) != size:
        problem = f"has {_size(part):,} bytes instead of the official {size:,}"
    elif sha256 is not None and (found := file_digest(part)) != sha256.lower():
        problem = f"has SHA-256 {found} instead of the official {sha256.lower()}"
    if problem:
        _discard(part)
        raise UserError(f"{url}: the downloaded file {problem}; run again, or {_BY_HAND}")


def _discard(part: Path) -> None:
    part.unlink()
    part.with_suffix(".tag").unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _resume_hint(part: Path) -> str:
    kept = f" ({format_bytes(_size(part))} have been received)" if _size(part) else ""
    return f"run again to resume{kept}, or {_BY_HAND}"
