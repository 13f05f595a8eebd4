"""Local losses: fused tokens against the teacher's group tokens instead of one embedding per frame.

Shapes: B = frames, V = cameras, N = grid cells, T = V * N tokens of a frame, W = their width,
G = groups of a point cloud, C = width of a group's token, F = frames of statistics, R = frames of a
block
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from ..data.standardization import Standardization
from .losses import sum_in_blocks


class LocalHead(nn.Module):
    """Map fused tokens into the space of standardised group tokens. Used in training only."""

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, channels)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, tokens_BVNW: Tensor) -> Tensor:
        """Return the tokens (B, T, C) of all cameras."""
        tokens: Tensor = self.projection(tokens_BVNW.flatten(1, 2))
        return tokens

    def standardised(self, groups_BGC: Tensor) -> Tensor:
        """Return standardised group tokens (B, G, C), float32."""
        return (groups_BGC.float() - self.mean) / self.std

    def set_statistics(self, groups_FGC: Tensor) -> None:
        """Set mean and standard deviation of each channel from the groups of training frames."""
        Standardization.of(groups_FGC.flatten(0, 1)).copy_to(self.mean, self.std)


def matching(tokens_BTC: Tensor, groups_BGC: Tensor, temperature: float) -> Tensor:
    """Return the soft matching loss between tokens and groups, a scalar that may be negative.

    It is minus the mean over tokens of the log-sum-exp over groups of cosine / temperature, and the
    same with tokens and groups exchanged, averaged. No correspondence is prescribed.
    """
    unit_BGC = F.normalize(groups_BGC, dim=2)

    def block(tokens_RTC: Tensor, rows: slice) -> Tensor:
        logits_RTG = tokens_RTC @ unit_BGC[rows].mT / temperature
        return -(logits_RTG.logsumexp(2).mean(1) + logits_RTG.logsumexp(1).mean(1)).sum() / 2

    total = sum_in_blocks(block, F.normalize(tokens_BTC, dim=2), _pairs(tokens_BTC, groups_BGC))
    return total / len(groups_BGC)


def chamfer(tokens_BTC: Tensor, groups_BGC: Tensor) -> Tensor:
    """Return the Chamfer distance, averaged over both directions, frames and channels.

    The mean over channels keeps its scale independent of the width.
    """

    def block(tokens_RTC: Tensor, rows: slice) -> Tensor:
        groups_RGC = groups_BGC[rows]
        squares = tokens_RTC.square().sum(2)[:, :, None] + groups_RGC.square().sum(2)[:, None]
        distance_RTG = (squares - 2 * tokens_RTC @ groups_RGC.mT).clamp_min(0) / tokens_RTC.shape[2]
        return (distance_RTG.amin(2).mean(1) + distance_RTG.amin(1).mean(1)).sum() / 2

    return sum_in_blocks(block, tokens_BTC, _pairs(tokens_BTC, groups_BGC)) / len(groups_BGC)


def _pairs(tokens_BTC: Tensor, groups_BGC: Tensor) -> int:
    """Return the number of token-group pairs per frame."""
    return tokens_BTC.shape[1] * groups_BGC.shape[1]
