"""Point clouds: missing, empty, not finite, of another scale, far away, or without colours.

Clouds that are in memory are all judged; of others, a sample is read.

Shapes: P = points
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..data.splits import evenly_spaced
from ..errors import UserError
from ..interfaces import Finding, PointCloud, Severity
from .recordings import LEAVE_OUT, Recording, Recordings

FAR = 20.0  # metres: a workspace is nearer
SMALL = 0.02  # metres: extent of a cloud that is no scene
SHARE = 0.05  # of the points; fewer far ones are stray
POINTS = 8  # fewest points whose extent is judged

Problem = tuple[Severity, str, str]  # severity, kind, text
REMEDIES = {
    "missing": f"record them, or {LEAVE_OUT}",
    "scale": "convert the clouds to metres",
    "far": "crop the clouds, or record them in the frame of the robot",
    "colours": "store colours from 0 to 255, or floats from 0 to 1",
}


def clouds(data: Recordings) -> Iterator[Finding]:
    """Find point clouds that a teacher cannot learn from."""
    having = [recording.episode.clouds is not None for recording in data.each]
    if any(having) and not all(having):
        missing = data.each[having.index(False)]
        text = f"has no point clouds, {sum(having)} of {len(having)} episodes have them"
        yield _finding(missing, None, (Severity.WARNING, "missing", text))
    for recording in data.sampled if data.sample else ():
        for frame in _frames(data, recording):
            assert recording.episode.clouds is not None
            try:
                cloud = recording.episode.clouds[frame]
            except UserError as err:
                yield _finding(recording, frame, (Severity.ERROR, "unreadable", str(err)))
                continue
            for problem in _problems(cloud):
                yield _finding(recording, frame, problem)


def _frames(data: Recordings, recording: Recording) -> list[int]:
    clouds = recording.episode.clouds
    if clouds is None or data.sample is None:
        return []
    if isinstance(clouds, list | tuple):
        return list(range(len(clouds)))
    return [int(t) for t in evenly_spaced(len(clouds), data.sample.positions)]


def _problems(cloud: PointCloud) -> Iterator[Problem]:
    xyz_P3, rgb_P3 = np.asarray(cloud.xyz), np.asarray(cloud.rgb)
    if not len(xyz_P3):
        yield Severity.ERROR, "empty", "the point cloud has no points"
        return
    finite_P = np.isfinite(xyz_P3).all(1)
    if not finite_P.all():
        count = int((~finite_P).sum())
        yield Severity.ERROR, "finite", f"{count} of {len(xyz_P3)} points contain NaN or infinity"
        xyz_P3, rgb_P3 = xyz_P3[finite_P], rgb_P3[finite_P]
    if len(xyz_P3):
        yield from _scale(xyz_P3)
        yield from _colours(rgb_P3)


def _scale(xyz_P3: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Iterator[Problem]:
    centre_3 = np.median(xyz_P3, axis=0)
    distance_P = np.abs(xyz_P3 - centre_3).max(1)
    extent = float(np.quantile(distance_P, 1 - SHARE))
    if extent > FAR:
        text = f"points look like millimetres, expected metres: they are {extent:.0f} apart"
        yield Severity.ERROR, "scale", text
    elif np.abs(centre_3).max() > FAR:
        text = f"points are far away: their centre is at {np.round(centre_3, 1).tolist()} metres"
        yield Severity.WARNING, "far", text
    elif distance_P.max() > FAR:
        count = int((distance_P > FAR).sum())
        text = f"{count} points are up to {distance_P.max():.0f} metres from the others"
        yield Severity.WARNING, "far", text
    elif extent < SMALL and len(xyz_P3) >= POINTS:
        text = f"points look like kilometres, expected metres: their extent is {2 * extent:.2g}"
        yield Severity.WARNING, "scale", text


def _colours(rgb_P3: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Iterator[Problem]:
    if rgb_P3.dtype != np.uint8:
        yield Severity.ERROR, "colours", f"colours are {rgb_P3.dtype}, expected uint8 from 0 to 255"
    elif rgb_P3.max() <= 1:
        text = f"colours are at most {rgb_P3.max()}: floats from 0 to 1 were cut to integers"
        yield Severity.WARNING, "colours", text
    elif len(rgb_P3) >= POINTS and (rgb_P3 == rgb_P3[0]).all():
        yield Severity.NOTE, "colours", f"all points have the colour {rgb_P3[0].tolist()}"


def _finding(recording: Recording, frame: int | None, problem: Problem) -> Finding:
    severity, kind, text = problem
    return Finding(
        severity=severity,
        rule="cloud",
        source=recording.source,
        subject=kind,
        frame=frame,
        problem=text,
        remedy=REMEDIES.get(kind, f"record the episode again, or {LEAVE_OUT}"),
    )
