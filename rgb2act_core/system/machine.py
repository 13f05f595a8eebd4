"""The machine and the versions of what runs on it, as recorded with results."""

from __future__ import annotations

import contextlib
import functools
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType

import psutil

from .devices import core_count, processor
from .formatting import format_bytes

LIBRARIES = ("torch", "numpy", "zarr", "diffusers", "mujoco")


def machine() -> dict[str, str]:
    """Return architecture, processor, system and memory, and the GPU if torch uses one."""
    found = {
        "machine": platform.machine(),
        "processor": f"{processor()}, {core_count()} cores",
        "memory": format_bytes(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return found


@functools.cache  # reading the metadata of all packages takes longer than writing a record
def versions(group: str, libraries: tuple[str, ...] = LIBRARIES) -> Mapping[str, str]:
    """Return the versions of Python, of libraries and of the plugins of an entry point group.

    No plugin is loaded. Packages that are installed later in a process are not seen.
    """
    found = {"python": platform.python_version()}
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    plugins = {point.dist.name: point.dist.version for point in _points(group) if point.dist}
    return MappingProxyType(found | dict(sorted(plugins.items())))


def _points(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)
