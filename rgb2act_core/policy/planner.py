"""The online path: raw frames in, plans out. Acting and ``verify`` both go through here.

Shapes: B = episodes side by side, O = n_obs_steps, K = context, V = cameras, H W = pixels,
F = features of a frame, J = all joints, S = horizon, A = all action dimensions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.windows import window_index
from ..features.encoder import Encoder
from ..features.fingerprint_checks import check_encoders
from ..interfaces import Backbone
from .conditioning import Features, Observation
from .history import ObservationHistory
from .policy import Policy


class Planner:
    """Plan for a fixed number of episodes at once, from raw frames.

    Raises UserError when the backbones give other features than those the policy was trained on.
    """

    def __init__(self, policy: Policy, backbones: Sequence[Backbone], batch: int, device: str):
        self.policy, self.batch, self.device = policy, batch, device
        self.clipped_by: dict[int, NDArray[np.float32]] = {}  # of the newest plans, where it clips
        self.encoders = [Encoder(backbone, device, policy.form) for backbone in backbones]
        self.fingerprint_errors = (
            check_encoders(policy.fingerprints, self.encoders) if policy.fingerprints else ()
        )
        self.context = max([encoder.context for encoder in self.encoders], default=1)

    def history(self, task: str | None = None) -> ObservationHistory:
        """Return an empty memory for one episode of a task; None is the only one there is.

        Raises UserError naming the policy's tasks when it is none of them.
        """
        windowed, shape = self.policy.aligner if self.policy.reach else None, self.policy.shape
        return ObservationHistory(shape.n_obs_steps, self.context, windowed, shape.place(task))

    @property
    def frames_kept(self) -> int:
        """Return how many of the newest frames the next plan may be made of."""
        return self.policy.shape.n_obs_steps + self.policy.reach + self.context - 1

    def tokens(self, todo: Sequence[tuple[ObservationHistory, int]]) -> list[Tensor]:
        """Return tokens (B, V, N, C) float16 of each backbone, of frames named by their number.

        What a frame is by itself is computed once and kept in its history.
        """
        return [self._tokens(which, todo) for which in range(len(self.encoders))]

    def _tokens(self, which: int, todo: Sequence[tuple[ObservationHistory, int]]) -> Tensor:
        encoder = self.encoders[which]
        numbers_BK = window_index(np.array([n for _, n in todo]), encoder.context).tolist()
        windows_BK = [[(h, n) for n in row] for (h, _), row in zip(todo, numbers_BK, strict=True)]
        places = {frame: i for i, frame in enumerate(dict.fromkeys(chain(*windows_BK)))}
        new = [(history, n) for history, n in places if n not in history.parts[which]]
        if new:
            parts = encoder.frames(np.stack([history.frame(n) for history, n in new]))
            for i, (history, n) in enumerate(new):
                history.parts[which][n] = {name: part[i] for name, part in parts.items()}
        of_frames = [history.parts[which][n] for history, n in places]
        index_BK = np.array([[places[frame] for frame in row] for row in windows_BK])
        image = todo[0][0].rgb[0].shape[1:3]
        parts_F = {name: torch.stack([p[name] for p in of_frames]) for name in of_frames[0]}
        return encoder.windows(parts_F, index_BK, image)

    def see(
        self, histories: Sequence[ObservationHistory], states: Sequence[NDArray[np.float32]]
    ) -> list[Tensor]:
        """Compute the features that the next plans need; ``states`` are oracle rows or empty.

        Returns the tokens (B, V, N, C) that were computed for it, one tensor a backbone.
        """
        if self.policy.shape.condition == "oracle":
            for history, rows in zip(histories, states, strict=True):
                for number in history.wanted():
                    row = torch.from_numpy(rows[number - history.count])
                    history.features[number] = Features(vector=row.to(self.device))
            return []
        todo = [(history, number) for history in histories for number in history.wanted()]
        tokens: list[Tensor] = []
        if not self.encoders:
            features = Features(vector=torch.zeros(len(todo), 0, device=self.device))
        elif todo:
            tokens = self.tokens(todo)
            with torch.no_grad():
                features = self.policy.features(tokens)
        for i, (history, number) in enumerate(todo):
            history.features[number] = features[i]
        return tokens

    def plan(
        self,
        histories: Mapping[int, ObservationHistory],
        generators: Mapping[int, torch.Generator],
        candidates: int = 1,
        starts: Mapping[int, NDArray[np.float32]] = {},
        level: float = 1.0,
    ) -> dict[int, NDArray[np.float32]]:
        """Return plans (candidates, S, A moved) by slot; ``clipped_by`` then tells of those slots.

        For slots in ``starts`` sampling begins at that plan (S, A moved) with a share ``level`` of
        the noise. The batch always has the same size, so a slot's plan does not depend on which
        others run.
        """
        seen = self._observed(histories)
        cold = {slot: generators[slot] for slot in histories if slot not in starts}
        plans = self._draw(seen, cold, candidates, None, 1.0) if cold else {}
        if warm := {slot: generators[slot] for slot in starts}:
            start_BSA = np.zeros((self.batch, *next(iter(starts.values())).shape), np.float32)
            for slot, start_SA in starts.items():
                start_BSA[slot] = start_SA
            given = torch.from_numpy(start_BSA).to(self.device)
            plans |= self._draw(seen, warm, candidates, given, level)
        return plans

    def warm(self, candidates: int) -> None:
        """Plan once for what shows nothing, so that the first plan takes as long as the others."""
        history = self.history(next(iter(self.policy.shape.tasks), None))
        steps, joints = self.policy.shape.n_obs_steps, len(self.policy.shape.action_names)
        history.joints = [np.zeros(joints, np.float32)] * steps
        history.count, size = steps, self.policy.shape
        tokens = torch.zeros(size.tokens, device=self.device) if size.tokens else None
        blank = Features(vector=torch.zeros(size.features, device=self.device), tokens=tokens)
        history.features = dict.fromkeys(range(steps), blank)
        self.plan({0: history}, {0: torch.Generator()}, candidates)

    def _draw(
        self,
        seen: Observation,
        generators: Mapping[int, torch.Generator],
        candidates: int,
        start_BSA: Tensor | None,
        level: float,
    ) -> dict[int, NDArray[np.float32]]:
        spare = torch.Generator()
        draws = [generators.get(slot, spare) for slot in range(self.batch)]
        plans_BNSA = self.policy.plans(seen, draws, candidates, start_BSA, level).cpu().numpy()
        if (clipped_by := self.policy.clipped_by) is not None:
            self.clipped_by |= {slot: clipped_by[slot].cpu().numpy() for slot in generators}
        return {slot: plans_BNSA[slot] for slot in generators}

    def _observed(self, histories: Mapping[int, ObservationHistory]) -> Observation:
        """Return what the slots' heads are told, one row a slot."""
        shape = self.policy.shape
        moved = list(shape.action_index)
        steps = (self.batch, shape.n_obs_steps)
        features = Features(
            vector=torch.zeros(*steps, shape.features, device=self.device),
            tokens=torch.zeros(*steps, *shape.tokens, device=self.device) if shape.tokens else None,
        )
        joints = torch.zeros(*steps, len(moved), device=self.device)
        places = [next(iter(histories.values())).task] * self.batch  # no other head for idle slots
        for slot, history in histories.items():
            seen, measured = history.observation()
            for step, frame in enumerate(seen):
                features.vector[slot, step] = frame.vector
                if features.tokens is not None and frame.tokens is not None:
                    features.tokens[slot, step] = frame.tokens
            joints[slot] = torch.from_numpy(measured[:, moved])
            places[slot] = history.task
        task_B = torch.tensor(places, device=self.device)
        return self.policy.observe(features, joints, task_B=task_B)
