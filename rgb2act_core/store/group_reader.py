"""Read groups written by ``GroupWriter``: checked on opening, memory-mapped.

Uncompressed arrays need only json and numpy. A damaged file raises a UserError that names it, and
data that does not match its metadata is never returned.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .array_format import Layout, array_digest, good_name, index, json_digest, parse

_SMALL = 1 << 14  # bytes; reading a smaller file is cheaper than mapping it
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Group:
    """A committed group: its ``attributes``, array names in ``arrays``, and ``group[name]``.

    Arrays are read-only. Uncompressed arrays are views of the file. Compressed arrays are decoded
    on first use and stay in memory.
    """

    def __init__(
        self, path: Path, attributes: dict[str, Any], digest: str, stored: dict[str, Stored]
    ) -> None:
        self.path, self.attributes, self.digest = path, attributes, digest
        self.arrays = tuple(stored)
        self._stored = stored
        self._opened: dict[str, NDArray[Any]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> NDArray[Any]:
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
    if not isinstance(digests, dict) or not digest or digest != _digest(attributes):
        raise _damage(path, path / "zarr.json", "does not match its digest")
    return Group(path, attributes, digest, {name: _stored(path, name) for name in digests})


def check_group(path: Path) -> None:
    """Read all data of a group; raise UserError naming an array and frame that has changed."""
    group = read_group(path)
    for name in group.arrays:
        stored, data = group.stored(name), hashlib.blake2b(digest_size=32)
        for t, chunk in enumerate(stored.chunks()):
            if google_crc32c.value(chunk) != stored.crcs[t]:
                frame = f" frame {t}" if stored.layout.framed else ""
                raise _damage(group.path, stored.file, f"array {name!r}{frame} was altered")
            data.update(chunk.data)
        layout = stored.layout
        found = array_digest(layout.shape, layout.dtype, layout.dims, data.hexdigest())
        if found != group.attributes["digests"][name]:
            raise _damage(group.path, stored.file, f"array {name!r} does not match its digest")


@attrs.frozen(eq=False, kw_only=True)
class Stored:
    """Location of the bytes of one array."""

    root: Path
    file: Path
    layout: Layout
    sizes: list[int]  # bytes of each chunk as stored
    crcs: list[int]  # crc32c of each chunk as decoded

    def open(self) -> NDArray[Any]:
        """Return the array, read-only."""
        layout = self.layout
        if not self.sizes:
            flat = np.empty(0, np.uint8)
        elif layout.codec == "none":
            flat = self._raw(sum(self.sizes))
        else:
            flat = np.concatenate(list(self.chunks()))
        flat.flags.writeable = False
        try:
            return flat.view(np.dtype(layout.dtype).newbyteorder("<")).reshape(layout.shape)
        except ValueError as err:  # a shape like (2**47, 2**47, 0)
            raise _damage(self.root, self.file, f"impossible shape {layout.shape}") from err

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

        try:
            out = np.empty(self.layout.nbytes, np.uint8)
            Zstd().decode(chunk, out=out)
        except (RuntimeError, ValueError, MemoryError) as err:
            raise _damage(self.root, self.file, f"chunk {t} cannot be decoded") from err
        if google_crc32c.value(out) != self.crcs[t]:
            raise _damage(self.root, self.file, f"chunk {t} was altered")
        return out

    def _raw(self, nbytes: int) -> NDArray[np.uint8]:
        with self.file.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < nbytes:  # reading past it would be a SIGBUS
                raise _damage(self.root, self.file, "was truncated while in use")
            if nbytes > _SMALL and (mapped := _map(file.fileno(), nbytes)) is not None:
                return mapped
            return np.fromfile(file, np.uint8, nbytes)


def _digest(attributes: dict[str, Any]) -> str | None:
    try:
        return json_digest(attributes)
    except (ValueError, RecursionError):  # NaN or infinity, which the writer rejects
        return None


def _stored(root: Path, name: str) -> Stored:
    if not good_name(name):
        raise _damage(root, root / "zarr.json", f"lists an array with the invalid name {name!r}")
    meta = _node(root, root / name, "array")
    layout, attributes = parse(meta), meta.get("attributes")
    crcs = attributes.get("crc32c") if isinstance(attributes, dict) else None
    if layout is None or not isinstance(crcs, list) or len(crcs) != layout.chunks:
        raise _damage(root, root / name / "zarr.json", "does not describe an array of this store")
    file = root / name / layout.file
    sizes = _sizes(root, file, layout) if layout.chunks else []
    return Stored(root=root, file=file, layout=layout, sizes=sizes, crcs=crcs)


def _sizes(root: Path, file: Path, layout: Layout) -> list[int]:
    tail = 16 * layout.chunks + 4 if layout.framed else 0
    try:
        with file.open("rb", buffering=0) as opened:
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
        node = json.loads(file.read_bytes())
    except FileNotFoundError as err:
        if not root.exists():
            raise UserError(f"{root}: does not exist; run the stage that writes it first") from None
        raise _damage(root, file, "is missing") from err
    except OSError as err:
        raise _damage(root, file, f"cannot be read ({str(err.strerror).lower()})") from err
    except (ValueError, RecursionError) as err:
        raise _damage(root, file, "is not JSON") from err
    if not isinstance(node, dict) or node.get("zarr_format") != 3 or node.get("node_type") != kind:
        raise _damage(root, file, f"is not a zarr v3 {kind}")
    return node


def _damage(root: Path, file: Path, what: str) -> UserError:
    return UserError(f"{file}: {what}; delete {root} and run again")


def _map(fd: int, nbytes: int) -> NDArray[np.uint8] | None:
    # Python's mmap keeps a file descriptor per map: a few hundred episodes would exhaust them.
    address = _libc.mmap(None, nbytes, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED: 1 on every system
    if address == ctypes.c_void_p(-1).value:
        return None  # too many maps, or a file system without mmap
    buffer = (ctypes.c_char * nbytes).from_address(address)
    weakref.finalize(buffer, _libc.munmap, address, nbytes).atexit = False
    return np.frombuffer(memoryview(buffer).toreadonly(), np.uint8)
