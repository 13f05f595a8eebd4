"""Recorded times of the frames.

Shapes: T = frames of an episode
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..interfaces import Finding, Severity
from .recordings import Recording, Recordings

RATE = 0.2  # largest relative difference of the recorded rate from the declared one
GAP = 5.0  # longest time between frames, in median ones
FEWEST = 4  # frames of an episode whose rate is judged


def times(data: Recordings) -> Iterator[Finding]:
    """Find times that go backwards or stop, gaps, and another rate than the declared one."""
    for recording in data.each:
        if recording.episode.times is None:
            continue
        times_T = np.asarray(recording.episode.times, np.float64)
        if len(times_T) != len(recording.joints):
            problem = f"has {len(times_T)} times for {len(recording.joints)} frames"
            yield _finding(recording, Severity.ERROR, problem, None, "length")
        elif len(times_T) > 1:
            yield from _order(recording, times_T)
            if len(times_T) >= FEWEST:
                yield from _rate(data, recording, np.diff(times_T))


def _order(recording: Recording, times_T: NDArray[np.float64]) -> Iterator[Finding]:
    wrong = np.flatnonzero(~(np.diff(times_T) > 0))
    if len(wrong):
        frame = int(wrong[0]) + 1
        backwards = times_T[frame] < times_T[frame - 1]
        problem = (
            f"time {'goes backwards' if backwards else 'does not advance'}: {times_T[frame]:.4f} s"
            f" after {times_T[frame - 1]:.4f} s"
        )
        yield _finding(recording, Severity.ERROR, problem, frame, "order")


def _rate(
    data: Recordings, recording: Recording, steps_T: NDArray[np.float64]
) -> Iterator[Finding]:
    usual = float(np.median(steps_T))
    if usual <= 0:
        return
    longest = int(np.argmax(steps_T))
    if steps_T[longest] > GAP * usual:
        problem = (
            f"{steps_T[longest]:.3f} s without a frame, usually {usual:.3f} s; frames are missing"
        )
        yield _finding(recording, Severity.WARNING, problem, longest + 1, "gap")
    if abs(usual * data.info.control_hz - 1) > RATE:
        problem = (
            f"frames are {usual:.4f} s apart ({1 / usual:.1f} Hz), but the environment declares"
            f" {data.info.control_hz:.1f} Hz"
        )
        yield _finding(recording, Severity.WARNING, problem, None, "rate")


def _finding(
    recording: Recording, severity: Severity, problem: str, frame: int | None, subject: str
) -> Finding:
    return Finding(
        severity=severity,
        rule="time",
        source=recording.source,
        subject=subject,
        frame=frame,
        problem=problem,
        remedy="sort the frames by time, or record the episode again",
    )
