"""The observation history of one episode."""

from __future__ import annotations

from collections import defaultdict

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..alignment.aligner import Aligner
from ..data.windows import window_index
from ..features.encoder import Parts
from .conditioning import Features, over_windows


class ObservationHistory:
    """One episode's newest frames, joints, backbone parts and features, oldest first.

    ``windowed`` is an aligner that embeds windows of frames, if the policy has one: features are
    then kept for all frames of the newest windows.
    """

    def __init__(
        self, n_obs_steps: int, context: int, windowed: Aligner | None = None, task: int = 0
    ) -> None:
        self.task = task  # index among the policy's tasks
        self.n_obs_steps, self.windowed = n_obs_steps, windowed
        self.featured = n_obs_steps + (windowed.config.reach if windowed else 0)
        self.size = self.featured + context - 1
        self.rgb: list[NDArray[np.uint8]] = []
        self.joints: list[NDArray[np.float32]] = []
        self.parts: dict[int, dict[int, Parts]] = defaultdict(dict)  # by backbone, by frame number
        self.features: dict[int, Features] = {}  # of single frames, by frame number
        self.count = 0  # frames added so far

    def add(self, rgb: NDArray[np.uint8], joints: NDArray[np.float32]) -> None:
        """Append k frames (k, V, H, W, 3) and their joints (k, J)."""
        self.rgb = [*self.rgb, *rgb][-self.size :]
        self.joints = [*self.joints, *joints][-self.n_obs_steps :]
        self.count += len(rgb)
        oldest = self.count - len(self.rgb)
        for which, parts in self.parts.items():
            self.parts[which] = {n: part for n, part in parts.items() if n >= oldest}

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Return a frame (V, H, W, 3) that is still in the history."""
        return self.rgb[number - self.count + len(self.rgb)]

    def frames_without_features(self) -> list[int]:
        """Return the numbers of the frames whose features the next plan needs and that have none.

        Features of older frames are dropped.
        """
        newest = range(max(self.count - self.featured, 0), self.count)
        self.features = {n: f for n, f in self.features.items() if n in newest}
        return [n for n in newest if n not in self.features]

    def observation(self) -> tuple[list[Features], NDArray[np.float32]]:
        """Return the features of O frames and their joints (O, J).

        At the start of an episode the first frame is repeated to fill the window.
        """
        newest = window_index(np.array([self.count - 1]), self.n_obs_steps)[0]
        first = self.count - len(self.joints)
        features = [self._feature(n) for n in newest.tolist()]
        return features, np.stack([self.joints[n - first] for n in newest.tolist()])

    def _feature(self, number: int) -> Features:
        """Return a frame's features, of the window that ends at it if the aligner has windows."""
        if self.windowed is None:
            return self.features[number]
        config = self.windowed.config
        numbers = window_index(np.array([number]), config.window, config.stride)[0].tolist()
        vector_KF = torch.stack([self.features[n].vector for n in numbers])
        with torch.no_grad():
            every = torch.arange(len(numbers))[None]
            windowed = over_windows(self.windowed, Features(vector=vector_KF), every)
        return attrs.evolve(self.features[number], vector=windowed.vector[0])
