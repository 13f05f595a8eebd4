"""Summarise episodes of the store, as environments summarise recorded data sets.

Shapes: T = steps, V = cameras, H W = pixels, A = actions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import DatasetSummary, Episode, EpisodeOverview
from .episode_store import read_episode

SHEET_FRAMES = 5  # of each camera


def stored_episodes(path: Path) -> list[Path]:
    """Return the episodes of the store that a path is, or that are in the folder."""
    if (path / "zarr.json").is_file():
        return [path]
    return sorted(found.parent for found in path.glob("*/zarr.json")) if path.is_dir() else []


def summarise_stored(path: Path) -> DatasetSummary | None:
    """Return a summary of an episode of the store or of a folder of them; None if it is neither.

    Damaged episodes are listed with their problems.
    """
    paths = stored_episodes(path)
    if not paths:
        return None
    overviews, intact = [], []
    for found in paths:
        overview, episode = _overview(found)
        overviews.append(overview)
        if episode is not None:
            intact.append(episode)
    cameras = {camera: episode.rgb.shape[2:4] for episode in intact for camera in episode.cameras}
    files = (file for found in paths for file in found.rglob("*") if file.is_file())
    return DatasetSummary(
        path=str(path),
        episodes=tuple(overviews),
        cameras={name: ((int(size[0]), int(size[1])),) for name, size in cameras.items()},
        actions=_ranges(intact),
        missing=(),
        facts=_facts(intact),
        bytes=sum(file.stat().st_size for file in files),
        environment={},
        clouds=all(episode.clouds is not None for episode in intact),
        images=lambda: _images(intact),
    )


def _overview(path: Path) -> tuple[EpisodeOverview, Episode | None]:
    try:
        episode = read_episode(path)
    except UserError as err:
        problems = tuple(map(str, err.args))
        return EpisodeOverview(
            name=path.name, task="", path=str(path), layout="store", frames=0, problems=problems
        ), None
    return EpisodeOverview(
        name=episode.name,
        task=episode.task,
        path=str(path),
        layout="store",
        frames=int(episode.rgb.shape[0]),
    ), episode


def _ranges(episodes: Sequence[Episode]) -> tuple[tuple[str, float, float], ...]:
    """Return number, minimum and maximum of each action dimension."""
    arrays = [np.asarray(e.actions[:]) for e in episodes if e.actions is not None]
    if not arrays or len({array.shape[1] for array in arrays}) > 1:
        return ()
    actions_TA = np.concatenate(arrays)
    low_A, high_A = actions_TA.min(0).tolist(), actions_TA.max(0).tolist()
    return tuple(
        (str(a), low, high) for a, (low, high) in enumerate(zip(low_A, high_A, strict=True))
    )


def _facts(episodes: Sequence[Episode]) -> tuple[tuple[str, str], ...]:
    states = sorted({name for episode in episodes for name in episode.state})
    texts = list(dict.fromkeys(episode.instruction for episode in episodes))
    more = " ..." if len(texts) > 3 else ""
    return (("instructions", "; ".join(texts[:3]) + more), ("states", ", ".join(states) or "none"))


def _images(episodes: Sequence[Episode]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield frames of the first episode, one row per camera."""
    for episode in episodes[:1]:
        steps = np.linspace(0, episode.rgb.shape[0] - 1, SHEET_FRAMES).round().astype(int)
        frames = np.stack([episode.rgb[int(t)] for t in dict.fromkeys(steps.tolist())])
        for v, camera in enumerate(episode.cameras):
            yield f"{episode.name}, {camera}", frames[:, v]
