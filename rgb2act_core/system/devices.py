"""Devices, memory, processor and worker counts of this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import psutil

from ..errors import UserError
from .memory import available_memory, return_freed_memory


def device_of(device: str, threads: int = 0) -> str:
    """Set torch's number of threads and return the device, such as ``"cpu"`` or ``"cuda:1"``.

    ``device`` is ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``; 0 ``threads`` keep torch's own
    number. Raises UserError if the device does not exist.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise UserError(
                f"compute.device: {device!r} does not exist"
                f" ({torch.cuda.device_count()} GPUs found); use 'auto' or 'cpu'"
            )
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "compute.device: 'mps' does not exist on this machine; use 'auto', 'cpu' or 'cuda'"
        )
    return device


def devices_of(device: str, threads: int = 0) -> tuple[str, ...]:
    """Return the devices that share feature extraction: all GPUs for ``"auto"``, else one."""
    import torch

    first = device_of(device, threads)
    if device == "auto" and first == "cuda":
        return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    return (first,)


def workers_of(configured: int) -> int:
    """Return the number of simulator processes: the configured one, or one per core if 0."""
    return configured or core_count()


def core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; respects taskset and container CPU sets
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def processor() -> str:
    """Return the model name of the CPU."""
    with contextlib.suppress(OSError):  # psutil does not report it
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def free_memory(device: str) -> int:
    """Return the free bytes of a device, ``"cpu"`` or ``"cuda[:N]"``.

    On a CPU this includes the page cache that the system can reclaim, up to the limit of the
    container and of the process.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def peak_memory() -> int:
    """Return the peak resident set size of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextlib.contextmanager
def measure_peak_memory(device: str) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the peak bytes allocated since entry, None if unknown.

    On a GPU these are the bytes of torch's allocator, on a CPU the resident set size of this
    process, which only Linux can measure for a block of code.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    return_freed_memory()  # else what is measured would reuse it
    if device != "cpu" or not _reset_peak():
        yield lambda: None
        return
    start = _resident()
    yield lambda: max(_resident_peak() - start, 0)


def _reset_peak() -> bool:
    """Reset the kernel's peak of this process's resident size; return False if that fails."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _resident_peak() -> int:
    """Return the peak since ``_reset_peak``, which psutil and getrusage do not report."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0
