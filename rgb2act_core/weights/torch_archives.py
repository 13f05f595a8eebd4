"""Check a file of ``torch.save`` before torch reads it, without running code from it.

Torch trusts what these files declare: it maps compressed members as if they were plain, reads past
storages that are too short, and allocates what a pickle asks for. Here the pickle is read with
stubs in place of every class, only to learn the size of each storage.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from ..system.input_files import check_memory, open_regular
from .pickle_scan import PICKLE_LIMIT, check_pickle

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = 0x1950A86A20F9469CFC6C  # the first object of a file from before torch 1.6
_LEGACY_PICKLES = 5  # that number, the protocol, the machine, the content, the storages' names
_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "Untyped", "QInt8", "QUInt8"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}


def can_be_mapped(path: Path) -> bool:
    """Return whether torch may map the file; False if it must read it.

    Raises ValueError if a storage is shorter than declared, and UserError if reading the file
    needs too much memory.
    """
    with open_regular(path) as stream:
        starts_zip = stream.read(len(_ZIP_START)) == _ZIP_START
        if zipfile.is_zipfile(stream) != starts_zip:
            part = "end" if starts_zip else "start"
            raise ValueError(f"a zip archive whose {part} is missing or damaged")
        if not starts_zip:
            stream.seek(0)
            _check_legacy(path, stream)
            return False
        with zipfile.ZipFile(stream) as archive:
            return _check_zip(path, archive)


def _check_zip(path: Path, archive: zipfile.ZipFile) -> bool:
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip archive that torch.save did not write")
    plain = all(info.compress_type == zipfile.ZIP_STORED for info in members.values())
    total = sum(info.file_size for info in members.values())
    if plain and total > path.stat().st_size:
        raise ValueError(f"its parts declare {total:,} bytes")
    if not plain:
        check_memory(path, total, "unpacking it")
    if members[pickles[0]].file_size > PICKLE_LIMIT:
        raise ValueError(f"its pickle has {members[pickles[0]].file_size:,} bytes")
    folder = pickles[0].removesuffix("data.pkl")
    reader, _ = _read(io.BytesIO(archive.read(members[pickles[0]])))
    for key, needed in reader.sizes.items():
        found = members.get(f"{folder}data/{key}")
        if found is None or found.file_size < needed:
            have = "is missing" if found is None else f"has {found.file_size:,}"
            raise ValueError(f"storage {key!r:.40} {have} of {needed:,} bytes")
    return plain


def _check_legacy(path: Path, stream: BinaryIO) -> None:
    """Check a file from before torch 1.6: some pickles, followed by the storages."""
    total, size = 0, path.stat().st_size
    for number in range(_LEGACY_PICKLES):
        reader, found = _read(stream)
        if number == 0 and found != _LEGACY_START:
            inside = f", with {reader.classes[0]:.80}" if reader.classes else ""
            raise ValueError(f"a pickle that torch.save did not write{inside}")
        total += sum(reader.sizes.values())
    if total > size:
        raise ValueError(f"its tensors declare {total:,} bytes")


def _read(stream: IO[bytes]) -> tuple[_Storages, Any]:
    """Read one pickle from a stream; return its reader and its object, which may be a stub."""
    start = stream.tell()
    check_pickle(stream)
    stream.seek(start)
    reader = _Storages(stream)
    return reader, reader.load()


class _Stub:
    """Placeholder for objects of all classes; it accepts every argument and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Stub:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> _Stub:
        return self

    def append(self, item: Any) -> None:
        """Ignore an item of a list."""

    def extend(self, items: Any) -> None:
        """Ignore items of a list."""

    def add(self, item: Any) -> None:
        """Ignore an item of a set."""


def _check_bytearray(*args: Any) -> _Stub:
    """Check a call of a class that torch accepts: a number is a length, which is allocated."""
    if any(isinstance(arg, int) for arg in args):
        raise ValueError("an array of bytes without values")
    return _Stub()


def _check_encode(text: Any = "", encoding: Any = "latin1", *_: Any) -> _Stub:
    """Check a call that makes bytes of a text: other encodings make them longer each time."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r:.40}")
    return _Stub()


def _check_dtype(kind: Any = "", *_: Any) -> _Stub:
    """Check the type of a number of NumPy: its size is allocated."""
    if not (isinstance(kind, str) and re.fullmatch(r"[<>=|]?[?biufcmMOSUV]\d{0,3}", kind)):
        raise ValueError(f"numbers of the type {kind!r:.40}")
    return _Stub()


_CHECKED: dict[tuple[str, str], Callable[..., _Stub]] = {
    ("builtins", "bytearray"): _check_bytearray,
    ("__builtin__", "bytearray"): _check_bytearray,
    ("_codecs", "encode"): _check_encode,
    ("numpy", "dtype"): _check_dtype,
}


class _Storages(pickle.Unpickler):
    """Collects the declared bytes of each storage; no class of the file is ever imported."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")
        self.sizes: dict[str, int] = {}
        self.classes: list[str] = []  # and functions, by their full names

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("torch") and name.endswith("Storage"):
            return name.removesuffix("Storage")
        self.classes.append(f"{module}.{name}")
        return _CHECKED.get((module, name), _Stub)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return _Stub()
        kind, key, count = pid[1], str(pid[2]), pid[4]
        if kind not in _BYTES or type(count) is not int or count < 0:
            raise ValueError(f"storage {key!r:.40} of an unknown type")
        self.sizes[key] = max(self.sizes.get(key, 0), count * _BYTES[kind])
        return _Stub()
