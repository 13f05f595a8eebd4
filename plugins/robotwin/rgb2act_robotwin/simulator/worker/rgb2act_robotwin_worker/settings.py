"""Settings of a task, and the versions of the packages that affect results."""

from __future__ import annotations

import importlib.metadata
import platform
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

VERSIONS = ("sapien", "mplib", "torch", "toppra", "numpy", "nvidia-curobo", "pytorch3d")
CHOICES = {
    "shader": ("rt", "default"),
    "planner": ("curobo", "mplib"),
    "fps": ("pytorch3d", "numpy"),
    "instructions": ("unseen", "seen"),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a task; the defaults are RoboTwin's own."""

    task_config: str = "demo_clean"
    cameras: tuple[str, ...] | None = None  # cameras that render; None: all
    head_camera_type: str | None = None  # None: the task config's
    wrist_camera_type: str | None = None
    depth_cameras: tuple[str, ...] = ()  # cameras that render, too, where depth is observed
    depth: bool = False
    pointcloud: bool = False
    shader: str = "rt"
    shadows: bool = True
    planner: str = "curobo"
    fps: str = "pytorch3d"
    instructions: str = "unseen"
    assets: str | None = None  # the folder above assets/, for the PyPI package
    embodiment: tuple[Any, ...] | None = None  # None: the task config's

    @classmethod
    def of(cls, given: dict[str, Any]) -> Settings:
        """Return the settings in a message; raise ValueError for unknown names or values."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ValueError(f"setting {unknown[0]!r} is unknown; expected one of {sorted(known)}")
        for name, choices in CHOICES.items():
            if given.get(name, choices[0]) not in choices:
                raise ValueError(f"setting {name}: {given[name]!r} is not one of {choices}")
        values = dict(given)
        if isinstance(values.get("embodiment"), str):
            values["embodiment"] = [values["embodiment"]]
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect results."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
