"""Joints and actions of an episode: converted, and reduced to the kept frames.

Shapes: T = kept frames, R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import is_gripper

__all__ = ["MotionKeys", "is_gripper", "joints_and_actions", "kept_rows"]

Floats = NDArray[np.float32]


class MotionKeys(Protocol):
    """The keys of an ``[environment]`` table that describe recorded joints and actions."""

    @property
    def actions(self) -> str:
        """What actions are: ``absolute``, ``relative`` or ``next_state``."""

    @property
    def gripper_range(self) -> tuple[float, float] | None:
        """Values of a closed and of an open gripper; None if they are 0 to 1."""

    @property
    def stride(self) -> int:
        """Every how many frames one is kept."""


def joints_and_actions(
    joints_RA: Floats, actions_RA: Floats | None, names: Sequence[str], keys: MotionKeys
) -> tuple[Floats, Floats]:
    """Return joints and absolute actions (T, A) of the kept frames.

    Of every ``stride`` frames, the first one's joints and the last one's action are kept. Relative
    actions are added to the joints of their frame, grippers excepted. Only ``next_state`` needs no
    actions.
    """
    if keys.actions == "next_state":
        actions_RA = np.concatenate([joints_RA[1:], joints_RA[-1:]])
    if actions_RA is None:
        raise ValueError(f"actions are needed if keys.actions is {keys.actions!r}")
    if keys.actions == "relative":
        arms = [i for i, name in enumerate(names) if not is_gripper(name)]
        actions_RA = actions_RA.copy()
        actions_RA[:, arms] += joints_RA[:, arms]
    joints_RA, actions_RA = (
        _with_grippers(array_RA, names, keys.gripper_range) for array_RA in (joints_RA, actions_RA)
    )
    rows = kept_rows(len(joints_RA), keys.stride)
    last = np.minimum(rows + keys.stride - 1, len(joints_RA) - 1)
    return np.ascontiguousarray(joints_RA[rows]), np.ascontiguousarray(actions_RA[last])


def kept_rows(count: int, stride: int) -> NDArray[np.int64]:
    """Return the recorded frames (T,) that are kept."""
    return np.arange(0, count, stride, dtype=np.int64)


def _with_grippers(
    array_RA: Floats, names: Sequence[str], gripper_range: tuple[float, float] | None
) -> Floats:
    """Return joints with grippers from 0 closed to 1 open."""
    if gripper_range is None:
        return array_RA
    closed, opened = gripper_range
    grippers = [i for i, name in enumerate(names) if is_gripper(name)]
    out_RA = array_RA.copy()
    out_RA[:, grippers] = (array_RA[:, grippers].astype(np.float64) - closed) / (opened - closed)
    return out_RA
