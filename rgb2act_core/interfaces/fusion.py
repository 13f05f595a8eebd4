"""What a fusion of backbones implements.

Shapes: B = batch, N = patches (row by row over the grid), M = backbones, D = embedding width
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(eq=False, kw_only=True)
class FusedTokens:
    """Hold fused tokens, how much each backbone counted, and a term to add to the loss."""

    tokens: Tensor  # (B, N, D)
    weights: Tensor  # (M,), mean share of each backbone, sums to 1; the entropy loss learns from it
    loss: Tensor  # scalar


class Fusion(Protocol):
    """Make the module that fuses M backbones' tokens."""

    def module(self, n_backbones: int, dim: int) -> torch.nn.Module:
        """Return a module that maps tokens (B, N, M, D) to ``FusedTokens``."""
