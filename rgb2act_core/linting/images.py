"""Images that show nothing, and cameras that do not deliver new ones. A sample is read.

Shapes: T = frames of an episode, V = cameras, H W = pixels, S = sampled frames
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import SIDES, side
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
    """Two consecutive frames of an episode."""

    recording: Recording
    frame: int
    images: NDArray[np.uint8]  # (2, V, H, W, 3); (1, ...) in an episode of one frame
    steps: NDArray[np.float64]  # motion of each joint between them (A,)

    def moved(self, joints: Sequence[int]) -> bool:
        """Return whether one of some joints moves between the frames."""
        return bool(self.steps[joints].max(initial=0.0) > MOVES)

    def repeats(self, camera: int) -> bool:
        """Return whether a camera has the same image in both frames."""
        return np.array_equal(self.images[0, camera], self.images[-1, camera])


def _pairs(data: Recordings, recording: Recording) -> list[_Pair]:
    assert data.sample is not None
    frames = recording.episode.rgb.shape[0]
    return [
        _Pair(
            recording,
            start,
            np.asarray(recording.episode.rgb[start : start + 2]),
            np.abs(np.diff(recording.joints[start : start + 2], axis=0)).sum(0),
        )
        for start in inner_positions(max(frames - 1, 1), data.sample.positions)
    ]


def cameras(data: Recordings) -> Iterator[Finding]:
    """Find images that are black, saturated or of one colour, and cameras that repeat an image."""
    moved: dict[str, list[tuple[_Pair, bool]]] = {}  # by camera: pairs, and whether they are equal
    for recording in data.sampled:
        pairs = _pairs(data, recording)
        for v, camera in enumerate(recording.episode.cameras):
            joints = _joints_seen_by(camera, data)
            if badly_exposed := list(_exposures(recording, pairs, v, camera)):
                yield from badly_exposed
            elif _is_frozen(recording, pairs, v, joints):
                problem = "delivers one image in the entire episode, although joints move"
                yield _finding(recording, camera, "frozen", None, problem)
            else:
                judged = [(pair, pair.repeats(v)) for pair in pairs if pair.moved(joints)]
                moved.setdefault(camera, []).extend(judged)
    for camera, each in moved.items():
        yield from _repeating(camera, each)


def _joints_seen_by(camera: str, data: Recordings) -> list[int]:
    """Return the joints whose motion changes a camera's image.

    The camera of a hand, such as ``left_camera``, may see nothing of the other arm.
    """
    sides = [name for name in SIDES if name in camera]
    if len(sides) == 1 and (own := [i for i, n in enumerate(data.names) if side(n) == sides[0]]):
        return own
    return list(range(len(data.names)))


def _is_frozen(
    recording: Recording, pairs: Sequence[_Pair], camera: int, joints: list[int]
) -> bool:
    moves = recording.joint_range[joints].max() > 5 * MOVES
    first_HW3 = pairs[0].images[0, camera]
    return (
        bool(moves)
        and len(pairs) > 1
        and all(np.array_equal(views[camera], first_HW3) for p in pairs for views in p.images)
    )


def _repeating(camera: str, moved: Sequence[tuple[_Pair, bool]]) -> Iterator[Finding]:
    equal = [pair for pair, repeats in moved if repeats]
    if len(moved) >= FEWEST and len(equal) >= REPEATED * len(moved):
        first = equal[0]
        problem = (
            f"repeats its image in {len(equal)} of {len(moved)} sampled frames while joints move"
        )
        yield _finding(first.recording, camera, "frozen", first.frame + 1, problem)


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
