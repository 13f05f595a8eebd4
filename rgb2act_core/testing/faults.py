"""Make the n-th operation on the files of a folder fail, to test what a program does then.

For example::

    with fault(tmp_path, "write", nth=3, error=errno.ENOSPC):
        ...  # the third write below tmp_path raises OSError

As a pytest fixture (put ``pytest_plugins = ["rgb2act_core.testing.pytest_plugin"]`` into
``conftest.py``)::

    def test_full_disk(file_fault, tmp_path):
        with file_fault(tmp_path, "write", nth=3, error=errno.ENOSPC):
            ...

Only operations of this process are counted, and only those that Python does: not those of worker
processes, and not those of libraries that write files in C. Needs Linux.
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args
from unittest import mock

Operation = Literal["open", "write", "fsync", "rename", "lock"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@contextlib.contextmanager
def fault(
    folder: Path, operation: Operation = "write", *, nth: int = 0, error: int = 0
) -> Iterator[Counter[str]]:
    """Let the ``nth`` ``operation`` below ``folder`` fail in the block; yield the counts of all.

    ``open`` opens a file for writing or makes a folder, ``write`` writes to a file, ``fsync``
    flushes it to the disk, ``rename`` renames or replaces a file or folder, ``lock`` calls
    ``flock``. ``error`` is the ``errno`` of the OSError. With ``nth = 0``, nothing fails.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is not one of {OPERATIONS}")
    faulty = _Faults(folder.absolute(), operation, nth, error)
    with contextlib.ExitStack() as stack:
        for module, name, replacement in faulty.replacements():
            stack.enter_context(mock.patch.object(module, name, replacement))
        yield faulty.counts


class _Faults:
    """Counts operations, and the functions that replace those of Python."""

    def __init__(self, folder: Path, operation: str, nth: int, error: int) -> None:
        self.folder, self.operation, self.nth, self.error = folder, operation, nth, error
        self.resolved = folder.resolve()
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def count(self, operation: str, path: object) -> None:
        """Count an operation below the folder; raise OSError if it is the one to fail."""
        if not self._below(path):
            return
        with self.lock:
            self.counts[operation] += 1
            fails = operation == self.operation and self.counts[operation] == self.nth
        if fails:
            raise OSError(self.error, os.strerror(self.error), str(_path_of(path)))

    def _below(self, path: object) -> bool:
        found = _path_of(path)
        if found is None:
            return False
        return found.absolute().is_relative_to(self.folder) or found.resolve().is_relative_to(
            self.resolved  # through a link in either path
        )

    def replacements(self) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
        """Yield module, name and replacement of each function."""
        for name in ("write", "pwrite"):
            yield os, name, self._counted("write", getattr(os, name))
        yield os, "fsync", self._counted("fsync", os.fsync)
        yield os, "mkdir", self._counted("open", os.mkdir)
        for name in ("rename", "replace"):
            yield os, name, self._counted("rename", getattr(os, name))
        yield fcntl, "flock", self._counted("lock", fcntl.flock)
        yield os, "open", self._os_open(os.open)
        for module in (builtins, io):
            yield module, "open", self._open(io.open)

    def _counted(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(path: Any, *args: Any, **kwargs: Any) -> Any:
            self.count(operation, path)
            return call(path, *args, **kwargs)

        return replacement

    def _os_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(path: Any, flags: int, *args: Any, **kwargs: Any) -> Any:
            if flags & _WRITING:
                self.count("open", path)
            return call(path, flags, *args, **kwargs)

        return replacement

    def _open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+") or not self._below(file):
                return call(file, mode, *args, **kwargs)
            self.count("open", file)
            return _CountedFile(call(file, mode, *args, **kwargs), file, self)

        return replacement


class _CountedFile:
    """A file whose writes are counted; everything else is that of the file."""

    def __init__(self, file: Any, path: object, faults: _Faults) -> None:
        self._file, self._path, self._faults = file, path, faults

    def write(self, data: Any) -> Any:
        self._faults.count("write", self._path)
        return self._file.write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _CountedFile:
        self._file.__enter__()
        return self

    def __exit__(self, *exc: object) -> Any:
        return self._file.__exit__(*exc)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


def _path_of(path: object) -> Path | None:
    """Return the path of a path or file descriptor; None if it has none, as a socket."""
    if isinstance(path, int):
        with contextlib.suppress(OSError):
            return Path(os.readlink(f"/proc/self/fd/{path}"))  # noqa: PTH115 keeps " (deleted)"
        return None
    if isinstance(path, str | bytes | os.PathLike):
        return Path(os.fsdecode(path))
    return None
