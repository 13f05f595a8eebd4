"""What a policy head implements.

Shapes: B = batch, O = n_obs_steps, D = observation width, N = tokens of an observation step,
C = token width, S = horizon (steps of a plan), A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(kw_only=True)
class HeadShape:
    """Say what a policy head is built for."""

    obs_dim: int  # D
    n_obs_steps: int  # O
    action_dim: int  # A
    horizon: int  # S
    tokens: tuple[int, int] | None = None  # N and W, tokens of each observation step, if any


class PolicyHead(Protocol):
    """Make the module that learns and samples action trajectories."""

    def check(self, shape: HeadShape) -> str | None:
        """Return what makes the shape impossible for this head and what to do, or None."""

    def module(self, shape: HeadShape) -> torch.nn.Module:
        """Return a module that meets ``PolicyModule``."""


class PolicyModule(Protocol):
    """Learn and sample in normalised space; ``plan[0]`` is the action for the newest frame.

    Tokens are given where the shape has them, and nowhere else: a head whose ``check`` refuses
    them may do without the last argument.
    """

    def loss(
        self,
        obs_BOD: Tensor,
        actions_BSA: Tensor,
        mask_BS: Tensor,
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar training loss; steps where the bool mask is False do not count."""

    def plan(
        self,
        obs_BOD: Tensor,
        generators: Sequence[torch.Generator],
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return plans (B, S, A); row i draws its noise from ``generators[i]`` alone."""


@runtime_checkable
class MultiPlan(Protocol):
    """Draw several plans for a row, or go on from an earlier plan."""

    def plans(
        self,
        obs_BOD: Tensor,
        generators: Sequence[torch.Generator],
        tokens_BONC: Tensor | None = None,
        *,
        count: int = 1,
        start_BSA: Tensor | None = None,
        level: float = 1.0,
    ) -> Tensor:
        """Return ``count`` plans a row, (B, count, S, A); what is observed is encoded once.

        With ``start_BSA``, an earlier plan moved on in time, sampling begins at that plan with a
        share ``level`` (above 0, at most 1) of the noise, and takes about that share of the steps.
        ``plans(...)[:, 0]`` with ``count=1`` and no start is ``plan(...)``.
        """


@runtime_checkable
class Clipping(Protocol):
    """Keep plans within a range, and tell what that changed."""

    plan_limit: float | None  # largest normalised action that a plan can hold; None: any
    clipped_by: Tensor | None  # (B, count, S, A), how far the newest plans were moved, normalised


@runtime_checkable
class Compilable(Protocol):
    """Plan with a compiled network when told so."""

    def compile_plans(self) -> None:
        """Compile the network at the next plan, and keep it for those after."""
