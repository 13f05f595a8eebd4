"""Claims on the entries of a folder, by which several processes share the work on it.

A claim is the lock file ``<entry>.lock`` next to the entry. A process works on an entry, and
removes what others left of it, only while it holds the claim. The claim of a process that ended is
taken over as ``locks`` describes. Claims are in the folder of the entries because an NFS client
that creates a file in a folder learns which entries other hosts added to it.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Self

from ..system.progress import say
from .disk_errors import guard
from .heartbeat import HEARTBEAT
from .locks import Contender, LockFile, is_held

SUFFIX = ".lock"


class Claims:
    """The claims of this process on entries of one folder; they are released on exit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._held: dict[str, LockFile] = {}
        self._contenders: dict[str, Contender] = {}

    def take(self, name: str) -> bool:
        """Claim an entry; return False if another process, or this one, holds the claim.

        It never waits. Calling it again and again takes over the claim of a process that ended.
        """
        path = self._folder / f"{name}{SUFFIX}"
        with self._mutex, guard(path):
            contender = self._contenders.setdefault(name, Contender(path))
            lock = contender.attempt()
            if lock is None:
                return False
            del self._contenders[name]
            self._held[name] = lock
        if lock.soft:
            _announce_no_locks(self._folder.parent)
        return True

    def release(self, name: str) -> None:
        """Give up the claim on an entry."""
        with self._mutex:
            self._held.pop(name).release()

    def holder(self, name: str) -> str:
        """Return which process held the claim when ``take`` returned False; may be empty."""
        contender = self._contenders.get(name)
        return str(contender.holder or "") if contender else ""

    def update(self) -> None:
        """Update the time of all claims."""
        with self._mutex:
            for lock in self._held.values():
                lock.update()

    def __enter__(self) -> Self:
        HEARTBEAT.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        HEARTBEAT.remove(self)
        for name in list(self._held):
            self.release(name)


def has_claims(folder: Path) -> bool:
    """Return whether a process holds a claim on an entry of a folder."""
    return any(map(is_held, folder.glob(f"*{SUFFIX}")))


@functools.cache
def _announce_no_locks(folder: Path) -> None:
    say(
        f"{folder}: this file system has no file locks (flock); claims are files that other"
        " processes respect while they are updated"
    )
