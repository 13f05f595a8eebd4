"""The memory of this machine and of its containers, and errors of memory that ran out."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # of a container
_NO_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


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


def total_memory(device: str) -> int:
    """Return the bytes of memory that a device has; of a container those that it may use."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    import psutil

    total = int(psutil.virtual_memory().total + psutil.swap_memory().total)
    with contextlib.suppress(OSError, ValueError):  # "max", or another version of cgroups
        total = min(total, int((CGROUP / "memory.max").read_text()))
    return total


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error of numpy or torch means that memory ran out."""
    if isinstance(err, MemoryError):
        return True
    if not isinstance(err, RuntimeError):
        return False
    import torch

    return isinstance(err, torch.OutOfMemoryError) or bool(_NO_MEMORY.search(str(err)))
