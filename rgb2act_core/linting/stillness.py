"""Episodes that hardly move, and episodes that occur twice.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ..interfaces import Finding, Severity
from .recordings import LEAVE_OUT, Recording, Recordings

LARGEST_SHARE = 0.45  # of the steps of a data set or an episode that repeat joints and actions
FEWEST = 8  # frames of an episode that is judged
STILL = 1e-4  # range of joints and actions that do not move, on the common scale


def still(data: Recordings) -> Iterator[Finding]:
    """Find episodes without motion, and those in which many frames repeat the one before."""
    for recording in data.each:
        if len(recording.joints) < FEWEST:
            continue
        if max(recording.joint_range.max(), recording.action_range.max()) <= STILL:
            yield _finding(recording, None, "no joint moves in the episode", LEAVE_OUT)
            continue
        repeats_T = _repeats(recording)
        if (share := repeats_T.mean()) >= LARGEST_SHARE:
            yield _finding(
                recording,
                int(np.argmax(repeats_T)) + 1,
                f"{share:.0%} of the frames repeat joints and actions of the frame before",
                "drop still frames (robotwin: duplicates = 'drop'), or record at the control rate",
            )


def _repeats(recording: Recording) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which frames (T - 1,) repeat joints and actions of the frame before."""
    same = [(np.diff(a, axis=0) == 0).all(1) for a in (recording.joints, recording.actions)]
    return np.asarray(same[0] & same[1])


def _finding(recording: Recording, frame: int | None, problem: str, remedy: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        rule="still",
        source=recording.source,
        frame=frame,
        problem=problem,
        remedy=remedy,
    )


def duplicate_episodes(data: Recordings) -> Iterator[Finding]:
    """Find episodes with the same joints and actions as an earlier one."""
    first: dict[bytes, Recording] = {}
    for recording in data.each:
        if recording.joint_range.max() <= STILL:
            continue
        content = hashlib.blake2b(recording.joints.tobytes() + recording.actions.tobytes()).digest()
        known = first.setdefault(content, recording)
        if known is not recording:
            yield Finding(
                severity=Severity.NOTE,
                rule="duplicate_episode",
                source=recording.source,
                problem=f"has the same joints and actions as {known.source}, so it may be"
                " both trained on and held out",
                remedy=LEAVE_OUT,
            )
