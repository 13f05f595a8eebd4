"""Joint states and actions of a recorded episode, checked.

Shapes: R = rows of the file, N = rows with an action, T = kept frames, A = 14 joints and grippers
"""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from .frame_selection import FrameRule, select_frames
from .layouts import Layout

ACTION_NAMES = tuple(
    f"{side}_{name}"
    for side in ("left", "right")
    for name in (*(f"joint{i}" for i in range(1, 7)), "gripper")
)
GRIPPER = (-0.05, 1.05)
KEEP_ALL = FrameRule()

Floats = NDArray[np.float32]


@attrs.frozen(eq=False, kw_only=True)
class JointTrajectory:
    """Joints and actions of the kept frames of an episode."""

    rows: NDArray[np.int64]  # (T,) row of each frame in the file
    joints: Floats  # (T, A)
    actions: Floats  # (T, A) lead to the joints of the next kept frame


def read_trajectory(path: Path, layout: Layout, rule: FrameRule = KEEP_ALL) -> JointTrajectory:
    """Return joints and actions of the frames of a file that the rule keeps."""
    joints_NA, actions_NA = _read_chain(path, layout)
    rows = np.arange(len(joints_NA))
    return keep_frames(JointTrajectory(rows=rows, joints=joints_NA, actions=actions_NA), rule)


def keep_frames(trajectory: JointTrajectory, rule: FrameRule) -> JointTrajectory:
    """Return the frames of a trajectory that the rule keeps."""
    kept = select_frames(trajectory.joints, rule)
    return JointTrajectory(
        rows=trajectory.rows[kept.rows],
        joints=trajectory.joints[kept.rows],
        actions=trajectory.actions[kept.action_rows],
    )


def check_rows(path: Path, layout: Layout, key: str) -> None:
    """Raise UserError unless an array has as many rows as the joints.

    Where actions are the next row of the joints, the last row may be missing: it is not used.
    """
    have, rows = (hdf5.array_info(path, each).rows for each in (key, layout.state[0]))
    if have != rows and not (have == rows - 1 and not layout.actions):
        raise UserError(f"{path}: {key}: has {have} frames, {layout.state[0]} has {rows}; {REMEDY}")


def _read_chain(path: Path, layout: Layout) -> tuple[Floats, Floats]:
    """Return joints and actions (N, A) of all frames that have an action."""
    state_RA = read_joints(path, layout.state)
    _check_grippers(path, layout.state, state_RA)
    if layout.actions:
        joints_NA, actions_NA = state_RA, _read_actions(path, layout, state_RA)
    else:
        joints_NA, actions_NA = state_RA[:-1], state_RA[1:]
    if not len(joints_NA):
        least = "needs at least 1" if layout.actions else "needs at least 2: a frame and the next"
        raise UserError(f"{path}: {layout.state[0]}: has {len(state_RA)} frames, {least}; {REMEDY}")
    return joints_NA, actions_NA


def _read_actions(path: Path, layout: Layout, state_RA: Floats) -> Floats:
    actions_RA = read_joints(path, layout.actions)
    _check_grippers(path, layout.actions, actions_RA)
    if len(actions_RA) != len(state_RA):
        raise UserError(
            f"{path}: {layout.actions[0]}: has {len(actions_RA)} rows, {layout.state[0]}"
            f" {len(state_RA)}; {REMEDY}"
        )
    if len(state_RA) > 1 and (actions_RA == state_RA).all() and np.ptp(state_RA, axis=0).any():
        raise UserError(
            f"{path}: {layout.actions[0]}: every action equals the state of its own frame,"
            " so a policy cannot learn from it; convert it without --same-index-action"
        )
    return actions_RA


def read_joints(path: Path, keys: tuple[str, ...]) -> Floats:
    """Return float32 (R, 14): left arm, left gripper, right arm, right gripper."""
    parts = [hdf5.read_numbers(path, key) for key in keys]
    if len({len(part) for part in parts}) > 1:
        lengths = ", ".join(f"{k} {len(p)}" for k, p in zip(keys, parts, strict=True))
        raise UserError(f"{path}: the arrays have different numbers of rows: {lengths}; {REMEDY}")
    for key, part in zip(keys, parts, strict=True):
        wanted = len(ACTION_NAMES) if len(keys) == 1 else 6 if "arm" in key else 1
        if part.ndim != 2 or part.shape[1] != wanted:
            raise UserError(
                f"{path}: {key}: has shape {part.shape}, expected (frames, {wanted}): two arms of"
                " six joints with grippers; use data of such a robot, such as aloha-agilex"
            )
    values_RA = np.concatenate(parts, axis=1)
    with np.errstate(over="ignore"):  # reported below
        joints_RA = values_RA.astype(np.float32)
    if (beyond_RA := np.isfinite(values_RA) & ~np.isfinite(joints_RA)).any():
        row, column = np.argwhere(beyond_RA)[0]
        raise UserError(
            f"{path}: {keys[0]}: row {row}: {ACTION_NAMES[column]} is {values_RA[row, column]:g},"
            f" which is not a joint angle; {REMEDY}"
        )
    return joints_RA


def _check_grippers(path: Path, keys: tuple[str, ...], values_RA: Floats) -> None:
    for i, name in enumerate(ACTION_NAMES):
        if name.endswith("gripper"):
            wrong = np.flatnonzero((values_RA[:, i] < GRIPPER[0]) | (values_RA[:, i] > GRIPPER[1]))
            if len(wrong):
                value = values_RA[wrong[0], i].item()
                key = keys[0] if len(keys) == 1 else keys[1 if name.startswith("left") else 3]
                raise UserError(
                    f"{path}: {key}: frame {wrong[0]}: {name} is {value!r}, expected 0 (closed)"
                    f" to 1 (open); {REMEDY}"
                )
