"""The memory limits of the control groups that this process is in.

Containers and batch systems such as Slurm limit memory with control groups (cgroups), of version 1
or 2. A limit of a group also applies to the groups below it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_CACHES = (  # memory that the kernel frees when a process needs it; "total_" in version 1
    "inactive_file", "active_file", "slab_reclaimable", "total_inactive_file", "total_active_file",
)  # fmt: skip
_NO_LIMIT = 1 << 60  # version 1 states a number of this size if there is no limit


def memory_limits() -> list[int]:
    """Return the limits in bytes; empty if there are none."""
    return [limit for _, _, limit in _limited()]


def memory_left() -> list[int]:
    """Return the bytes that are left of each limit.

    Cached files count as free: after a large data set was read, they fill a group up to its limit.
    """
    left = []
    for folder, usage, limit in _limited():
        with contextlib.suppress(OSError, ValueError):
            left.append(limit - int((folder / usage).read_text()) + _cached(folder))
    return left


def _limited() -> Iterator[tuple[Path, str, int]]:
    """Yield each group with a limit: its folder, the file with its usage, and the limit."""
    for folder in dict.fromkeys(_folders()):
        for name, usage in _FILES:
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                limit = int((folder / name).read_text())
                if limit < _NO_LIMIT:
                    yield folder, usage, limit


def _folders() -> Iterator[Path]:
    """Yield the folders of this process's groups and of those above them."""
    with contextlib.suppress(OSError, ValueError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers in ("", "memory"):
                base = CGROUP / controllers
                path = base / name.lstrip("/")
                yield path
                yield from (parent for parent in path.parents if parent.is_relative_to(base))
    yield CGROUP  # of a container with its own view of the groups
    yield CGROUP / "memory"


def _cached(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        found = {name.removeprefix("total_"): int(stat[name]) for name in _CACHES if name in stat}
        return sum(found.values())
    return 0
