"""What ``rgb2act inspect`` and ``rgb2act doctor`` report.

Shapes: H W = image height and width in pixels, N = images
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .environment import Environment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _no_images() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    yield from ()


def _no_environments() -> Iterable[Environment]:
    return ()


@attrs.frozen(kw_only=True)
class EpisodeOverview:
    """What is known about one episode of a data set."""

    name: str
    task: str
    path: str
    layout: str
    """Name of the file layout; empty if it is unknown."""
    frames: int
    """Number of frames; 0 if they cannot be counted."""
    problems: tuple[str, ...] = ()
    """Each with the file, the key, the frame and what to do."""


@attrs.frozen(kw_only=True)
class JointMotion:
    """How far joints move from one frame to the next, over all valid episodes.

    The motion of a frame is that of the joint that moves most, in radians, without grippers.
    """

    median: float
    percentile_95: float
    equal: float
    """Share of the frames whose joints and grippers do not move, 0 to 1."""
    still: float
    """Share of the frames whose joints and grippers hardly move."""
    stride: int
    """Suggested stride: every how many frames a policy should learn from."""
    drop_still: bool
    """Whether still frames should be dropped first."""


@attrs.frozen(kw_only=True)
class DatasetSummary:
    """Summary of a recorded data set."""

    path: str
    episodes: tuple[EpisodeOverview, ...]
    cameras: Mapping[str, tuple[tuple[int, int], ...]]
    """Image sizes (H, W) that occur, by camera."""
    actions: tuple[tuple[str, float, float], ...]
    """Name, minimum and maximum of each action dimension."""
    missing: tuple[str, ...]
    """Episodes that should exist but do not."""
    facts: tuple[tuple[str, str], ...]
    """Other facts to show: label and text."""
    bytes: int
    """Size on disk."""
    environment: Mapping[str, Any]
    """The ``[environment]`` table of a spec for this data set, including ``use``, with absolute
    paths."""
    clouds: bool
    """Whether all valid episodes have point clouds."""
    motion: JointMotion | None = None
    """How far joints move between frames, if the reader measures it."""
    images: Callable[[], Iterator[tuple[str, NDArray[np.uint8]]]] = _no_images
    """Yields the rows of a contact sheet: a label and images (N, H, W, 3) in RGB order."""
    environments: Callable[[], Iterable[Environment]] = _no_environments
    """Opens the intact episodes, all frames and cameras of them, for the data checks: one
    environment per task."""


@attrs.frozen(kw_only=True)
class Diagnostic:
    """Whether one thing that a component needs is available."""

    name: str
    ok: bool
    detail: str = ""
    """What was found."""
    remedy: str = ""
    """How to get it, if it is missing. The word ``SPEC`` is replaced by the path of the spec."""
