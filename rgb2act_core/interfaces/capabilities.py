"""What a policy head's module may offer besides ``records.PolicyModule``; ask with ``isinstance``.

Shapes: B = batch, O = n_obs_steps, D = observation width, N = tokens of an observation step,
C = width of a token, S = horizon, A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
