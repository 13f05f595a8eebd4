"""Action chunking: turn overlapping plans into the actions to execute.

Shapes: S = horizon, A = dimensions moved, P = candidates, n = actions executed, U = steps that two
plans share
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..spec import Act


class ActionChunker:
    """Select, continue and blend the plans of one episode."""

    def __init__(self, act: Act, half_A: NDArray[np.float32]) -> None:
        self.act, self.half_A = act, half_A
        self.plans: list[tuple[int, NDArray[np.float32]]] = []  # first step and plan, oldest first
        self.seams: list[float] = []  # RMS difference to the previous plan, in half ranges

    def add(self, step: int, plans_PSA: NDArray[np.float32]) -> int:
        """Add the candidate closest to the rest of the previous plan, and return its index.

        Its first action is for ``step``. The first plan of an episode is the first candidate.
        """
        distance_P = self._distance(step, plans_PSA)
        best = 0 if distance_P is None else int(distance_P.argmin())
        if distance_P is not None:
            self.seams.append(float(distance_P[best]))
        overlapping = [(first, plan) for first, plan in self.plans if first + len(plan) > step]
        self.plans = [*overlapping, (step, plans_PSA[best])]
        return best

    def warm_start(self, step: int) -> NDArray[np.float32] | None:
        """Return the rest of the newest plan from ``step`` on, (S, A), its last action repeated.

        None before the first plan, or if the newest plan ends before ``step``.
        """
        if not self.plans or step - self.plans[-1][0] >= len(self.plans[-1][1]):
            return None
        first, plan_SA = self.plans[-1]
        executed = step - first
        return np.concatenate([plan_SA[executed:], np.repeat(plan_SA[-1:], executed, axis=0)])

    def actions(self, step: int, count: int) -> NDArray[np.float32]:
        """Return the actions (n, A) of the next steps.

        With ``act.temporal_ensemble`` each is the mean of the actions that all plans have for its
        step, weighted by exp(-decay * i), i = 0 for the oldest plan (arXiv 2304.13705,
        algorithm 2).
        """
        if not self.act.temporal_ensemble:
            first, plan_SA = self.plans[-1]
            return plan_SA[step - first : step - first + count]
        return np.stack([self._ensemble(at) for at in range(step, step + count)])

    def _ensemble(self, step: int) -> NDArray[np.float32]:
        actions = [plan[step - first] for first, plan in self.plans if step - first < len(plan)]
        weights = np.exp(-self.act.ensemble_decay * np.arange(len(actions)))
        mean: NDArray[np.float32] = np.average(actions, axis=0, weights=weights).astype(np.float32)
        return mean

    def _distance(self, step: int, plans_PSA: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Return each candidate's RMS distance (P,) to the newest plan over their shared steps."""
        if not self.plans:
            return None
        first, plan_SA = self.plans[-1]
        tail_UA = plan_SA[step - first :]
        if not len(tail_UA):
            return None
        error = (plans_PSA[:, : len(tail_UA)] - tail_UA) / self.half_A
        distance_P: NDArray[np.float64] = np.sqrt(np.square(error, dtype=np.float64).mean((1, 2)))
        return distance_P
