"""Split the episodes of several tasks, and weigh their frames.

Shapes: E = episodes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, EpisodeRef


@attrs.frozen(eq=False, kw_only=True)
class EpisodeSplit:
    """Hold numbers of episodes: those that train, those held out, and those measured on.

    A task of which none is held out is measured on those that train.
    """

    train: NDArray[np.int64]
    held: NDArray[np.int64]
    measured: NDArray[np.int64]


def tasks_of(sources: Sequence[EpisodeRef]) -> NDArray[np.int64]:
    """Return the place of each episode's task (E,)."""
    return np.array([source.task for source in sources], np.int64)


def halve(task_E: NDArray[np.int64], holdout: float, seed: int) -> EpisodeSplit:
    """Hold out the same share of each task's episodes."""
    train, held, measured = [], [], []
    for task in np.unique(task_E):
        own = np.flatnonzero(task_E == task)
        learnt, kept = (own[part] for part in split(len(own), holdout, seed))
        train.append(learnt)
        held.append(kept)
        measured.append(kept if len(kept) else learnt)
    parts = (np.concatenate([*part, np.empty(0, np.int64)]) for part in (train, held, measured))
    return EpisodeSplit(**dict(zip(("train", "held", "measured"), parts, strict=True)))


def weight_of(weights: Mapping[str, float], data: Dataset) -> NDArray[np.float64]:
    """Return the weight of each episode's frames (E,): that of its task, 1 left out."""
    tasks = np.array([weights.get(name, 1.0) for name in data.tasks or ("",)])
    found: NDArray[np.float64] = tasks[tasks_of(data.sources)]
    return found


def split(episodes: int, holdout: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of training and held-out episodes; at least one episode trains."""
    order = np.random.default_rng(seed).permutation(episodes)
    held = min(round(holdout * episodes), episodes - 1)
    return np.sort(order[held:]), np.sort(order[:held])
