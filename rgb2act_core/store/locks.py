"""Lock files: one process at a time works on a stage, on every file system.

``flock`` is used where the file system has it. Elsewhere (NFS without a lock daemon, some cluster
and FUSE file systems) the existence of the file is the lock. The file names the process and host
that hold it, and its time is updated every ``BEAT`` seconds. A process that waits takes over a file
that was not updated for ``STALE`` seconds, or sooner if its process ended on this host.

NFS may be mounted so that ``flock`` only excludes processes of the same host. A file of another
host is therefore a lock even if ``flock`` succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..system.hosts import host_name, is_running
from ..system.progress import say
from .disk_errors import OTHER_ROOT, guard
from .files import temporary_path
from .heartbeat import HEARTBEAT

STALE = 30.0  # seconds without an update: long enough for a stalled network file system
STALE_HERE = 8.0  # the same for a process of this host that ended; containers may share its name
POLL = 0.2  # seconds between two attempts
_NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO, errno.ENOSYS)


@contextlib.contextmanager
def locked(path: Path, *, remedy: str = OTHER_ROOT) -> Iterator[None]:
    """Hold the lock file at ``path``; print a line while another process holds it.

    The file is deleted at the end. Raises UserError if it can't be created.
    """
    with guard(path, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(path)
    HEARTBEAT.add(lock)
    try:
        yield
    finally:
        HEARTBEAT.remove(lock)
        lock.release()


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file at ``path``; it never waits.

    A process of another host, or one whose ``flock`` cannot be seen, holds a file that was updated
    a short time ago.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if _flock(fd, fcntl.LOCK_SH) and not _of_another_host(path):
            return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    holder = _holder(path)
    return holder is not None and time.time() - holder.updated / 1e9 < _patience(holder)


def sweep_locks(folder: Path) -> None:
    """Delete the lock files in a folder that no process holds, which killed processes left.

    Does nothing in a folder that is missing or read-only.
    """
    for path in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            _sweep(path)


@attrs.define(eq=False, kw_only=True)
class LockFile:
    """A lock that this process holds."""

    path: Path
    fd: int
    token: str
    soft: bool = False  # whether the file is the lock, as ``flock`` does not work
    taken_over: bool = False

    def is_own(self) -> bool:
        """Return whether the file was not deleted or taken over."""
        return _read(self.path).endswith(f"\n{self.token}\n")

    def release(self) -> None:
        """Delete the file, then close it, which ends the ``flock``."""
        with contextlib.suppress(OSError):
            if self.is_own():
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def update(self) -> None:
        """Update the file's time, unless another process took the lock over."""
        with contextlib.suppress(OSError):
            if self.taken_over:
                return
            if self.is_own():
                os.utime(self.path)
            elif (holder := _holder(self.path)) is not None and holder.pid is not None:
                self.taken_over = True
                say(f"{self.path.name}: was taken over by {holder} while this run did not respond")


@attrs.frozen
class _Holder:
    """What a lock file states about the process that holds it, and when it was updated."""

    content: str
    updated: int  # ns

    @property
    def pid(self) -> int | None:
        first = self.content.partition("\n")[0]
        return int(first) if first.isdecimal() and len(first) < 12 else None

    @property
    def host(self) -> str:
        return "".join(self.content.splitlines()[1:2])

    def __str__(self) -> str:
        return "" if self.pid is None else f"process {self.pid} on {self.host}"

    @property
    def ended(self) -> bool:
        """Return whether it is known to have ended."""
        return self.pid is not None and self.host == host_name() and not is_running(self.pid)


@attrs.define(eq=False)
class Contender:
    """Takes a lock that other processes may hold, in repeated attempts."""

    path: Path
    holder: _Holder | None = None
    """What the file stated at the last attempt, if that failed."""
    soft: bool = False  # whether the file is the lock, as ``flock`` does not work
    _since: float = attrs.field(factory=time.monotonic)  # when ``holder`` was read first

    def attempt(self) -> LockFile | None:
        """Return the lock, or None if another process holds it; it never waits.

        A lock whose process ended is taken over once its file was not updated for some time.
        """
        lock, self.soft = _attempt(self.path)
        if lock is not None:
            return lock
        holder = _holder(self.path)
        if holder != self.holder:
            self.holder, self._since = holder, time.monotonic()
        elif holder and self.soft and time.monotonic() - self._since > _patience(holder):
            _remove(self.path, holder)
            return self.attempt()
        return None


def _acquire(path: Path) -> LockFile:
    contender, announced = Contender(path), False
    while (lock := contender.attempt()) is None:
        if contender.holder and not announced:
            say(_waiting(path, contender.holder, contender.soft))
            announced = True
        time.sleep(POLL)
    return lock


def _attempt(path: Path) -> tuple[LockFile | None, bool]:
    """Return the lock, or None if another process holds it, and whether the file is the lock."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        fd, created = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        created = False
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:  # released in between
            return None, False
    lock = LockFile(path=path, fd=fd, token=secrets.token_hex(8))
    try:
        lock.soft = soft = not _flock(fd) or (not created and _of_another_host(path))
        if (soft and not created) or not _is_file(fd, path):
            os.close(fd)
            return None, soft
        text = f"{os.getpid()}\n{host_name()}\n{lock.token}\n"
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
    except BlockingIOError:
        os.close(fd)
        return None, False
    except BaseException:
        if created:
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(fd)
        raise
    return lock, soft


def _of_another_host(path: Path) -> bool:
    holder = _holder(path)
    return holder is not None and holder.pid is not None and holder.host != host_name()


def _flock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file; return False if its file system cannot.

    Raises BlockingIOError if another process holds the lock.
    """
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in _NO_FLOCK:
            return False
        raise
    return True


def _is_file(fd: int, path: Path) -> bool:
    """Return whether ``path`` still is the open file; the last holder deletes it."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:1000].decode(errors="replace")
    except OSError:
        return ""


def _holder(path: Path) -> _Holder | None:
    """Return what the file states; None if it was deleted."""
    try:  # opened before its time is read: NFS then asks the server
        with path.open("rb") as file:
            content = file.read(1000).decode(errors="replace")
            return _Holder(content, os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _patience(holder: _Holder) -> float:
    return min(STALE_HERE, STALE) if holder.ended else STALE


def _sweep(path: Path) -> None:
    """Delete a lock file that no process holds; nobody can acquire it in between."""
    holder, fd = _holder(path), os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        hard = _flock(fd)
        if hard and not _of_another_host(path) and _is_file(fd, path):
            path.unlink()
            return
    finally:
        os.close(fd)
    if holder is not None and not is_held(path):
        _remove(path, holder)


def _waiting(path: Path, holder: _Holder, soft: bool) -> str:
    by = f" ({holder})" if str(holder) else ""
    line = f"waiting for another run{by} that is working on {path.with_suffix('').name}"
    if not soft:
        return line
    return f"{line}; if it was killed, this run goes on in {STALE:.0f} s, or delete {path}"


def _remove(path: Path, holder: _Holder) -> None:
    """Delete the lock file of a process that ended.

    The file is renamed first: of several processes that wait, only one can do that.
    """
    moved = temporary_path(path)
    try:
        path.rename(moved)
    except FileNotFoundError:
        return
    if _holder(moved) == holder:
        by = str(holder) or "its process"
        say(f"{path.name}: {by} no longer updates this lock and is taken to have ended")
        moved.unlink()
    else:  # another process took over first
        moved.rename(path)
