"""What a spec may say about RoboTwin; light, since it is read for every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import fields

from .tasks import ALOHA
from .versions import version_of

CAMERAS = ("head_camera", "front_camera", "left_camera", "right_camera")
ALIASES = {  # names of the newer layout
    "cam_head": "head_camera",
    "cam_third_view": "front_camera",
    "cam_left_wrist": "left_camera",
    "cam_right_wrist": "right_camera",
}
SEGMENTS = (
    "_traj_data holds planned segments at 250 Hz, arms only, without grippers or idle times, and"
    " is not aligned with frames; labels are the next step's joint_action/vector, so name the"
    " folder with the episodes' HDF5 files"
)

IMAGES = {
    "L515": (180, 320),
    "D435": (240, 320),
    "Large_L515": (360, 640),
    "Large_D435": (480, 640),
}
HERE = "here"

# episodes enter cache keys by digests of what is read of them, the simulator by ``simulator``:
# their paths are runtime fields


@attrs.frozen(kw_only=True)
class Robotwin:
    """Choose a task of RoboTwin 2.0 and the episodes to learn from."""

    task: str
    """Name of the task, a module in RoboTwin's ``envs``."""
    data: Path | None = fields.file(runtime=True, default=None)
    """Recorded episodes: an HDF5 file, or a folder with such files below it, in any layout."""
    cameras: tuple[str, ...] = ("head_camera",)
    """Cameras the policy sees, in this order: ``head_camera``, ``front_camera``, ``left_camera``,
    ``right_camera``, or their names in the newer layout, such as ``cam_head``."""
    embodiment: str = ALOHA
    """The robot, for data sets that hold several; two arms of six joints each."""
    limit: int | None = None
    """Read no more than this many episodes, those of the lowest numbers."""
    skip: tuple[str, ...] = ()
    """Names of episodes to leave out, as ``rgb2act inspect`` lists them."""
    duplicates: Literal["keep", "drop", "mark"] = "keep"
    """Frames whose joint vector equals the one before: kept, left out, or kept and marked 1 in the
    state ``duplicate``."""
    instructions: Literal["seen", "unseen"] = "seen"
    """Which of an episode's instructions it carries; episode i takes the i-th of them."""
    clouds: Literal["auto", "stored", "depth", "none"] = "auto"
    """Where point clouds come from; ``auto`` is the stored ones, else depth, else none."""
    cloud_cameras: tuple[str, ...] = ()
    """Cameras whose depth becomes a cloud; empty is those of ``cameras``."""
    cloud_points: int = 1024
    """Points of a cloud made from depth, by farthest point sampling; 0 keeps all."""
    crop_low: tuple[float, float, float] = (-0.6, -0.35, 0.7401)
    """Lowest corner of the box that clouds made from depth keep, metres, world frame."""
    crop_high: tuple[float, float, float] = (0.6, 0.35, 2.0)
    """Highest corner of that box."""
    frames: Path | None = fields.file(runtime=True, default=None)
    """Images in place of those in the HDF5 files: ``<task>/<episode>/step_0000.png``; with several
    cameras, or one of several, the task's folder ends in ``_<camera>``."""
    points: Path | None = fields.file(runtime=True, default=None)
    """Clouds in place of those in the HDF5 files: ``<task>/<episode>/*.ply``, one a frame."""
    python: Literal["here"] | Path | None = fields.file(runtime=True, default=None)
    """Interpreter that RoboTwin is installed in, such as ``venv/bin/python``; ``here`` for the one
    that runs rgb2act. Left out, there are recorded episodes and nothing to act in."""
    root: Path | None = fields.file(runtime=True, default=None)
    """A checkout of RoboTwin; left out, the interpreter's package rlinf-robotwin-runtime."""
    assets: Path | None = fields.file(runtime=True, default=None)
    """RoboTwin's assets; left out, those that lie where its code looks for them."""
    task_config: str = "demo_clean"
    """Name of RoboTwin's configuration: clean or randomised scenes, cameras, lights."""
    camera: Literal["L515", "D435", "Large_L515", "Large_D435"] = "D435"
    """Kind of all cameras; D435 shows 240x320 pixels, L515 180x320, the large ones twice that."""
    shader: Literal["rt", "default"] = "rt"
    """Ray tracing as RoboTwin's, or the rasteriser, which a CPU can do: act with the one that the
    demonstrations were recorded with."""
    planner: Literal["curobo", "mplib"] = "curobo"
    """What plans the expert's moves: RoboTwin's curobo on a GPU, or mplib on a CPU."""
    fps: Literal["pytorch3d", "numpy"] = "pytorch3d"
    """What samples point clouds: RoboTwin's pytorch3d on a GPU, or numpy on a CPU."""
    eval_instructions: Literal["seen", "unseen"] = "unseen"
    """Which of RoboTwin's instructions an episode that is acted in carries."""
    overshoot: Literal["error", "clip"] = "error"
    """What to do with an action beyond the joints' limits: say which one and end, or move to the
    limit and count it."""
    start_seconds: float = fields.runtime(default=600.0)
    """Longest wait for the simulator to start."""
    episode_seconds: float = fields.runtime(default=900.0)
    """Longest wait for a scene and its first image, or for the expert."""
    step_seconds: float = fields.runtime(default=180.0)
    """Longest wait for an action."""
    simulator: str = attrs.field(init=False)  # the code that simulates, as far as files tell

    def __attrs_post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(*problems)
        object.__setattr__(self, "simulator", version_of(self.python, self.root))

    def _problems(self) -> Iterator[str]:
        if not self.task or "/" in self.task:
            yield f"robotwin.task: {self.task!r} is no task's name; give one such as 'lift_pot'"
        if self.data is not None and (
            "_traj_data" in self.data.parts or self.data.suffix == ".pkl"
        ):
            yield f"robotwin.data: {str(self.data)!r} cannot give actions: {SEGMENTS}"
        for field, names in (("cameras", self.cameras), ("cloud_cameras", self.cloud_cameras)):
            known = [camera_name(name) for name in names]
            if len(set(known)) < len(known) or "" in known or (field == "cameras" and not known):
                yield (
                    f"robotwin.{field}: needs each camera once, got {names!r}; choose from"
                    f" {', '.join(CAMERAS)}"
                )
        if self.limit is not None and self.limit < 1:
            yield f"robotwin.limit: {self.limit!r} is below 1; leave it out to read all episodes"
        if self.cloud_points < 0:
            yield f"robotwin.cloud_points: {self.cloud_points!r} is below 0; 0 keeps all points"
        if not all(a < b for a, b in zip(self.crop_low, self.crop_high, strict=True)):
            yield (
                f"robotwin.crop_low: {self.crop_low!r} is not below crop_high {self.crop_high!r};"
                " give the box's lowest corner first"
            )
        for field in ("start_seconds", "episode_seconds", "step_seconds"):
            if not getattr(self, field) > 0:
                yield f"robotwin.{field}: {getattr(self, field)!r} is not above 0"
        if not self.task_config or "/" in self.task_config:
            yield (
                f"robotwin.task_config: {self.task_config!r} is no name; give that of a file in"
                " RoboTwin's task_config, without .yml"
            )
        if self.python is None and (self.root or self.assets):
            yield "robotwin.python: missing; root and assets need the interpreter of RoboTwin"
        if self.data is None and (self.frames or self.points):
            yield "robotwin.data: missing; frames and points need the HDF5 files with the actions"

    @property
    def views(self) -> tuple[str, ...]:
        """Return the cameras by RoboTwin's own names."""
        return tuple(camera_name(name) for name in self.cameras)


def camera_name(name: str) -> str:
    """Return RoboTwin's own name of a camera, whatever layout the given one is from."""
    return ALIASES.get(name, name)
