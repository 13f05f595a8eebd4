"""Read groups written by ``GroupWriter``: checked on opening, memory-mapped.

Uncompressed arrays need only json and numpy. A damaged file raises a UserError that names it, and
data that does not match its metadata is never returned.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..system.input_files import check_memory, open_regular, parse_json
from .array_format import Layout, array_digest, good_name, index, parse
from .checked_frames import CheckedFrames
from .files import digest_or_none

WRITERS = {"episodes": "collect", "features": "extract", "embeddings": "extract"}
"""Folders of the store that hold groups, and the commands that write them."""
_compared: dict[tuple[str | int, ...], bytearray] = {}  # chunks compared, by identity of the file
_SMALL = 1 << 14  # bytes; reading a smaller file is cheaper than mapping it
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Group:
    """A committed group: its ``attributes``, array names in ``arrays``, and ``group[name]``.

    Arrays are read-only. Uncompressed arrays are views of the file. Compressed arrays are decoded
    on first use and stay in memory. ``group[name]`` compares all data with its checksums first;
    ``group.frames(name)`` compares each frame when it is first read.
    """

    def __init__(
        self, path: Path, attributes: dict[str, Any], digest: str, stored: dict[str, Stored]
    ) -> None:
        self.path, self.attributes, self.digest = path, attributes, digest
        self.arrays = tuple(stored)
        self._stored = stored
        self._opened: dict[str, NDArray[Any]] = {}
        self._frames: dict[str, CheckedFrames] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> NDArray[Any]:
        array, stored = self._open(name), self._stored[name]
        for t in range(len(stored.sizes)):
            stored.check(t, array)
        return array

    def frames(self, name: str) -> CheckedFrames:
        """Return the array (T, ...) of one entry per frame, checked as it is read."""
        if name not in self._frames:
            self._frames[name] = CheckedFrames(self._open(name), self._stored[name].check)
        return self._frames[name]

    def _open(self, name: str) -> NDArray[Any]:
        if name not in self._opened:
            self._opened[name] = self._stored[name].open()
        return self._opened[name]

    def get(self, name: str) -> NDArray[Any] | None:
        """Return an array, or None if the group has no array of this name."""
        if name not in self:
            return None
        return self[name]

    def layout(self, name: str) -> Layout:
        """Return shape, dtype and dimension names without opening the data."""
        return self._stored[name].layout

    def stored(self, name: str) -> Stored:
        """Return the location of the array's chunks."""
        return self._stored[name]


def read_group(path: Path) -> Group:
    """Open a group; raise UserError if a file is missing, truncated or damaged.

    Checks metadata, file sizes and chunk indices. ``check_group`` also checks the data.
    """
    path = Path(path)
    attributes = _node(path, path, "group").get("attributes")
    if not isinstance(attributes, dict):
        raise _damage(path, path / "zarr.json", "has no attributes")
    digest = attributes.pop("digest", None)
    digests = attributes.get("digests")
    if not isinstance(digests, dict) or not digest or digest != digest_or_none(attributes):
        raise _damage(path, path / "zarr.json", "does not match its digest")
    episode = attributes.get("episode", attributes.get("name"))
    named = episode if isinstance(episode, str) else ""
    return Group(path, attributes, digest, {name: _stored(path, name, named) for name in digests})


def check_group(path: Path) -> None:
    """Read all data of a group; raise UserError naming an array and frame that has changed."""
    group = read_group(path)
    for name in group.arrays:
        stored, data = group.stored(name), hashlib.blake2b(digest_size=32)
        for t, chunk in enumerate(stored.chunks()):
            stored.compare(t, chunk)
            data.update(chunk.data)
        layout = stored.layout
        found = array_digest(layout.shape, layout.dtype, layout.dims, data.hexdigest())
        if found != group.attributes["digests"][name]:
            raise stored.damage(f"array {name!r} does not match its digest")


@attrs.define(eq=False, kw_only=True, slots=False)
class Stored:
    """Location of the bytes of one array."""

    root: Path
    name: str
    file: Path
    layout: Layout
    sizes: list[int]  # bytes of each chunk as stored
    crcs: list[int]  # crc32c of each chunk as decoded
    episode: str  # that the group belongs to, for messages; may be empty

    def open(self) -> NDArray[Any]:
        """Return the array, read-only."""
        layout = self.layout
        if not self.sizes:
            flat = np.empty(0, np.uint8)
        elif layout.codec == "none":
            flat = self._raw(sum(self.sizes))
        else:
            check_memory(self.file, 2 * layout.nbytes * layout.chunks)
            flat = np.concatenate(list(self.chunks()))
        flat.flags.writeable = False
        try:
            return flat.view(np.dtype(layout.dtype).newbyteorder("<")).reshape(layout.shape)
        except ValueError as err:  # a shape like (2**47, 2**47, 0)
            raise self.damage(f"impossible shape {layout.shape}") from err

    def check(self, t: int, array: NDArray[Any]) -> None:
        """Compare one chunk of the opened array, unless this process has done so already.

        Compressed chunks were compared when they were decoded.
        """
        if self.layout.codec != "none" or self.done[t]:
            return
        chunk = array[t : t + 1] if self.layout.framed else array
        self.compare(t, chunk.reshape(-1).view(np.uint8))
        self.done[t] = 1

    def compare(self, t: int, chunk: NDArray[np.uint8]) -> None:
        """Raise UserError if the decoded bytes of a chunk do not match their checksum."""
        if google_crc32c.value(chunk) != self.crcs[t]:
            frame = f" frame {t}" if self.layout.framed else ""
            raise self.damage(f"array {self.name!r}{frame} was altered")

    @cached_property
    def done(self) -> bytearray:
        """One byte per chunk: whether this process has compared it, while the file is the same."""
        try:
            s = self.file.stat()
        except OSError as err:
            raise self.damage(f"cannot be read ({str(err.strerror).lower()})") from err
        identity = (str(self.file), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        return _compared.setdefault(identity, bytearray(len(self.sizes)))

    def damage(self, what: str) -> UserError:
        """Return the error for a fault in this array."""
        return _damage(self.root, self.file, what, self.episode)

    def chunks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the decoded bytes of each chunk in order."""
        if not self.sizes:
            return
        raw, start = self._raw(sum(self.sizes)), 0
        for t, size in enumerate(self.sizes):
            chunk = raw[start : start + size]
            yield chunk if self.layout.codec == "none" else self._decode(chunk, t)
            start += size

    def _decode(self, chunk: NDArray[np.uint8], t: int) -> NDArray[np.uint8]:
        from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

        check_memory(self.file, self.layout.nbytes)
        try:
            out = np.empty(self.layout.nbytes, np.uint8)
            Zstd().decode(chunk, out=out)
        except (RuntimeError, ValueError, MemoryError) as err:
            raise self.damage(f"array {self.name!r} frame {t} cannot be decoded") from err
        self.compare(t, out)
        return out

    def _raw(self, nbytes: int) -> NDArray[np.uint8]:
        with _open_regular(self.root, self.file) as file:
            if os.fstat(file.fileno()).st_size < nbytes:  # reading past it would be a SIGBUS
                raise self.damage("was truncated while in use")
            if nbytes > _SMALL and (mapped := _map(file.fileno(), nbytes)) is not None:
                return mapped
            return np.fromfile(file, np.uint8, nbytes)


def _stored(root: Path, name: str, episode: str) -> Stored:
    if not good_name(name):
        raise _damage(root, root / "zarr.json", f"lists an array with the invalid name {name!r}")
    meta = _node(root, root / name, "array")
    layout, attributes = parse(meta), meta.get("attributes")
    crcs = attributes.get("crc32c") if isinstance(attributes, dict) else None
    if layout is None or not isinstance(crcs, list) or len(crcs) != layout.chunks:
        raise _damage(root, root / name / "zarr.json", "does not describe an array of this store")
    file = root / name / layout.file
    sizes = _sizes(root, file, layout) if layout.chunks else []
    return Stored(
        root=root, name=name, file=file, layout=layout, sizes=sizes, crcs=crcs, episode=episode
    )


def _sizes(root: Path, file: Path, layout: Layout) -> list[int]:
    tail = 16 * layout.chunks + 4 if layout.framed else 0
    try:
        with _open_regular(root, file) as opened:
            size = os.fstat(opened.fileno()).st_size - tail
            raw = os.pread(opened.fileno(), tail, size) if tail and size >= 0 else b""
    except OSError as err:
        raise _damage(root, file, f"cannot be read ({str(err.strerror).lower()})") from err
    if size < 0 or (layout.codec == "none" and size != layout.chunks * layout.nbytes):
        raise _damage(
            root, file, f"has {size + tail} bytes, which do not match its shape {layout.shape}"
        )
    if not tail:
        return [size]
    sizes: list[int] = np.frombuffer(raw[:-4], "<u8").reshape(-1, 2)[:, 1].tolist()
    if sum(sizes) != size or raw != index(sizes):
        raise _damage(root, file, "has a damaged chunk index")
    if layout.codec == "none" and any(n != layout.nbytes for n in sizes):
        raise _damage(root, file, "has a damaged chunk index")
    return sizes


def _node(root: Path, folder: Path, kind: str) -> dict[str, Any]:
    file = folder / "zarr.json"
    try:
        with _open_regular(root, file) as opened:
            node = parse_json(opened.read())
    except FileNotFoundError as err:
        if not root.exists():
            raise UserError(f"{root}: does not exist; run the stage that writes it first") from None
        raise _damage(root, file, "is missing") from err
    except OSError as err:
        raise _damage(root, file, f"cannot be read ({str(err.strerror).lower()})") from err
    except ValueError as err:
        raise _damage(root, file, "is not JSON") from err
    if not isinstance(node, dict) or node.get("zarr_format") != 3 or node.get("node_type") != kind:
        raise _damage(root, file, f"is not a zarr v3 {kind}")
    return node


def _open_regular(root: Path, file: Path) -> BinaryIO:
    try:
        return open_regular(file)
    except UserError as err:
        raise _damage(root, file, "is not a regular file") from err


def _damage(root: Path, file: Path, what: str, episode: str = "") -> UserError:
    """Return an error that names the file, its episode, and the command that makes it again."""
    of = f" (episode {episode!r})" if episode else ""
    command = WRITERS.get(root.parent.parent.name)
    again = f": 'rgb2act {command} SPEC' makes it again" if command else ""
    return UserError(f"{file}: {what}{of}; delete {root} and run again{again}")


def _map(fd: int, nbytes: int) -> NDArray[np.uint8] | None:
    # Python's mmap keeps a file descriptor per map: a few hundred episodes would exhaust them.
    address = _libc.mmap(None, nbytes, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED: 1 on every system
    if address == ctypes.c_void_p(-1).value:
        return None  # too many maps, or a file system without mmap
    buffer = (ctypes.c_char * nbytes).from_address(address)
    weakref.finalize(buffer, _libc.munmap, address, nbytes).atexit = False
    return np.frombuffer(memoryview(buffer).toreadonly(), np.uint8)
