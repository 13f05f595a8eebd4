"""The observation buffer of one episode."""

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
    """Remember one episode's newest frames, joints, parts and features, oldest first.

    ``windowed`` is an aligner whose embeddings are of windows: features are then kept of all frames
    that the newest windows are made of.
    """

    def __init__(
        self, n_obs_steps: int, context: int, windowed: Aligner | None = None, task: int = 0
    ) -> None:
        self.task = task  # its place among the policy's
        self.n_obs_steps, self.windowed = n_obs_steps, windowed
        self.looked_at = n_obs_steps + (windowed.shape.reach if windowed else 0)
        self.size = self.looked_at + context - 1
        self.rgb: list[NDArray[np.uint8]] = []
        self.joints: list[NDArray[np.float32]] = []
        self.parts: dict[int, dict[int, Parts]] = defaultdict(dict)  # by backbone, by frame
        self.features: dict[int, Features] = {}  # of frames by themselves, by number
        self.count = 0  # frames seen

    def add(self, rgb: NDArray[np.uint8], joints: NDArray[np.float32]) -> None:
        """Remember k more frames (k, V, H, W, 3) and their joints (k, J)."""
        self.rgb = [*self.rgb, *rgb][-self.size :]
        self.joints = [*self.joints, *joints][-self.n_obs_steps :]
        self.count += len(rgb)
        oldest = self.count - len(self.rgb)
        for which, parts in self.parts.items():
            self.parts[which] = {n: part for n, part in parts.items() if n >= oldest}

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Return a frame (V, H, W, 3) that is still remembered."""
        return self.rgb[number - self.count + len(self.rgb)]

    def wanted(self) -> list[int]:
        """Return numbers of the frames that the next plan looks at and that have no features."""
        newest = range(max(self.count - self.looked_at, 0), self.count)
        self.features = {n: f for n, f in self.features.items() if n in newest}
        return [n for n in newest if n not in self.features]

    def observation(self) -> tuple[list[Features], NDArray[np.float32]]:
        """Return features of O frames and joints (O, J), the first frame repeated at the start."""
        newest = window_index(np.array([self.count - 1]), self.n_obs_steps)[0]
        first = self.count - len(self.joints)
        features = [self._feature(n) for n in newest.tolist()]
        return features, np.stack([self.joints[n - first] for n in newest.tolist()])

    def _feature(self, number: int) -> Features:
        """Return what a head looks at of a frame: its features, or those of its window."""
        if self.windowed is None:
            return self.features[number]
        shape = self.windowed.shape
        numbers = window_index(np.array([number]), shape.window, shape.stride)[0].tolist()
        vector_KF = torch.stack([self.features[n].vector for n in numbers])
        with torch.no_grad():
            every = torch.arange(len(numbers))[None]
            made = over_windows(self.windowed, Features(vector=vector_KF), every)
        return attrs.evolve(self.features[number], vector=made.vector[0])
