"""The ``[environment]`` table. Importing this module imports no pyarrow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from rgb2act_core import UserError
from rgb2act_core.interfaces import fields

LARGEST = 4096  # pixels of a resized image

# episodes enter cache keys by digests of what is read of them: the path is a runtime field


Row = tuple[float, float, float, float]


@attrs.frozen(kw_only=True)
class DepthCamera:
    """A depth camera whose measurements become points. The data set has no camera matrices."""

    camera: str
    """Short name of the depth camera."""
    intrinsics: Row
    """``fx, fy, cx, cy`` in pixels; the centre of the first pixel is at (0, 0)."""
    pose: tuple[Row, Row, Row]
    """Rotation and translation (3, 4) from the camera to the world, in metres. The camera's axes
    are x right, y down, z forward."""
    colours: str = ""
    """Camera whose images, aligned with the depth, colour the points. Empty: grey points."""


@attrs.frozen(kw_only=True)
class LeRobot:
    """Recorded episodes of a LeRobotDataset (v2.0, v2.1 or v3.0)."""

    data: Path = fields.file(runtime=True)
    """Folder of the data set, with ``meta/info.json``."""
    task: str = ""
    """Text of a task: only its episodes are read. An episode that changes its task has the first
    one. Empty: all episodes, each with its own text as instruction."""
    name: str = ""
    """Name of the task in results. Empty: made from the task's text."""
    cameras: tuple[str, ...] = ()
    """Cameras of the policy, in order: ``top`` for ``observation.images.top``. Empty: all."""
    resize: tuple[int, int] | None = None
    """Height and width that images are resized to. Needed if cameras have different sizes."""
    action_names: tuple[str, ...] = ()
    """Names of the action dimensions, if the data set has none or others than for the state."""
    state_names: tuple[str, ...] = ()
    """Names of the dimensions of ``observation.state``. Those of the actions are used, by name."""
    states: tuple[str, ...] = ()
    """Further features of numbers to read as states, such as ``observation.environment_state``,
    ``next.reward`` or ``task_index``."""
    units: Literal["radians", "degrees", "percent", "other"] = "radians"
    """Unit of joints and actions, grippers excepted. Values are not converted: the policy's actions
    have the unit of the data, as the robot needs them."""
    gripper_range: tuple[float, float] | None = None
    """Values of a closed and of an open gripper, such as ``[0, 100]``; grippers are converted to
    0 to 1. If omitted, they are 0 to 1 already."""
    actions: Literal["absolute", "relative", "next_state"] = "absolute"
    """What ``action`` is: ``absolute`` joint targets, or targets ``relative`` to the joints of the
    frame (grippers excepted), which are added. ``next_state`` replaces the actions by the joints of
    the next frame."""
    stride: int = 1
    """Keep every n-th frame. Its action is the last one before the next kept frame."""
    successful_only: bool = False
    """Leave out episodes in which ``next.success`` is never true."""
    depth: tuple[DepthCamera, ...] = ()
    """Depth cameras whose points the teacher sees, as ``[[environment.depth]]`` tables."""
    cloud_points: int = 1024
    """Points of a cloud, chosen by farthest point sampling; 0 keeps all."""
    crop_low: tuple[float, float, float] = (-10.0, -10.0, -10.0)
    """Lowest corner of the crop box for point clouds, metres, world frame."""
    crop_high: tuple[float, float, float] = (10.0, 10.0, 10.0)
    """Highest corner of the crop box."""
    limit: int | None = None
    """Maximum number of episodes; those with the lowest numbers are read."""
    skip: tuple[str, ...] = ()
    """Names of episodes to leave out, as listed by ``rgb2act inspect``."""

    def __attrs_post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(*problems)

    def _problems(self) -> Iterator[str]:
        if len(set(self.cameras)) < len(self.cameras) or "" in self.cameras:
            yield f"lerobot.cameras: {self.cameras!r} has a camera twice or ''; name each once"
        if self.resize is not None and not all(1 <= side <= LARGEST for side in self.resize):
            yield f"lerobot.resize: {self.resize!r} is not from 1 to {LARGEST} pixels per side"
        if self.gripper_range is not None:
            closed, opened = self.gripper_range
            if not (math.isfinite(closed) and math.isfinite(opened)) or closed == opened:
                yield (
                    f"lerobot.gripper_range: {self.gripper_range!r} is no range; give the values of"
                    " a closed and of an open gripper, such as [0, 100]"
                )
        if self.stride < 1:
            yield f"lerobot.stride: {self.stride!r} is below 1; 1 keeps all frames"
        if self.limit is not None and self.limit < 1:
            yield f"lerobot.limit: {self.limit!r} is below 1; omit it to read all episodes"
        if set(self.name) & set("/\\") or self.name.startswith("."):
            yield f"lerobot.name: {self.name!r} is no file name; leave out '/' and a leading '.'"
        if self.cloud_points < 0:
            yield f"lerobot.cloud_points: {self.cloud_points!r} is below 0; 0 keeps all points"
        if not all(a < b for a, b in zip(self.crop_low, self.crop_high, strict=True)):
            yield (
                f"lerobot.crop_low: {self.crop_low!r} is not below crop_high {self.crop_high!r};"
                " give the box's lowest corner first"
            )
        for field in ("action_names", "state_names"):
            names = getattr(self, field)
            if len(set(names)) < len(names) or "" in names:
                yield f"lerobot.{field}: {names!r} has a name twice; name each dimension once"
