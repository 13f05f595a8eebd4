"""What a fusion of backbones implements.

Shapes: B = batch, N = patches, in row-major order of the token grid, M = backbones, D = channels
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(eq=False, kw_only=True)
class FusedTokens:
    """Output of a fusion module."""

    tokens: Tensor
    """Fused tokens (B, N, D)."""
    weights: Tensor
    """Mean weight of each backbone (M,), which sum to 1. The entropy loss trains on them."""
    loss: Tensor
    """Scalar that is added to the training loss; 0 if the fusion needs none."""


class Fusion(Protocol):
    """A way to fuse the tokens of several backbones into one token per patch."""

    def module(self, n_backbones: int, dim: int) -> torch.nn.Module:
        """Return a module that maps tokens (B, N, M, D) to ``FusedTokens``.

        Raises UserError if the fusion does not work with that number of backbones.
        """
