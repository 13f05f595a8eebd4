"""What a policy is built for, kept with its weights."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..errors import UserError, near
from ..interfaces import HeadShape


@attrs.frozen(kw_only=True)
class PolicyConfig:
    """Say what a policy is built for: everything but its weights."""

    condition: str
    proprio: bool
    parts: tuple[int, ...]  # widths of the parts that a frame's features consist of, in all F
    tokens: tuple[int, int] | None  # N and W, where the head looks at tokens besides
    states: tuple[str, ...]  # names of the true states seen (oracle)
    cameras: tuple[str, ...]
    image: tuple[int, int]
    action_names: tuple[str, ...]  # all of the environment's
    action_index: tuple[int, ...]  # the A that are moved
    horizon: int
    n_obs_steps: int
    n_action_steps: int
    tasks: tuple[str, ...] = ()  # names of those it was trained on
    by_task: str = "shared"  # how the head knows which one it is in
    task_width: int = 0  # of the learned vector that tells the task (embedding)

    def place(self, task: str | None) -> int:
        """Return a task's place; None is the only one. UserError names those that are known."""
        return place_of(task, self.tasks or ("",))

    @property
    def features(self) -> int:
        """Return F, the width of a frame's features; 0 when blind."""
        return sum(self.parts)

    @property
    def head(self) -> HeadShape:
        """Return what the head is built for."""
        moved = len(self.action_index)
        return HeadShape(
            obs_dim=self.features + (moved if self.proprio else 0) + self.task_width,
            n_obs_steps=self.n_obs_steps,
            action_dim=moved,
            horizon=self.horizon,
            tokens=self.tokens,
        )


def place_of(name: str | None, known: Sequence[str]) -> int:
    """Return a task's place among those known; None is the one there is.

    Raises UserError that names them.
    """
    listed = ", ".join(known)
    if name is None:
        if len(known) > 1:
            raise UserError(f"task: the policy acts in several, name one of {listed}")
        return 0
    if name not in known:
        raise UserError(f"task: there is no {name!r}{near(name, known)}; the policy knows {listed}")
    return known.index(name)
