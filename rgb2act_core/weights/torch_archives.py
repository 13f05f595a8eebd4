"""Check a file of ``torch.save`` before torch reads it, without running code from it.

Torch trusts what these files declare: it maps compressed members as if they were plain, reads past
storages that are too short, and allocates what a pickle asks for. Here the pickle is read with
stubs in place of every class, only to learn the size of each storage.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from ..system.input_files import check_memory, open_regular

PICKLE_LIMIT = 256 << 20  # bytes; a pickle without its tensors has a few MB
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
        if not zipfile.is_zipfile(stream):
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
    with archive.open(members[pickles[0]]) as stream:
        reader = _Storages(stream)
        reader.load()
    for key, needed in reader.sizes.items():
        found = members.get(f"{folder}data/{key}")
        if found is None or found.file_size < needed:
            have = "is missing" if found is None else f"has {found.file_size:,}"
            raise ValueError(f"storage {key!r:.40} {have} of {needed:,} bytes")
    return plain


def _check_legacy(path: Path, stream: BinaryIO) -> None:
    """Check a file from before torch 1.6: four pickles, followed by the storages."""
    total, size = 0, path.stat().st_size
    for _ in range(4):
        reader = _Storages(stream)
        reader.load()
        total += sum(reader.sizes.values())
    if total > size:
        raise ValueError(f"its tensors declare {total:,} bytes")


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


class _Storages(pickle.Unpickler):
    """Collects the declared bytes of each storage; no class of the file is ever imported."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("torch") and name.endswith("Storage"):
            return name.removesuffix("Storage")
        return _Stub

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return _Stub()
        kind, key, count = pid[1], str(pid[2]), pid[4]
        if kind not in _BYTES or type(count) is not int or count < 0:
            raise ValueError(f"storage {key!r:.40} of an unknown type")
        self.sizes[key] = max(self.sizes.get(key, 0), count * _BYTES[kind])
        return _Stub()
