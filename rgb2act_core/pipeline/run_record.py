"""What a run did: wall and CPU time of its stages, and ``run.json``."""

from __future__ import annotations

import contextlib
import platform
import resource
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from .._version import __version__
from ..errors import UserError
from ..spec.reader import unstructure
from ..store.files import guard, read_json, write_json
from ..store.run import Run


@attrs.define
class Timer:
    """Measure wall and CPU seconds, worker processes included."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Add what passes inside."""
        wall, cpu = time.monotonic(), _cpu()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - wall
            self.cpu_seconds += _cpu() - cpu


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Record:
    """Keep ``run.json``: what each stage of this run was, and where its output lies."""

    def __init__(self, run: Run) -> None:
        self.run, self.path = run, run.folder / "run.json"
        self.before: dict[str, Any] = {}
        with contextlib.suppress(UserError, KeyError, TypeError):  # absent, damaged or another's
            old = read_json(self.path)
            self.before = {s["stage"]: s for s in [*old.get("before", []), *old["stages"]]}
        self.stages: list[dict[str, Any]] = []
        self.pictures: dict[str, Any] = {}

    def add(
        self, stage: str, key: str, path: Path, cached: bool, reason: str, timer: Timer
    ) -> None:
        """Note a stage and write the file; a cached one keeps the times of when it ran."""
        times = {"seconds": round(timer.seconds, 2), "cpu_seconds": round(timer.cpu_seconds, 2)}
        before = self.before.get(stage, {})
        if cached and before.get("key") == key:
            times = {name: before.get(name, spent) for name, spent in times.items()}
        self.stages.append(
            {
                "stage": stage,
                "key": key,
                "path": str(path.relative_to(self.run.root)),
                "cached": cached,
                "reason": reason,
                **times,
            }
        )
        self.write()

    def write(self) -> None:
        """Write the file whole."""
        with guard(self.run.folder):
            self.run.folder.mkdir(parents=True, exist_ok=True)
        now = {stage["stage"] for stage in self.stages}
        data = {
            "name": self.run.spec.name,
            "version": __version__,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "spec": unstructure(self.run.spec),
            "stages": self.stages,
            "before": [s for name, s in self.before.items() if name not in now],  # not run again
            "pictures": self.pictures,
            "environment": versions(),
        }
        write_json(self.path, data)


def versions() -> dict[str, str]:
    """Return versions of what computes, and the processor."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "numpy", "zarr", "diffusers", "mujoco"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
