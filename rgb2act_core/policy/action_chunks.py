"""From plans to actions: choose among plans, and blend those that overlap.

Shapes: S = horizon, A = dimensions moved, N = candidates, n = actions executed, U = steps that two
plans share
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..spec import Act


class ActionChunker:
    """Remember one episode's plans, so that the next one continues them."""

    def __init__(self, act: Act, half_A: NDArray[np.float32]) -> None:
        self.act, self.half_A = act, half_A
        self.plans: list[tuple[int, NDArray[np.float32]]] = []  # first step and plan, oldest first
        self.seams: list[float] = []  # RMS difference to the plan before, in half ranges

    def add(self, step: int, plans_NSA: NDArray[np.float32]) -> int:
        """Take the candidate that is nearest to what the plan before meant to do from ``step`` on.

        The first plan of an episode is its first candidate. Returns which one it is.
        """
        apart_N = self._apart(step, plans_NSA)
        best = 0 if apart_N is None else int(apart_N.argmin())
        if apart_N is not None:
            self.seams.append(float(apart_N[best]))
        kept = [(first, plan) for first, plan in self.plans if first + len(plan) > step]
        self.plans = [*kept, (step, plans_NSA[best])]
        return best

    def start(self, step: int) -> NDArray[np.float32] | None:
        """Return what the newest plan means to do from ``step`` on, (S, A), its last action held.

        None where it says nothing of that step, and before the first plan.
        """
        if not self.plans or step - self.plans[-1][0] >= len(self.plans[-1][1]):
            return None
        first, plan_SA = self.plans[-1]
        gone = step - first
        return np.concatenate([plan_SA[gone:], np.repeat(plan_SA[-1:], gone, axis=0)])

    def actions(self, step: int, count: int) -> NDArray[np.float32]:
        """Return the actions (n, A) of the next steps.

        With ``act.temporal_ensemble`` each is the mean of what all plans say of its step, the older
        the heavier: exp(-decay * i), i = 0 for the oldest (arXiv 2304.13705, algorithm 2).
        """
        if not self.act.temporal_ensemble:
            first, plan_SA = self.plans[-1]
            return plan_SA[step - first : step - first + count]
        return np.stack([self._blend(at) for at in range(step, step + count)])

    def _blend(self, step: int) -> NDArray[np.float32]:
        told = [plan[step - first] for first, plan in self.plans if step - first < len(plan)]
        weights = np.exp(-self.act.ensemble_decay * np.arange(len(told)))
        blended: NDArray[np.float32] = np.average(told, axis=0, weights=weights).astype(np.float32)
        return blended

    def _apart(self, step: int, plans_NSA: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Return how far each candidate (N,) is from the newest plan where both say something."""
        if not self.plans:
            return None
        first, plan_SA = self.plans[-1]
        tail_UA = plan_SA[step - first :]
        if not len(tail_UA):
            return None
        wrong = (plans_NSA[:, : len(tail_UA)] - tail_UA) / self.half_A
        apart_N: NDArray[np.float64] = np.sqrt(np.square(wrong, dtype=np.float64).mean((1, 2)))
        return apart_N
