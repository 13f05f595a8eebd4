"""Joints that jump from one frame to the next.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..interfaces import Finding, Severity
from .recordings import LEAVE_OUT, Recordings

USUAL = 99.0  # percentile of the steps of a joint that are usual
TIMES = 8.0  # a jump is this many times longer than a usual step
LONGEST = 0.5  # steps up to this length are no jumps, on the common scale


def jumps(data: Recordings) -> Iterator[Finding]:
    """Find steps of a joint that are far longer than its usual ones.

    Frames that are missing, in the wrong order or of two episodes in one file look like this, and
    so do angles that wrap around.
    """
    steps = [np.abs(np.diff(r.joints, axis=0)) for r in data.each]
    if not sum(map(len, steps)):
        return
    limit_A = np.maximum(TIMES * np.percentile(np.concatenate(steps), USUAL, axis=0), LONGEST)
    for recording, steps_TA in zip(data.each, steps, strict=True):
        for joint in data.arms:
            beyond = np.flatnonzero(steps_TA[:, joint] > limit_A[joint])
            if not len(beyond):
                continue
            frame = int(beyond[0]) + 1
            values_T = recording.joints[frame - 1 : frame + 1, joint]
            before, after = (data.value(joint, value) for value in values_T)
            yield Finding(
                severity=Severity.WARNING,
                rule="jump",
                source=recording.source,
                subject=data.names[joint],
                frame=frame,
                problem=f"{data.names[joint]} jumps from {before} to {after} in one frame",
                remedy=f"check the order of the frames, and unwrap angles, or {LEAVE_OUT}",
            )
