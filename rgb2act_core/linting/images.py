"""Images that show nothing, and cameras that do not deliver new ones. A sample is read.

Shapes: T = frames of an episode, V = cameras, H W = pixels, S = sampled frames
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from ..interfaces import Finding, Severity
from .recordings import MOVES, Recording, Recordings, inner_positions

BLACK = 8  # pixels up to this value are black
BRIGHT = 250  # pixels from this value on are saturated
BLACK_SHARE = 0.98  # of the pixels of a black image
BRIGHT_SHARE = 0.7  # of the pixels of a saturated image
JUDGED = 64  # pixels per side that are judged, evenly spaced
CONTRAST = 2.0  # standard deviation of the pixels of an image that shows something
REPEATED = 0.5  # share of the sampled pairs of frames with equal images
FEWEST = 3  # pairs of frames from which the share of repeated images can be estimated
REMEDIES = {
    "exposure": "correct the exposure and record again, or leave the camera out",
    "frozen": "record with a camera that delivers a new image per frame, or leave the camera out",
}


@attrs.frozen(eq=False)
class _Pair:
    """Two consecutive frames of an episode, (2, V, H, W, 3)."""

    recording: Recording
    frame: int
    images: NDArray[np.uint8]
    moved: bool  # whether a joint moves between them

    def repeats(self, camera: int) -> bool:
        """Return whether a camera has the same image in both frames."""
        return np.array_equal(self.images[0, camera], self.images[-1, camera])


def _pairs(data: Recordings, recording: Recording) -> list[_Pair]:
    assert data.sample is not None
    frames = recording.episode.rgb.shape[0]
    starts = inner_positions(max(frames - 1, 1), data.sample.positions)
    steps_T = np.abs(np.diff(recording.joints, axis=0)).max(1, initial=0.0)
    return [
        _Pair(
            recording,
            start,
            np.asarray(recording.episode.rgb[start : start + 2]),
            bool(start < len(steps_T) and steps_T[start] > MOVES),
        )
        for start in starts
    ]


def cameras(data: Recordings) -> Iterator[Finding]:
    """Find images that are black, saturated or of one colour, and cameras that repeat an image."""
    repeats: dict[str, list[_Pair]] = {}
    compared = 0
    for recording in data.sampled:
        pairs = _pairs(data, recording)
        compared += sum(pair.moved for pair in pairs)
        for v, camera in enumerate(recording.episode.cameras):
            badly_exposed = list(_exposures(recording, pairs, v, camera))
            yield from badly_exposed
            if badly_exposed:
                continue
            if _is_frozen(recording, pairs, v):
                problem = "delivers one image in the entire episode, although joints move"
                yield _finding(recording, camera, "frozen", None, problem)
            else:
                repeats.setdefault(camera, []).extend(p for p in pairs if p.moved and p.repeats(v))
    for camera, equal in repeats.items():
        if compared >= FEWEST and len(equal) >= REPEATED * compared:
            problem = (
                f"repeats its image in {len(equal)} of {compared} sampled frames while joints move"
            )
            first = equal[0]
            yield _finding(first.recording, camera, "frozen", first.frame + 1, problem)


def _is_frozen(recording: Recording, pairs: Sequence[_Pair], camera: int) -> bool:
    moves = recording.joint_range.max() > 5 * MOVES
    first_HW3 = pairs[0].images[0, camera]
    return (
        bool(moves)
        and len(pairs) > 1
        and all(np.array_equal(views[camera], first_HW3) for p in pairs for views in p.images)
    )


def _exposures(
    recording: Recording, pairs: Sequence[_Pair], v: int, camera: str
) -> Iterator[Finding]:
    for pair in pairs:
        for offset, views in enumerate(pair.images):
            if problem := _exposure(views[v]):
                yield _finding(recording, camera, "exposure", pair.frame + offset, problem)
                return


def _finding(
    recording: Recording, camera: str, kind: str, frame: int | None, problem: str
) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        rule="camera",
        source=recording.source,
        subject=f"{camera} {kind}",
        frame=frame,
        problem=f"camera {camera} {problem}",
        remedy=REMEDIES[kind],
    )


def _exposure(image_HW3: NDArray[np.uint8]) -> str:
    step = max(min(image_HW3.shape[:2]) // JUDGED, 1)
    image_HW3 = image_HW3[::step, ::step]
    black = float((image_HW3.max(-1) <= BLACK).mean())
    if black >= BLACK_SHARE:
        return f"delivers a black image ({black:.0%} of the pixels are at most {BLACK})"
    bright = float((image_HW3.min(-1) >= BRIGHT).mean())
    if bright >= BRIGHT_SHARE:
        return f"delivers a saturated image ({bright:.0%} of the pixels are at least {BRIGHT})"
    if image_HW3.std() < CONTRAST:
        return f"delivers an image of one colour (its standard deviation is {image_HW3.std():.2f})"
    return ""
