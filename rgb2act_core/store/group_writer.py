"""Write zarr v3 groups atomically: readers see the complete group or none.

Frames are appended to the file of their array, and the chunk index is written last. The file is
a zarr v3 shard and also a flat file. POSIX only. See docs/store.md for the layout.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..system.hosts import host_name, is_running
from .array_format import CODECS, DTYPES, LEVEL, Layout, array_digest, good_name, index
from .claims import SUFFIX, Claims
from .disk_errors import guard
from .files import json_digest, sync_folder
from .group_reader import read_group

_PARTIAL = re.compile(r"\.(?P<name>.+)\.partial-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}")
ABANDONED = 3600.0  # seconds without a write, after which a process of another host has ended


def sweep(parent: Path) -> int:
    """Remove leftovers of killed writers from ``parent``; return the number of partial groups.

    An entry that a process works on, in this container or another one, is left alone, as its claim
    cannot be taken.
    """
    left: dict[str, list[Path]] = {}
    for path in Path(parent).glob("*"):
        if (match := _PARTIAL.fullmatch(path.name)) and _is_left(path, match):
            left.setdefault(match["name"], []).append(path)
        elif path.suffix == SUFFIX:
            left.setdefault(path.stem, [])
    removed = 0
    with Claims(parent) as claims:
        for name, partials in left.items():
            if not claims.take(name):
                continue
            for path in partials:
                shutil.rmtree(path, ignore_errors=True)
                removed += not path.exists()
            claims.release(name)
    return removed


def _is_left(path: Path, match: re.Match[str]) -> bool:
    """Return whether the process that wrote a partial group seems to have ended."""
    if match["host"] == host_name():
        return not is_running(int(match["pid"]))
    with contextlib.suppress(OSError):
        times = [each.stat().st_mtime for each in (path, *path.rglob("*"))]
        return time.time() - max(times) > ABANDONED
    return False


def first_unfinite(frames: NDArray[Any]) -> int | None:
    """Return the index of the first frame with NaN or infinity, or None."""
    if frames.dtype.kind != "f" or not frames.size:
        return None
    if frames.dtype != np.float16:
        finite_T = np.isfinite(frames.reshape(len(frames), -1)).all(1)
        return None if finite_T.all() else int(finite_T.argmin())
    for t, frame in enumerate(frames):
        # tests the exponent bits: 13 times faster than isfinite
        if int((np.asarray(frame).view(np.uint16) & 0x7C00).max()) >= 0x7C00:
            return t
    return None


@attrs.define(eq=False)
class _Part:
    """One array that is being written."""

    layout: Layout  # with frames, shape[0] grows
    fd: int
    digest: Any = attrs.field(factory=lambda: hashlib.blake2b(digest_size=32))
    sizes: list[int] = attrs.field(factory=list)
    crcs: list[int] = attrs.field(factory=list)

    def write(self, chunk: NDArray[np.uint8]) -> None:
        self.digest.update(chunk)
        self.crcs.append(google_crc32c.value(chunk))
        data: Any = chunk
        if self.layout.codec == "zstd":
            from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

            data = Zstd(level=LEVEL).encode(chunk)
        self.sizes.append(len(data))
        _write(self.fd, data)

    def close(self) -> str:
        layout, self.fd, fd = self.layout, -1, self.fd
        try:
            if layout.framed and self.sizes:
                _write(fd, index(self.sizes))
                os.fsync(fd)  # a network file system may report a full disk only now
        finally:
            os.close(fd)
        return array_digest(layout.shape, layout.dtype, layout.dims, self.digest.hexdigest())


class GroupWriter:
    """Writer of one zarr v3 group: invisible before ``commit``, discarded by an exception."""

    def __init__(self, path: Path, *, codec: str = "none") -> None:
        if codec not in CODECS:
            raise ValueError(f"codec {codec!r} is not one of {CODECS}")
        self.path, self.codec = Path(path), codec
        self._parts: dict[str, _Part] = {}
        partial = f".{self.path.name}.partial-{host_name()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._partial = self.path.with_name(partial)
        self._done = False
        with self._guard():
            self._partial.mkdir(parents=True)

    def create(
        self, name: str, frame_shape: tuple[int, ...], dtype: str, *, dims: tuple[str, ...] = ()
    ) -> None:
        """Begin an array of frames. ``dims`` names all dimensions, including the first (frames)."""
        self._begin(name, (0, *frame_shape), dtype, dims, framed=True)

    def append(self, name: str, frames: NDArray[Any]) -> None:
        """Append frames (n, *frame_shape) of the array's dtype.

        Raises UserError if a value is NaN or infinite.
        """
        part = self._parts[name]
        layout = part.layout
        if frames.dtype != layout.dtype or frames.shape[1:] != layout.frame_shape:
            raise ValueError(
                f"array {name!r} expects {layout.dtype} frames {layout.frame_shape},"
                f" got {frames.dtype} {frames.shape[1:]}"
            )
        self._write(name, frames, layout.shape[0])
        shape = (layout.shape[0] + len(frames), *layout.frame_shape)
        part.layout = attrs.evolve(layout, shape=shape)

    def put(self, name: str, array: NDArray[Any], *, dims: tuple[str, ...] = ()) -> None:
        """Write a complete array as one chunk."""
        self._begin(name, array.shape, array.dtype.name, dims, framed=False)
        self._write(name, array[None], None)

    def commit(self, attributes: Mapping[str, Any]) -> str:
        """Make the group visible and return its digest.

        If the group exists already, it is kept and this one is discarded; the digest returned is
        that of the existing group.
        """
        if clash := {"digest", "digests"} & set(attributes):
            raise ValueError(f"attributes {sorted(clash)} are reserved")
        with self._guard():
            digests = {name: part.close() for name, part in self._parts.items()}
            described = json.loads(json.dumps({**attributes, "digests": digests}))
            digest = json_digest(described)
            self._write_metadata({**described, "digest": digest})
            if not self._publish():
                self.abort()
                return read_group(self.path).digest
            self._done = True
            sync_folder(self.path.parent)
        return digest

    def abort(self) -> None:
        """Discard the group; does nothing after ``commit``."""
        for part in self._parts.values():
            if part.fd >= 0:
                os.close(part.fd)
                part.fd = -1
        if not self._done:
            self._done = True
            shutil.rmtree(self._partial, ignore_errors=True)

    def __enter__(self) -> GroupWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _begin(
        self, name: str, shape: tuple[int, ...], dtype: str, dims: tuple[str, ...], *, framed: bool
    ) -> None:
        if not good_name(name):
            raise UserError(
                f"{self.path}: array name {name!r} is invalid; use letters, digits and _ . -"
            )
        for other in self._parts:
            if f"{name}/".startswith(f"{other}/") or f"{other}/".startswith(f"{name}/"):
                raise UserError(f"{self.path}: array {name!r} clashes with {other!r}; rename one")
        if dtype not in DTYPES or (dims and len(dims) != len(shape)):
            raise ValueError(f"array {name!r}: dtype {dtype!r} or dims {dims} do not fit {shape}")
        layout = Layout(shape=shape, dtype=dtype, dims=dims, framed=framed, codec=self.codec)
        file = self._partial / name / layout.file
        with self._guard():
            file.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._parts[name] = _Part(layout, os.open(file, flags, 0o666))

    def _write(self, name: str, frames: NDArray[Any], first: int | None) -> None:
        little = frames.dtype.newbyteorder("<")
        frames = np.ascontiguousarray(frames, little)
        if (bad := first_unfinite(frames)) is not None:
            frame = "" if first is None else f" frame {first + bad}"
            raise UserError(
                f"{self.path}: array {name!r}{frame} contains NaN or infinity; fix the code that"
                " computes it"
            )
        if not frames.size:
            return
        with self._guard(frames.nbytes):
            for chunk_B in frames.reshape(len(frames), -1).view(np.uint8):
                self._parts[name].write(chunk_B)

    def _write_metadata(self, attributes: dict[str, Any]) -> None:
        group = {"zarr_format": 3, "node_type": "group"}
        nodes = {str(p): group for n in self._parts for p in Path(n).parents}
        nodes["."] = {**group, "attributes": attributes}
        for name, part in self._parts.items():
            nodes[name] = {**part.layout.metadata(), "attributes": {"crc32c": part.crcs}}
            if not part.sizes:
                (self._partial / name / part.layout.file).unlink()
        for name, node in nodes.items():
            _write_file(self._partial / name / "zarr.json", json.dumps(node, indent=1).encode())
        _sync_all(self._partial)

    def _publish(self) -> bool:
        try:
            self._partial.rename(self.path)  # atomic
        except OSError as err:
            if err.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return False
        return True

    @contextlib.contextmanager
    def _guard(self, needed: int = 0) -> Iterator[None]:
        with guard(self.path, needed=needed):
            try:
                yield
            except OSError:
                self.abort()
                raise


def _write(fd: int, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _write_file(file: Path, data: bytes) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _write(fd, data)
    finally:
        os.close(fd)


def _sync(path: Path, call: Callable[[int], Any] = os.fsync) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if call(fd):
            raise OSError(ctypes.get_errno(), "sync failed")
    finally:
        os.close(fd)


def _sync_all(folder: Path) -> None:
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs:  # one call for about 30 small files: 9 times faster than one call per file
        _sync(folder, syncfs)
        return
    for path in (folder, *folder.rglob("*")):
        _sync(path)
