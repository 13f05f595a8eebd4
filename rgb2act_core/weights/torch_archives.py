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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from ..system.input_files import check_memory, open_regular
from .pickle_scan import PICKLE_LIMIT, check_pickle

OTHER_LIMIT = 1 << 20  # bytes of a member that is neither the pickle nor a storage
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
    names = Counter(info.filename.casefold() for info in archive.infolist())
    if (double := names.most_common(1)) and double[0][1] > 1:  # libraries choose differently
        raise ValueError(f"two parts are named {double[0][0]!r:.80}")
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if members and all(name.endswith(".npy") for name in members):
        raise ValueError("an archive of NumPy, which is not read")
    if len(pickles) != 1:
        raise ValueError("a zip archive that torch.save did not write")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise ValueError("a TorchScript program, not the state_dict of a model")
    plain = all(info.compress_type == zipfile.ZIP_STORED for info in members.values())
    total = sum(info.file_size for info in members.values())
    if plain and total > path.stat().st_size:
        raise ValueError(f"its parts declare {total:,} bytes")
    if not plain:
        check_memory(path, total, "unpacking it")
    for name, info in members.items():
        limit = PICKLE_LIMIT if name == pickles[0] else OTHER_LIMIT
        if info.file_size > limit and not name.startswith(f"{folder}data/"):
            raise ValueError(f"its part {name!r:.80} has {info.file_size:,} bytes")
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
        if number == 0 and (type(found) is not int or found != _LEGACY_START):
            if reader.first_class:
                raise pickle.UnpicklingError(f"GLOBAL {reader.first_class}")
            raise ValueError("a pickle that torch.save did not write")
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


def _not_called(name: str) -> type[_Stub]:
    """Return a placeholder for a class or function of torch that no weights call.

    Some of them allocate what their arguments ask for, such as ``torch.FloatTensor``.
    """

    def refuse(*_: Any, **__: Any) -> _Stub:
        raise pickle.UnpicklingError(f"GLOBAL {name}")

    return type("NotCalled", (_Stub,), {"__new__": refuse})


def _check_bytearray(*args: Any) -> _Stub:
    """Check a call of ``bytearray``: a number, or what has one, is a length that is allocated."""
    if args and not isinstance(args[0], str | bytes):
        raise ValueError(f"an array of bytes made of {type(args[0]).__name__}")
    return _Stub()


def _check_encode(text: Any = "", encoding: Any = "latin1", *_: Any) -> bytes:
    """Check a call that makes bytes of a text: other encodings make them longer each time."""
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes that are not encoded as latin1")
    return text.encode("latin1")


def _check_collection(items: Any = (), *_: Any) -> _Stub:
    """Check a call of a class that copies its argument, such as ``set``: tensors can be large."""
    if not isinstance(items, list | tuple | dict) or any(isinstance(i, _Stub) for i in items):
        raise ValueError(f"a collection made of {type(items).__name__}")
    return _Stub()


def _check_dtype(kind: Any = "", *_: Any) -> _Stub:
    """Check the type of a number of NumPy: its size is allocated."""
    if type(kind) is not str or not re.fullmatch(r"[<>=|]?[?biufcmMOSUV]\d{0,3}", kind):
        raise ValueError("numbers of an unknown type of NumPy")
    return _Stub()


_BUILTINS = ("builtins", "__builtin__")
_CHECKED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, "bytearray"): _check_bytearray for module in _BUILTINS},
    **{(module, name): _check_collection for module in _BUILTINS for name in ("set", "frozenset")},
    ("collections", "OrderedDict"): _check_collection,
    ("collections", "Counter"): _check_collection,
    ("_codecs", "encode"): _check_encode,
    ("numpy", "dtype"): _check_dtype,
}
_CALLED = re.compile(
    r"torch\.(Size|device|_utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter\w*|sparse_tensor"
    r"|sparse_csr_tensor|qtensor|nested_tensor|meta_tensor_no_storage)"
    r"|_tensor\._rebuild_from_type_v2|serialization\._get_layout|nn\.parameter\.Parameter)"
)


class _Storages(pickle.Unpickler):
    """Collects the declared bytes of each storage; no class of the file is ever imported."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")
        self.sizes: dict[str, int] = {}
        self.first_class = ""  # or function, by its full name

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        self.first_class = self.first_class or full
        if module.startswith("torch") and name.endswith("Storage"):
            return name.removesuffix("Storage")
        if module.partition(".")[0] == "torch" and not _CALLED.fullmatch(full):
            return _not_called(full)
        return _CHECKED.get((module, name), _Stub)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return _Stub()
        _, kind, key, _, count, *_ = pid
        if type(key) is not str or type(kind) is not str or kind not in _BYTES:
            raise ValueError("a storage of an unknown type")
        if type(count) is not int or count < 0:
            raise ValueError(f"storage {key!r:.40} of an unknown size")
        self.sizes[key] = max(self.sizes.get(key, 0), count * _BYTES[kind])
        return _Stub()
