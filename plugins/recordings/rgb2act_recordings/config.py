"""The ``[environment]`` table. Importing this module imports no h5py."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from rgb2act_core import UserError
from rgb2act_core.interfaces import fields

LARGEST = 4096  # pixels of a resized image
COLUMNS = re.compile(r"(?P<key>[^\[\]]+)(\[(?P<first>\d{1,6}):(?P<last>\d{1,6})\])?")

# episodes enter cache keys by digests of what is read of them: the path is a runtime field


@attrs.frozen(kw_only=True)
class Recordings:
    """Recorded episodes in HDF5 files of ALOHA or robomimic, or in a zarr replay buffer of
    diffusion_policy. The format is recognised by the content."""

    data: Path = fields.file(runtime=True)
    """ALOHA: folder with ``episode_0.hdf5`` and so on, or one such file. robomimic: the HDF5 file.
    diffusion_policy: the folder or ``.zarr.zip`` file of the replay buffer."""
    filter: str = ""
    """robomimic only: name of a filter in ``mask``, such as ``train``. Only its demonstrations are
    read."""
    name: str = ""
    """Name of the task in results. Empty: made from the environment's name or the file's."""
    instruction: str = ""
    """The task in natural language. Empty: that of the recordings, or else the task's name."""
    cameras: tuple[str, ...] = ()
    """Cameras of the policy, in order: names of arrays of images. Empty: all."""
    resize: tuple[int, int] | None = None
    """Height and width that images are resized to. Needed if cameras have different sizes."""
    colours: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours in the files; ``bgr`` exchanges red and blue."""
    joints: tuple[str, ...] = ()
    """Arrays whose columns are the joints, one after the other; ``state[0:2]`` are columns 0 and 1.
    Empty: those that the format usually has."""
    actions: Literal["absolute", "relative", "next_state"] = "absolute"
    """What actions are: ``absolute`` joint targets, or targets ``relative`` to the joints of the
    frame (grippers excepted), which are added. ``next_state`` replaces the actions by the joints of
    the next frame, as commands of end effectors need it."""
    action_names: tuple[str, ...] = ()
    """Names of the joints. Empty: those of ALOHA's 14 joints, or else ``joint_0`` and so on."""
    states: tuple[str, ...] = ()
    """Further arrays of numbers to read as states, such as ``qvel``."""
    units: Literal["radians", "degrees", "metres", "percent", "other"] = "radians"
    """Unit of joints and actions, grippers excepted. Values are not converted: the policy's actions
    have the unit of the data, as the robot needs them."""
    gripper_range: tuple[float, float] | None = None
    """Values of a closed and of an open gripper; grippers are converted to 0 to 1. If omitted, they
    are 0 to 1 already."""
    control_hz: float | None = None
    """Recorded frames per second. Only robomimic's files have it; ALOHA's are recorded at 50 Hz."""
    stride: int = 1
    """Keep every n-th frame. Its action is the last one before the next kept frame."""
    limit: int | None = None
    """Maximum number of episodes; those with the lowest numbers are read."""
    skip: tuple[str, ...] = ()
    """Names of episodes to leave out, as listed by ``rgb2act inspect``."""

    def __attrs_post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(*problems)

    def _problems(self) -> Iterator[str]:
        for field in ("cameras", "action_names", "states", "joints"):
            names = getattr(self, field)
            if len(set(names)) < len(names) or "" in names:
                yield f"recordings.{field}: {names!r} has a name twice or ''; name each once"
        for text in self.joints:
            if not COLUMNS.fullmatch(text):
                yield f"recordings.joints: {text!r} is no array; write it as 'qpos' or 'state[0:2]'"
        if self.resize is not None and not all(1 <= side <= LARGEST for side in self.resize):
            yield f"recordings.resize: {self.resize!r} is not from 1 to {LARGEST} pixels per side"
        if self.gripper_range is not None:
            closed, opened = self.gripper_range
            if not (math.isfinite(closed) and math.isfinite(opened)) or closed == opened:
                yield (
                    f"recordings.gripper_range: {self.gripper_range!r} is no range; give the values"
                    " of a closed and of an open gripper, such as [0.0, 0.04]"
                )
        if self.control_hz is not None and not 0 < self.control_hz < math.inf:
            yield f"recordings.control_hz: {self.control_hz!r} is no rate; give frames per second"
        if self.stride < 1:
            yield f"recordings.stride: {self.stride!r} is below 1; 1 keeps all frames"
        if self.limit is not None and self.limit < 1:
            yield f"recordings.limit: {self.limit!r} is below 1; omit it to read all episodes"
        if set(self.name) & set("/\\") or self.name.startswith("."):
            yield f"recordings.name: {self.name!r} is no file name; leave out '/' and a leading '.'"
