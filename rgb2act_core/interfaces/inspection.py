"""What ``rgb2act inspect`` and ``rgb2act doctor`` report.

Shapes: H W = pixels, N = patches (row by row over the grid)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _no_pictures() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    yield from ()


@attrs.frozen(kw_only=True)
class EpisodeOverview:
    """Say what is known of one episode."""

    name: str  # as in [environment] skip
    task: str
    path: str
    layout: str  # empty when it cannot be told
    frames: int  # 0 when they cannot be counted
    problems: tuple[str, ...] = ()  # for each: file, key and frame, and what to do


@attrs.frozen(kw_only=True)
class DatasetSummary:
    """Say what a data set holds."""

    path: str
    episodes: tuple[EpisodeOverview, ...]
    cameras: Mapping[str, tuple[tuple[int, int], ...]]  # name: sizes H, W met with
    actions: tuple[tuple[str, float, float], ...]  # name, lowest, highest
    missing: tuple[str, ...]  # episodes that ought to be there
    facts: tuple[tuple[str, str], ...]  # what else is worth a line
    bytes: int
    environment: Mapping[str, Any]  # a spec's table, ``use`` and all; paths are absolute
    clouds: bool  # whether every sound episode has point clouds
    pictures: Callable[[], Iterator[tuple[str, NDArray[np.uint8]]]] = _no_pictures
    """Gives rows of a contact sheet: a label and images (N, H, W, 3), RGB."""


@attrs.frozen(kw_only=True)
class Diagnostic:
    """Say whether one thing is there, what is known of it, and else how to get it."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""
