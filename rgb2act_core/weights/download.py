"""Fetch a file from a plain address: resumed where it stopped, and whole or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..store.file_digests import cache_folder, file_digest
from ..store.files import guard, locked
from ..system.progress import say, task

BLOCK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without a byte
MEGA = 10**6


def place(url: str, filename: str) -> Path:
    """Return where the file of an address lies once it is here; another address, another place."""
    return cache_folder() / "weights" / hashlib.sha256(url.encode()).hexdigest()[:12] / filename


def fetch(url: str, filename: str, *, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the local path of the file at ``url``, downloading what is still missing of it.

    A part that an earlier try left is continued when the server still has the same file. Raises
    UserError when the address can't be read, or its bytes are not those of ``sha256`` or ``size``.
    """
    path = place(url, filename)
    if path.exists():
        return path
    with locked(path.with_name(f"{filename}.lock")):
        if not path.exists():  # another process may have been here meanwhile
            part = path.with_name(f"{filename}.part")
            _receive(url, part)
            _check(part, url, sha256, size)
            part.replace(path)
            part.with_suffix(".tag").unlink(missing_ok=True)
    return path


def _receive(url: str, part: Path) -> None:
    """Fill ``part``; a connection that breaks after some bytes is taken up again."""
    while True:
        before = _size(part)
        try:
            with guard(part):
                missing = _receive_once(url, part)
        except urllib.error.HTTPError as err:
            raise UserError(f"{url}: answers {err.code} {err.reason}; {_by_hand()}") from err
        except (OSError, http.client.HTTPException) as err:
            if _size(part) <= before:
                reason = getattr(err, "reason", err)
                raise UserError(f"{url}: cannot be read ({reason}); {_later(part)}") from err
            missing = 1
        if missing <= 0:
            return
        if _size(part) <= before:
            raise UserError(f"{url}: the connection ends early; {_later(part)}")
        say(f"{part.stem}: the connection broke, goes on at {_size(part) / MEGA:,.0f} MB")


def _receive_once(url: str, part: Path) -> int:
    """Append what one connection yields; return how many bytes are still missing."""
    tag, have = part.with_suffix(".tag"), _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "rgb2act"})
    if have and tag.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())  # another file now: sent whole
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as err:
        if err.code == 416 and have:  # no bytes from there on: whole already, or not the same file
            return _after_the_end(err, part)
        raise
    with response:
        resumed = response.status == 206
        if not resumed:
            have = 0
            tag.unlink(missing_ok=True)
            if known := _tag_of(response):
                tag.write_text(known)
        left = int(response.headers.get("Content-Length") or 0)
        return left - _append(response, part, have, have + left)


def _append(response: Any, part: Path, have: int, total: int) -> int:
    """Write the body at ``have``; return how many bytes came."""
    received = 0
    with (
        part.open("r+b" if have else "wb") as stream,
        task(f"download {part.stem}", total // MEGA, "MB", have // MEGA) as advance,
    ):
        stream.seek(have)
        stream.truncate()
        while block := response.read(BLOCK):
            stream.write(block)
            received += len(block)
            at = have + received
            advance(at // MEGA - (at - len(block)) // MEGA)
    return received


def _after_the_end(err: urllib.error.HTTPError, part: Path) -> int:
    total = (err.headers.get("Content-Range") or "").rpartition("/")[2]
    err.close()
    if total.isdigit() and int(total) == _size(part):
        return 0
    part.unlink()
    part.with_suffix(".tag").unlink(missing_ok=True)
    raise UserError(f"{part}: is not a part of what the server has now, and deleted; run again")


def _tag_of(response: Any) -> str | None:
    """Return what tells this file from a later one at the same address; weak tags can't."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified = response.headers.get("Last-Modified")
    return str(modified) if modified else None


def _check(part: Path, url: str, sha256: str | None, size: int | None) -> None:
    """Raise UserError, and delete the file, when it is not the one that is known."""
    wrong = None
    if size is not None and _size(part) != size:
        wrong = f"has {_size(part):,} bytes, not the official {size:,}"
    elif sha256 is not None and (found := file_digest(part)) != sha256.lower():
        wrong = f"has SHA-256 {found}, not the official {sha256.lower()}"
    if wrong:
        part.unlink()
        part.with_suffix(".tag").unlink(missing_ok=True)
        raise UserError(f"{url}: what came {wrong}; it was deleted, try again or {_by_hand()}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _later(part: Path) -> str:
    kept = f" (the {_size(part) / MEGA:,.0f} MB so far are kept)" if _size(part) else ""
    return f"run again to continue{kept}, or {_by_hand()}"


def _by_hand() -> str:
    return "download the file by another way and set weights to its path"
