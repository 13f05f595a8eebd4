"""The memory of this machine and of its containers, and errors of memory that ran out."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import resource
import sys
from collections.abc import Iterator

from ..errors import UserError, first_line
from .containers import memory_left, memory_limits

_NO_MEMORY = re.compile(
    "out of memory|not enough memory|can(no|')t allocate memory|_STATUS_ALLOC_FAILED"
    "|can't start new thread",
    re.IGNORECASE,
)

# options of mallopt of the GNU C library, and the environment variables that set them
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_VARIABLES = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
)
KEPT_BYTES = 1 << 28  # freed memory that a heap of the process keeps
REUSED_BYTES = 1 << 25  # largest array whose memory is kept, the largest value of mallopt


def reuse_freed_memory() -> None:
    """Return freed arrays of at most 32 MiB to the system only where more than 256 MiB are free.

    By default the GNU C library returns them much sooner. The system then clears each page again
    when a network allocates its next array: half of the time of a convolution on a CPU. Other C
    libraries are left as they are, and so is one that the environment sets up.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in tunables or any(name in os.environ for name in _VARIABLES):
        return
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        if library.mallopt(_MMAP_THRESHOLD, REUSED_BYTES):
            library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def return_freed_memory() -> None:
    """Return the memory that the process has freed to the system, where the C library can."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


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
        raise UserError(
            f"out of memory ({first_line(err)}); end other programs, or use a machine with more"
            " memory"
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
