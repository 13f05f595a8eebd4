"""The config of the environment. Light, because every command imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import attrs

from rgb2act_core import UserError, did_you_mean
from rgb2act_core.interfaces import fields

Task = Literal["reach", "lift", "lift_pedestal", "lift_distractors", "lift_shape", "transfer"]
Camera = Literal["head", "top", "front"]
Renderer = Literal["raycast", "gl"]
CloudColours = Literal["image", "labels"]
TASKS: tuple[str, ...] = get_args(Task)
CAMERAS: tuple[str, ...] = get_args(Camera)
RENDERERS: tuple[str, ...] = get_args(Renderer)
CLOUD_COLOURS: tuple[str, ...] = get_args(CloudColours)
JITTERS = {  # largest values
    "colour_jitter": 1.0,
    "light_jitter": 0.5,
    "camera_jitter": 0.1,
    "texture_jitter": 1.0,
}
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
    OpenGL (EGL, OSMesa or a display), and takes nearly the same time for all sizes. It cannot draw
    the patterns of ``lift_shape`` and ``texture_jitter``."""
    cloud_colours: CloudColours = fields.added_later(default="image")
    """Colours of the point clouds. ``image`` takes them from the images. ``labels`` gives each part
    its flat colour, without light, patterns and jitter: the target is red, distractors are blue and
    green. Images are the same."""
    scene_deviation: tuple[float, float] = fields.added_later(default=(0.02, 0.02))
    """An arm in a scene deviates from the expert's path by Gaussian noise on its joints, whose
    standard deviation in radians is drawn between these two numbers, 0 to 1. 0.1 moves a hand by
    some centimetres. If hands in scenes are always where the expert's are, an aligner can infer the
    target's position from the hand, and repeats the errors of a policy that misses the target. The
    arms are placed without regard to contacts."""
    colour_jitter: float = fields.added_later(default=0.0)
    """Largest change of each material's red, green and blue in an episode, 0 to 1. All objects of
    ``lift_shape`` keep the same two colours."""
    light_jitter: float = fields.added_later(default=0.0)
    """Largest relative change of the lights' strength in an episode, and of their direction."""
    camera_jitter: float = fields.added_later(default=0.0)
    """Largest shift of a camera and of the point that it looks at in an episode, along each axis,
    in metres. Point clouds stay in the world frame."""
    texture_jitter: float = fields.added_later(default=0.0)
    """Largest relative contrast of a pattern on the table in an episode, 0 to 1: stripes or checks
    in a random direction that repeat every 3 to 12 cm."""

    def __attrs_post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(*problems)

    def _problems(self) -> Iterator[str]:
        yield from _unknown("task", self.task, TASKS)
        yield from _unknown("renderer", self.renderer, RENDERERS)
        yield from _unknown("cloud_colours", self.cloud_colours, CLOUD_COLOURS)
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
        least, most_deviation = self.scene_deviation
        if not 0 <= least <= most_deviation <= 1:
            yield (
                f"tabletop.scene_deviation: {list(self.scene_deviation)!r} is no range; "
                "choose two numbers from 0 to 1, the lower one first"
            )
        for name, most in JITTERS.items():
            if not 0 <= getattr(self, name) <= most:
                yield (
                    f"tabletop.{name}: {getattr(self, name)!r} is out of range; "
                    f"choose a number from 0 to {most}"
                )
        patterned = {"lift_shape": self.task == "lift_shape", "texture_jitter": self.texture_jitter}
        for name, needed in patterned.items():
            if needed and self.renderer == "gl":
                yield (
                    f"tabletop.renderer: 'gl' cannot draw the patterns of {name}; "
                    "set renderer = 'raycast'"
                )


def _unknown(field: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        hint = did_you_mean(value, known) or f"; choose from {', '.join(known)}"
        yield f"tabletop.{field}: there is no {value!r}{hint}"
