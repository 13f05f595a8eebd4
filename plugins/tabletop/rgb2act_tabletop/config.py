"""The config of the environment. Light, because every command imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import attrs

from rgb2act_core import UserError, did_you_mean

Task = Literal["reach", "lift", "lift_pedestal", "lift_distractors", "transfer"]
Camera = Literal["head", "top", "front"]
Renderer = Literal["raycast", "gl"]
TASKS: tuple[str, ...] = get_args(Task)
CAMERAS: tuple[str, ...] = get_args(Camera)
RENDERERS: tuple[str, ...] = get_args(Renderer)
SIZES = (16, 512)


@attrs.frozen(kw_only=True)
class Tabletop:
    """Two 6-joint arms and a cube on a table, simulated by MuJoCo."""

    task: Task = "lift_distractors"
    """Task of the arms."""
    cameras: tuple[Camera, ...] = ("head", "top")
    """Cameras that are recorded and that the policy observes."""
    size: int = 64
    """Height and width of each camera's image, in pixels."""
    renderer: Renderer = "raycast"
    """``raycast`` needs only mujoco and is faster for images of up to about 96 pixels. ``gl`` needs
    OpenGL (EGL, OSMesa or a display), and takes nearly the same time for all sizes."""

    def __attrs_post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(*problems)

    def _problems(self) -> Iterator[str]:
        yield from _unknown("task", self.task, TASKS)
        yield from _unknown("renderer", self.renderer, RENDERERS)
        for camera in self.cameras:
            yield from _unknown("cameras", camera, CAMERAS)
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            yield (
                f"tabletop.cameras: must list one or more cameras once each, got {self.cameras!r}; "
                f"choose from {', '.join(CAMERAS)}"
            )
        low, high = SIZES
        if not low <= self.size <= high:
            yield (
                f"tabletop.size: {self.size!r} is out of range; "
                f"choose a size in pixels from {low} to {high}"
            )


def _unknown(field: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        hint = did_you_mean(value, known) or f"; choose from {', '.join(known)}"
        yield f"tabletop.{field}: there is no {value!r}{hint}"
