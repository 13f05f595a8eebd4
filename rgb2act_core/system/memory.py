"""Memory that this process may still use."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # of a container


def available_memory() -> int:
    """Return the free bytes of the machine, the container or the process limit, the smallest."""
    import psutil

    free = [int(psutil.virtual_memory().available)]
    with contextlib.suppress(OSError, ValueError):  # "max", or another version of cgroups
        limit = int((CGROUP / "memory.max").read_text())
        free.append(limit - int((CGROUP / "memory.current").read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        free.append(soft - int(psutil.Process().memory_info().vms))
    return max(0, min(free))
