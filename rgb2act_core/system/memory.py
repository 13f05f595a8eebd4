"""The memory of this machine and of its containers, and errors of memory that ran out."""

from __future__ import annotations

import contextlib
import errno
import re
import resource
import sys
from collections.abc import Iterator

from ..errors import UserError
from .containers import memory_left, memory_limits

_NO_MEMORY = re.compile(
    "out of memory|not enough memory|can(no|')t allocate memory|_STATUS_ALLOC_FAILED"
    "|can't start new thread",
    re.IGNORECASE,
)


def available_memory() -> int:
    """Return the free bytes of the machine, the container or the process limit, the smallest."""
    import psutil

    free = [int(psutil.virtual_memory().available), *memory_left()]
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
    return min([total, *memory_limits()])


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise UserError for an error in the block that means that memory ran out."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        reason = str(err).partition("\n")[0] or type(err).__name__
        raise UserError(
            f"out of memory ({reason}); end other programs, or use a machine with more memory"
        ) from err


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error of numpy, torch or the system means that memory ran out."""
    if isinstance(err, MemoryError):
        return True
    if isinstance(err, OSError):  # of a fork or a memory map
        return err.errno == errno.ENOMEM
    if not isinstance(err, RuntimeError):
        return False
    torch = sys.modules.get("torch")
    known = torch is not None and isinstance(err, torch.OutOfMemoryError)
    return known or bool(_NO_MEMORY.search(str(err)))
