"""Frames of several tasks in one training set: held out by task, drawn with a weight a task.

Shapes: E = episodes, F = frames to draw from
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, EpisodeRef

if TYPE_CHECKING:
    from torch import Tensor


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


class WeightedSampler:
    """Draw frames with torch's global generator; ``weight_F`` is None where all count alike.

    A frame of weight 2 comes twice as often as one of weight 1, however many its task has.
    """

    def __init__(self, count: int, weight_F: NDArray[np.float64] | None = None) -> None:
        import torch

        self.count = count
        self.weight: Tensor | None = None
        if weight_F is not None and len(set(weight_F.tolist())) > 1:
            self.weight = torch.from_numpy(weight_F)
            self.until = self.weight.cumsum(0)

    def few(self, size: int) -> NDArray[np.int64]:
        """Return places (size,), each at most once."""
        import torch

        if self.weight is None:
            drawn: NDArray[np.int64] = torch.randperm(self.count)[:size].numpy()
            return drawn
        # the largest of u ** (1 / w): a weighted sample without replacement (Efraimidis, Spirakis)
        keys = torch.rand(self.count, dtype=torch.float64).log() / self.weight
        drawn = keys.topk(size).indices.numpy()
        return drawn

    def any(self, size: int) -> NDArray[np.int64]:
        """Return places (size,), each drawn anew."""
        import torch

        if self.weight is None:
            drawn: NDArray[np.int64] = torch.randint(self.count, (size,)).numpy()
            return drawn
        points = torch.rand(size, dtype=torch.float64) * self.until[-1]
        drawn = torch.searchsorted(self.until, points, right=True).clamp_max(self.count - 1).numpy()
        return drawn


def split(episodes: int, holdout: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of training and held-out episodes; at least one episode trains."""
    order = np.random.default_rng(seed).permutation(episodes)
    held = min(round(holdout * episodes), episodes - 1)
    return np.sort(order[held:]), np.sort(order[:held])
