"""Single values that are far from all others and stretch the range of a joint.

Shapes: N = frames of all episodes, T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..interfaces import Finding, Severity
from .recordings import LEAVE_OUT, Recording, Recordings

SHARE = 0.05  # largest share of all frames that can be outliers
GAP = 3.0  # gap between outliers and all other values, in widths of these
FLOOR = 0.1  # smallest width, on the common scale
SUDDEN = 0.5  # outliers are reached in one step of at least this share of their distance

Floats = NDArray[np.float64]


def outliers(data: Recordings) -> Iterator[Finding]:
    """Find joints and actions that leave the range of all other values in one step.

    The values of a joint are sorted. Values beyond a gap that is wide compared with the spread of
    the values on its inner side are outliers.
    """
    for what in ("joints", "actions"):
        for joint in data.arms.tolist():
            columns = [getattr(recording, what)[:, joint] for recording in data.each]
            sorted_N = np.sort(np.concatenate(columns))
            limits = _limits(sorted_N)
            if limits != (sorted_N[0], sorted_N[-1]):
                for recording, values_T in zip(data.each, columns, strict=True):
                    yield from _findings(data, recording, what, joint, values_T, limits)


def _limits(sorted_N: Floats) -> tuple[float, float]:
    """Return the lowest and highest value that are no outliers."""
    count = min(max(int(SHARE * len(sorted_N)), 1), (len(sorted_N) - 1) // 2)
    middle = float(np.median(sorted_N))
    edge = max(count, len(sorted_N) // 20)
    spread = max(
        middle - sorted_N[edge] if len(sorted_N) > 2 else 0.0,
        sorted_N[-1 - edge] - middle if len(sorted_N) > 2 else 0.0,
        FLOOR,
    )
    return -_highest(-sorted_N[::-1], -middle, spread, count), _highest(
        sorted_N, middle, spread, count
    )


def _highest(sorted_N: Floats, middle: float, spread: float, count: int) -> float:
    """Return the value below the first wide gap among the largest values; else the largest."""
    if count < 1:
        return float(sorted_N[-1])
    tail = sorted_N[-1 - count :]
    width = np.maximum(tail[:-1] - middle, spread)
    wide = np.flatnonzero(np.diff(tail) > GAP * width)
    return float(tail[wide[0]] if len(wide) else tail[-1])


def _findings(
    data: Recordings,
    recording: Recording,
    what: str,
    joint: int,
    values_T: Floats,
    limits: tuple[float, float],
) -> Iterator[Finding]:
    low, high = limits
    distance_T = np.maximum(np.maximum(low - values_T, values_T - high), 0.0)
    frame = int(np.argmax(distance_T))
    if not distance_T[frame] or not _is_sudden(values_T, distance_T):
        return
    name = data.names[joint]
    share = (high - low) / (max(high, values_T.max()) - min(low, values_T.min()))
    yield Finding(
        severity=Severity.WARNING,
        rule="outlier",
        source=recording.source,
        subject=name,
        frame=frame,
        problem=f"{name} of the {what} is {data.value(joint, values_T[frame])}, all others are from"
        f" {data.value(joint, low)} to {data.value(joint, high)}; with normalise = 'limits' these"
        f" keep {share:.0%} of the range",
        remedy=f"correct the value or {LEAVE_OUT}, or set [policy] normalise = 'quantiles'",
    )


def _is_sudden(values_T: Floats, distance_T: Floats) -> bool:
    """Return whether the outliers are entered or left in one step, unlike those of a motion."""
    outside_T = distance_T > 0
    edges = np.flatnonzero(np.diff(outside_T.astype(np.int8)))
    if not len(edges):
        return False
    steps = np.abs(np.diff(values_T))[edges]
    return bool(steps.max() >= SUDDEN * distance_T.max())
