"""Joints that do not move although they should.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..data.action_layout import side
from ..interfaces import Finding, Severity
from .recordings import Recording, Recordings

CLEAR = 0.2  # a motion of this size would be visible in the other array, on the common scale
STILL = 1e-6  # range of values that are equal, apart from rounding
BUSY = 0.05  # range of a joint that moves
FEWEST = 3  # joints of an arm that can be compared


def dead_joints(data: Recordings) -> Iterator[Finding]:
    """Find joints whose measurement or command is constant while the other one moves, and joints
    that are constant while all others of their arm move.

    A joint may approach a constant command in the first half of an episode. Grippers are not
    judged: an object stops them.
    """
    for recording in data.each:
        joints_A, actions_A = recording.joint_range, recording.action_range
        settled_A = np.ptp(recording.joints[len(recording.joints) // 2 :], axis=0)
        for joint in data.arms.tolist():
            if joints_A[joint] <= STILL and actions_A[joint] > CLEAR:
                yield _finding(data, recording, joint, "joints", "its actions move")
            if actions_A[joint] <= STILL and settled_A[joint] > CLEAR:
                yield _finding(data, recording, joint, "actions", "the joint moves")
    yield from _unlike_their_arm(data)


def _unlike_their_arm(data: Recordings) -> Iterator[Finding]:
    for arm in _arms(data):
        for k, joint in enumerate(arm):
            busy = [recording for recording in data.each if _others_move(recording, arm, k)]
            rests = [bool(recording.joint_range[joint] <= STILL) for recording in busy]
            if rests and 0.5 < np.mean(rests) < 1:  # such a joint often rests
                continue
            for recording, resting in zip(busy, rests, strict=True):
                if resting and recording.action_range[joint] <= CLEAR:
                    what = "all other joints of its arm move"
                    yield _finding(data, recording, joint, "joints", what)


def _others_move(recording: Recording, arm: Sequence[int], k: int) -> bool:
    """Return whether all joints of an arm except the k-th move."""
    return all(recording.joint_range[joint] > BUSY for i, joint in enumerate(arm) if i != k)


def _arms(data: Recordings) -> list[Sequence[int]]:
    """Return the joints of each arm, without grippers, of arms with enough joints."""
    arms: dict[str, list[int]] = {}
    for joint in data.arms.tolist():
        arms.setdefault(side(data.names[joint]), []).append(joint)
    return [arm for arm in arms.values() if len(arm) > FEWEST]


def _finding(data: Recordings, recording: Recording, joint: int, what: str, while_: str) -> Finding:
    name = data.names[joint]
    return Finding(
        severity=Severity.WARNING,
        rule="dead_joint",
        source=recording.source,
        subject=name,
        problem=f"{name} of the {what} is constant in the episode, while {while_}",
        remedy="check the sensor and the recorder; if the joint is locked, set"
        " [collect] accept_findings = ['dead_joint']",
    )
