"""Devices, memory, processors and worker counts of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..spec import Compute


import contextlib
import os
import platform
import resource
import sys
from functools import cache
from pathlib import Path

from ..errors import UserError


def free_memory(device: str) -> int:
    """Return the bytes that are free now on a device, ``cpu`` or ``cuda[:N]``."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError, ValueError, IndexError):  # Linux; cached files are free
        told = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(told.partition("MemAvailable:")[2].split()[0])
    with contextlib.suppress(ValueError, OSError):  # not every system tells
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4_000_000_000


def workers_of(compute: Compute) -> int:
    """Return how many processes to simulate in: as asked, or one a core this process may use."""
    return compute.simulator_workers or len(os.sched_getaffinity(0))


def device_of(compute: Compute) -> str:
    """Set torch's threads and return the device's name; raise UserError when it is not there."""
    import torch

    if compute.threads:
        torch.set_num_threads(compute.threads)
    if compute.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if compute.device.startswith("cuda"):
        index = int(compute.device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise UserError(
                f"compute.device: {compute.device!r} is not there"
                f" ({torch.cuda.device_count()} found); use 'auto' or 'cpu'"
            )
    return compute.device


def devices_of(compute: Compute) -> tuple[str, ...]:
    """Return the devices that share the extraction: all GPUs for ``auto``, else the one named."""
    import torch

    device = device_of(compute)
    if compute.device == "auto" and device == "cuda":
        return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    return (device,)


@cache
def processor() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
