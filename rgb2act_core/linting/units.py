"""Values that look like another unit than the environment declares.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..interfaces import Finding, Severity, Unit
from .recordings import SCALES, Recording, Recordings, listed

TURN = 6.4  # radians: slightly more than a full turn
SHARE = 0.1  # of an episode's frames; fewer values are left to the rule ``outlier``
FEWEST = 3  # frames, likewise
GRIPPER = (-0.05, 1.05)  # fractions; measured grippers overshoot slightly
PERCENT = 1.5  # gripper values above it are no fractions
ARM = 5.0  # metres: no joint moves as far
FAR = 20.0  # metres: no hand is as far from the base
DECLARE = (
    "convert the recordings, or let the environment declare its units (lerobot: [environment] units"
    " and gripper_range; plugins: EnvironmentInfo.units)"
)


def _arrays(recording: Recording) -> Iterator[tuple[str, NDArray[np.float64]]]:
    yield "joints", recording.joints
    yield "actions", recording.actions


def _beyond(
    data: Recordings, unit: Unit, limit: float
) -> Iterator[tuple[Recording, str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield episodes in which joints of a unit are often larger than a limit, in that unit."""
    of_unit = np.array([u is unit for u in data.units])
    scaled = limit * SCALES[unit]
    for recording in data.each:
        for what, array_TA in _arrays(recording):
            often_A = _often(np.abs(array_TA) > scaled)
            joints = np.flatnonzero(often_A & of_unit)
            if len(joints):
                yield recording, what, joints, array_TA


def _often(beyond_TA: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which columns are true in many frames."""
    least = max(SHARE * len(beyond_TA), min(FEWEST, len(beyond_TA)))
    return np.asarray(beyond_TA.sum(0) >= least)


def _largest(array_TA: NDArray[np.float64], joints: NDArray[np.int64]) -> tuple[int, int]:
    """Return the frame and the joint of the largest value of some joints."""
    frame, k = np.unravel_index(np.abs(array_TA[:, joints]).argmax(), (len(array_TA), len(joints)))
    return int(frame), int(joints[k])


def degrees(data: Recordings) -> Iterator[Finding]:
    """Find joints declared in radians that are beyond a full turn in many frames."""
    for recording, what, joints, array_TA in _beyond(data, Unit.RADIANS, TURN):
        frame, joint = _largest(array_TA, joints)
        names = listed([data.names[i] for i in joints])
        yield Finding(
            severity=Severity.ERROR,
            rule="degrees",
            source=recording.source,
            subject=what,
            frame=frame,
            problem=f"{what} look like degrees, expected radians:"
            f" {data.names[joint]} is {array_TA[frame, joint]:.4g} ({names})",
            remedy=DECLARE,
        )


def radians(data: Recordings) -> Iterator[Finding]:
    """Find a data set declared in degrees that never leaves the range of a turn in radians."""
    arms = [i for i in data.arms if data.units[i] is Unit.DEGREES]
    if not arms or len(arms) < len(data.arms):
        return
    limit = TURN * SCALES[Unit.DEGREES]
    largest_A = np.max([np.abs(r.joints[:, arms]).max(0) for r in data.each], axis=0)
    if largest_A.max() <= limit and data.range[arms].max() > SCALES[Unit.DEGREES]:
        yield Finding(
            severity=Severity.WARNING,
            rule="radians",
            source=data.each[0].source,
            problem="joints look like radians, expected degrees: none is beyond"
            f" {largest_A.max() / SCALES[Unit.DEGREES]:.2f} in any episode",
            remedy=DECLARE,
        )


def gripper_range(data: Recordings) -> Iterator[Finding]:
    """Find fractions outside 0 to 1."""
    low, high = GRIPPER
    for joint in (i for i, unit in enumerate(data.units) if unit is Unit.FRACTION):
        for recording in data.each:
            for what, array_TA in _arrays(recording):
                values_T = array_TA[:, joint]
                wrong_T = (values_T < low) | (values_T > high)
                if not wrong_T.any():
                    continue
                frame = int(np.argmax(wrong_T))
                percent = bool(_often(values_T > PERCENT))
                guess = "looks like 0 to 100: it" if percent else "it"
                yield Finding(
                    severity=Severity.ERROR if percent else Severity.WARNING,
                    rule="gripper_range",
                    source=recording.source,
                    subject=f"{what} of {data.names[joint]}",
                    frame=frame,
                    problem=f"{data.names[joint]} of the {what} {guess} is {values_T[frame]:.4g},"
                    " expected 0 (closed) to 1 (open)",
                    remedy=DECLARE,
                )


def millimetres(data: Recordings) -> Iterator[Finding]:
    """Find prismatic joints and hands whose positions look like millimetres."""
    for recording, what, joints, array_TA in _beyond(data, Unit.METRES, ARM):
        frame, joint = _largest(array_TA, joints)
        yield Finding(
            severity=Severity.ERROR,
            rule="millimetres",
            source=recording.source,
            subject=what,
            frame=frame,
            problem=f"{what} look like millimetres, expected metres: {data.names[joint]} is"
            f" {data.value(joint, array_TA[frame, joint])}",
            remedy=DECLARE,
        )
    for recording in data.each:
        for name in sorted({*data.info.hand_states} & {*recording.episode.state}):
            hands_T = np.abs(recording.episode.state[name]).reshape(len(recording.joints), -1)
            if _often(hands_T.max(1) > FAR):
                frame = int(np.argmax(hands_T.max(1) > FAR))
                yield Finding(
                    severity=Severity.ERROR,
                    rule="millimetres",
                    source=recording.source,
                    subject=name,
                    frame=frame,
                    problem=f"state {name} looks like millimetres, expected metres: it is"
                    f" {hands_T[frame].max():.4g}",
                    remedy="convert the recordings",
                )
