"""What actions mean, judged by the joints that follow them.

``actions[t]`` should be close to ``joints[t + 1]``. All values are on the common scale.

Shapes: T = frames of an episode, A = action dimensions, J = joints that are no grippers
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..interfaces import Finding, Severity
from .recordings import MOVES, Recordings

EQUAL = 1e-6  # actions this close to the joints are copies of them
NEARER = 4.0  # another meaning must fit this many times better than the next frame's joints
CLEAR = 0.1  # smallest distance from the next joints that can show relative actions
SMALLEST_STEP = 0.003  # of a motion whose direction can be told
APART = 0.25  # largest drift of a joint, and largest share of its range
FEWEST = 9  # frames whose thirds can be compared

Floats = NDArray[np.float64]


def relative(data: Recordings) -> Iterator[Finding]:
    """Find episodes whose actions are much nearer to 0 than to the joints of the next frame."""
    for recording in data.each:
        joints_TJ, actions_TJ = recording.joints[:, data.arms], recording.actions[:, data.arms]
        if len(joints_TJ) < 3:
            continue
        from_next = _median_distance(actions_TJ[:-1], joints_TJ[1:])
        from_zero = _median_distance(actions_TJ, np.zeros_like(actions_TJ))
        if from_next > CLEAR and from_zero * NEARER < from_next:
            yield Finding(
                severity=Severity.WARNING,
                rule="relative",
                source=recording.source,
                problem="actions look relative to the present joints: their median distance is"
                f" {from_zero:.2g} from 0 and {from_next:.2g} from the joints of the next frame",
                remedy="record absolute joint targets, or add the joints to the actions",
            )


def present_state(data: Recordings) -> Iterator[Finding]:
    """Find episodes whose actions repeat the joints of their own frame."""
    for recording in data.each:
        joints_TA, actions_TA = recording.joints, recording.actions
        if len(joints_TA) < 3 or recording.joint_range.max() <= MOVES:
            continue
        exact = bool((np.abs(actions_TA - joints_TA) <= EQUAL).all())
        moving = _moving(joints_TA[:, data.arms])
        if not exact and moving.sum() < 3:
            continue
        now, after = (joints_TA[at][:, data.arms][moving] for at in (slice(-1), slice(1, None)))
        commands = actions_TA[:-1][:, data.arms][moving]
        if exact or NEARER**2 * _median_distance(commands, now) < _median_distance(commands, after):
            yield Finding(
                severity=Severity.ERROR if exact else Severity.WARNING,
                rule="present_state",
                source=recording.source,
                problem=f"actions {'equal' if exact else 'are close to'} the joints of their own"
                " frame, so a policy learns to stand still",
                remedy="record the commands, or use the joints of the next frame as actions",
            )


def order(data: Recordings) -> Iterator[Finding]:
    """Find episodes whose actions fit the frame before: frames in reverse, or actions too late."""
    for recording in data.each:
        joints_TJ, actions_TJ = recording.joints[:, data.arms], recording.actions[:, data.arms]
        if len(joints_TJ) < 5:
            continue
        inner = slice(1, -1)
        moving = _moving(joints_TJ)[1:]
        if moving.sum() < 3:
            continue
        after = _median_distance(actions_TJ[inner][moving], joints_TJ[2:][moving])
        before = _median_distance(actions_TJ[inner][moving], joints_TJ[:-2][moving])
        if after > SMALLEST_STEP and before * NEARER < after:
            yield Finding(
                severity=Severity.WARNING,
                rule="order",
                source=recording.source,
                problem="actions fit the joints of the frame before, so frames are in reverse order"
                " or actions are two frames late",
                remedy="sort the frames by time, or shift the actions",
            )


def drift(data: Recordings) -> Iterator[Finding]:
    """Find joints that follow their actions at a large or growing distance."""
    limits_A = APART * np.maximum(1.0, data.range)
    for recording in data.each:
        apart_TA = recording.actions[:-1] - recording.joints[1:]
        if len(apart_TA) < FEWEST:
            continue
        thirds_3A = np.stack([np.median(part, axis=0) for part in np.array_split(apart_TA, 3)])
        largest_A = np.maximum(np.abs(thirds_3A).max(0), np.ptp(thirds_3A, axis=0))
        for joint in data.arms:
            if largest_A[joint] > limits_A[joint] and not _relative(recording.actions, apart_TA):
                start, end = (data.value(joint, thirds_3A[i, joint]) for i in (0, -1))
                yield Finding(
                    severity=Severity.WARNING,
                    rule="drift",
                    source=recording.source,
                    subject=data.names[joint],
                    frame=int(np.argmax(np.abs(apart_TA[:, joint]) > limits_A[joint])),
                    problem=f"{data.names[joint]} is far from its actions: they differ by {start}"
                    f" in the first third of the episode and by {end} in the last",
                    remedy="check that actions and joints list the same joints in the same unit,"
                    " and calibrate the joint",
                )


def _relative(actions_TA: Floats, apart_TA: Floats) -> bool:
    """Return whether all actions are near 0, which the rule ``relative`` reports."""
    return NEARER * float(np.median(np.linalg.norm(actions_TA, axis=1))) < float(
        np.median(np.linalg.norm(apart_TA, axis=1))
    )


def _moving(joints_TJ: Floats) -> NDArray[np.bool_]:
    """Return which steps to the next frame (T - 1,) move a joint."""
    return np.asarray(np.abs(np.diff(joints_TJ, axis=0)).max(1) > SMALLEST_STEP)


def _median_distance(one_TJ: Floats, two_TJ: Floats) -> float:
    return float(np.median(np.linalg.norm(one_TJ - two_TJ, axis=1)))
