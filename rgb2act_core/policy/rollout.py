"""One episode under a policy's lead: what was seen, what was planned, what is to be done.

``act`` and the policy server lead episodes by the same code.

Shapes: n = n_action_steps, A = all action dimensions, N = candidates, S = horizon, T = steps,
X = hands
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..data.action_layout import held_grippers, is_gripper
from ..spec import Act
from . import smoothness
from .action_chunks import ActionChunker
from .config import PolicyConfig
from .history import ObservationHistory
from .planner import Planner

CLIPPED = 0.05  # half ranges by which clipping moves a joint that is told of


def full_actions(
    shape: PolicyConfig,
    moved_nA: NDArray[np.float32],
    first_A: NDArray[np.float32],
    newest_A: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return actions (n, A) for the environment: what the policy moves, the rest at rest.

    Arms that the policy does not move keep the pose in which the episode began, ``first_A``: one
    that is told where it is sinks. Grippers of arms that it moves, but not moved themselves, keep
    the value they have now, ``newest_A``.
    """
    resting_A = first_A.copy()
    held = list(held_grippers(shape.action_names, shape.action_index))
    resting_A[held] = newest_A[held]
    actions = np.tile(resting_A, (len(moved_nA), 1))
    actions[:, list(shape.action_index)] = moved_nA
    return actions


@attrs.define(eq=False)
class Rollout:
    """Lead one episode: plans in, actions out, and what they were like."""

    shape: PolicyConfig
    history: ObservationHistory
    generator: torch.Generator
    plans: ActionChunker
    first_A: NDArray[np.float32]
    commands: list[NDArray[np.float32]] = attrs.field(factory=list)  # parts (n, A)
    clipped: list[NDArray[np.bool_]] = attrs.field(factory=list)  # parts (n,), where the head clips

    @property
    def step(self) -> int:
        """Return the number of the next step."""
        return self.shape.n_action_steps * len(self.commands)

    def next(
        self, plans_NSA: NDArray[np.float32], clipped_by_NSA: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the actions (n, A) to execute before the next plan, one of the candidates.

        ``clipped_by_NSA``: how far clipping moved them, in half ranges.
        """
        best = self.plans.add(self.step, plans_NSA)
        if clipped_by_NSA is not None:
            joints = [i for i, name in enumerate(self._moved_names()) if not is_gripper(name)]
            executed_nA = clipped_by_NSA[best][: self.shape.n_action_steps]
            self.clipped.append(np.any(executed_nA[:, joints] > CLIPPED, axis=1))
        moved_nA = self.plans.actions(self.step, self.shape.n_action_steps)
        actions = full_actions(self.shape, moved_nA, self.first_A, self.history.joints[-1])
        self.commands.append(actions)
        return actions

    def facts(self, hands_TX3: NDArray[np.float32]) -> dict[str, Any]:
        """Return how many plans were made and how smooth the executed steps were.

        ``hands_TX3``: where the hands were, at first and after each step. ``clipped_steps``, where
        the head clips: the share of the steps in whose plan that moved a joint, not a gripper, by
        more than 5 % of half its range.
        """
        seams, steps = self.plans.seams, len(hands_TX3) - 1
        facts = {
            "plans": len(self.commands),
            "seam": float(np.mean(seams)) if seams else 0.0,
            **smoothness.measure(*self._moved(steps), hands_TX3),
        }
        if self.clipped:
            facts["clipped_steps"] = float(np.concatenate(self.clipped)[:steps].mean())
        return facts

    def curves(self, hands_TX3: NDArray[np.float32]) -> dict[str, list[float]]:
        """Return the length of every step and the seam of every plan, for pictures."""
        lengths = smoothness.steps(*self._moved(len(hands_TX3) - 1), hands_TX3)
        return lengths | {"seams": self.plans.seams}

    def _moved(self, steps: int) -> tuple[NDArray[np.float32], list[str]]:
        """Return the executed commands of what moves, and the names of that."""
        moved = list(self.shape.action_index)
        return np.concatenate(self.commands)[:steps, moved], self._moved_names()

    def _moved_names(self) -> list[str]:
        return [self.shape.action_names[i] for i in self.shape.action_index]


def start_rollout(
    planner: Planner,
    act: Act,
    seed: int,
    first_A: NDArray[np.float32],
    task: str | None = None,
) -> Rollout:
    """Return an episode in which nothing was seen yet; ``first_A`` are its first joints.

    ``task`` names one of the policy's; None is the only one there is.
    """
    policy, history = planner.policy, planner.history(task)
    return Rollout(
        shape=policy.shape,
        history=history,
        generator=torch.Generator().manual_seed(seed),
        plans=ActionChunker(act, policy.half_of(history.task).cpu().numpy()),
        first_A=first_A.copy(),
    )


def step_rollouts(
    planner: Planner, act: Act, courses: Mapping[int, Rollout]
) -> dict[int, NDArray[np.float32]]:
    """Plan for episodes by their slot in the batch and return the actions (n, A) of each."""
    starts = {}
    if act.warm_start:
        left = {slot: course.plans.start(course.step) for slot, course in courses.items()}
        starts = {slot: start for slot, start in left.items() if start is not None}
    planned = planner.plan(
        {slot: course.history for slot, course in courses.items()},
        {slot: course.generator for slot, course in courses.items()},
        act.candidates,
        starts,
        act.warm_start,
    )
    return {
        slot: courses[slot].next(plans, planner.clipped_by.get(slot))
        for slot, plans in planned.items()
    }
