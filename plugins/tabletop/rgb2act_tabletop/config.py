"""What a spec may say about the environment; light, since it is read for every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import attrs

from rgb2act_core import UserError, near

Task = Literal["reach", "lift", "lift_pedestal", "lift_distractors", "transfer"]
Camera = Literal["head", "top", "front"]
Renderer = Literal["raycast", "gl"]
TASKS: tuple[str, ...] = get_args(Task)
CAMERAS: tuple[str, ...] = get_args(Camera)
RENDERERS: tuple[str, ...] = get_args(Renderer)
SIZES = (16, 512)


@attrs.frozen(kw_only=True)
class Tabletop:
    """Choose task, cameras, image size and renderer.

    ``raycast`` needs nothing but mujoco and is the faster up to about 96 pixels; ``gl`` needs a
    working OpenGL (EGL, OSMesa or a display) and costs nearly the same at every size.
    """

    task: Task = "lift_distractors"
    """What the arms are to do."""
    cameras: tuple[Camera, ...] = ("head", "top")
    """Which cameras are recorded and seen by the policy."""
    size: int = 64
    """Height and width of each camera's image, pixels."""
    renderer: Renderer = "raycast"
    """How images are made."""

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
                f"tabletop.cameras: needs each camera once, got {self.cameras!r}; "
                f"choose from {', '.join(CAMERAS)}"
            )
        low, high = SIZES
        if not low <= self.size <= high:
            yield (
                f"tabletop.size: {self.size!r} pixels is out of range; "
                f"choose a size from {low} to {high}"
            )


def _unknown(field: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        hint = near(value, known) or f"; choose from {', '.join(known)}"
        yield f"tabletop.{field}: there is no {value!r}{hint}"
