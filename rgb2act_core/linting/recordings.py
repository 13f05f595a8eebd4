"""The episodes that the rules judge, with joints and actions in comparable units.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import is_gripper
from ..data.splits import evenly_spaced
from ..interfaces import EnvironmentInfo, Episode, Unit

# Factors from each unit to a common scale on which 1 is a large motion of a joint, as 1 radian is.
# Joints of another unit are divided by their own range.
SCALES = {
    Unit.RADIANS: 1.0,
    Unit.DEGREES: np.pi / 180,
    Unit.METRES: 2.0,
    Unit.MILLIMETRES: 0.002,
    Unit.FRACTION: 1.0,
    Unit.PERCENT: 0.01,
}
LEAVE_OUT = "leave the episode out (robotwin, lerobot: [environment] skip)"
MOVES = 0.01  # smallest motion of a joint that counts, on the common scale

Floats = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Sample:
    """How many images and point clouds are read."""

    episodes: int = 60
    """Largest number of episodes, evenly spaced over the data set."""
    positions: int = 3
    """Positions in each of these, evenly spaced. At each, two consecutive frames are compared."""


@attrs.frozen(eq=False, kw_only=True)
class Recording:
    """One episode, and its joints and actions on the common scale."""

    episode: Episode
    joints: Floats  # (T, A)
    actions: Floats  # (T, A)

    @cached_property
    def joint_range(self) -> Floats:
        """Range of each measured joint (A,)."""
        return np.asarray(np.ptp(self.joints, axis=0))

    @cached_property
    def action_range(self) -> Floats:
        """Range of each action (A,)."""
        return np.asarray(np.ptp(self.actions, axis=0))

    @property
    def source(self) -> str:
        """How findings name the episode."""
        return f"episode {self.episode.name}"


@attrs.frozen(eq=False, kw_only=True)
class Recordings:
    """The valid episodes of a data set."""

    info: EnvironmentInfo
    units: tuple[Unit, ...]  # of each action dimension
    scale: Floats  # (A,) from the units of the data to the common scale
    each: tuple[Recording, ...]
    sample: Sample | None = None  # None: images and point clouds are not read

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the action dimensions."""
        return self.info.action_names

    @cached_property
    def arms(self) -> NDArray[np.int64]:
        """Indices of the joints that are no grippers; all if there are only grippers."""
        arms = [i for i, name in enumerate(self.names) if not is_gripper(name)]
        return np.asarray(arms or range(len(self.names)), np.int64)

    @cached_property
    def range(self) -> Floats:
        """Range of the measured joints over all episodes (A,), on the common scale."""
        low_A = np.min([recording.joints.min(0) for recording in self.each], axis=0)
        high_A = np.max([recording.joints.max(0) for recording in self.each], axis=0)
        return np.asarray(high_A - low_A)

    @property
    def sampled(self) -> list[Recording]:
        """The episodes whose images and clouds are read."""
        if self.sample is None:
            return []
        return [self.each[i] for i in evenly_spaced(len(self.each), self.sample.episodes)]

    def value(self, joint: int, scaled: float) -> str:
        """Return a value of a joint in the unit of the data, as text."""
        return f"{scaled / self.scale[joint]:.4g}"


def units_of(info: EnvironmentInfo) -> tuple[Unit, ...]:
    """Return the unit of each action dimension."""
    if info.units:
        return info.units
    return tuple(Unit.FRACTION if is_gripper(n) else Unit.RADIANS for n in info.action_names)


def recordings_of(
    info: EnvironmentInfo, episodes: Sequence[Episode], sample: Sample | None
) -> Recordings:
    """Return valid episodes with joints and actions, on the common scale."""
    units = units_of(info)
    pairs = [
        (episode, np.asarray(episode.joints, np.float64), np.asarray(episode.actions, np.float64))
        for episode in episodes
        if episode.joints is not None and episode.actions is not None
    ]
    scale_A = np.array([SCALES.get(unit, 0.0) for unit in units])
    if pairs and not scale_A.all():
        joints = [joints_TA for _, joints_TA, _ in pairs]
        range_A = np.ptp([[j.min(0), j.max(0)] for j in joints], axis=(0, 1))
        scale_A = np.where(scale_A > 0, scale_A, 1 / np.maximum(range_A, 1e-9))
    return Recordings(
        info=info,
        units=units,
        scale=scale_A,
        sample=sample,
        each=tuple(
            Recording(episode=episode, joints=joints_TA * scale_A, actions=actions_TA * scale_A)
            for episode, joints_TA, actions_TA in pairs
        ),
    )


def inner_positions(length: int, count: int) -> list[int]:
    """Return up to ``count`` different indices of ``length``, away from both ends."""
    indices = (np.arange(count) + 0.5) * length / count
    return [int(index) for index in np.unique(indices.astype(np.int64))]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as text, the first few of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
