"""Fused tokens against the teacher's group tokens: what is where, in place of one vector a frame.

Shapes: B = frames, V = cameras, N = places, T = V * N tokens of a frame, W = their width,
G = groups of a cloud, C = width of a group's token, F = frames of statistics, R = frames of a block
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from .losses import in_blocks

FLOOR = 1e-4  # smallest deviation that is divided by


class LocalHead(nn.Module):
    """Map fused tokens into the space of standardised group tokens. Of use in training alone."""

    mean: Tensor  # (C,)
    std: Tensor

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, channels)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, tokens_BVNW: Tensor) -> Tensor:
        """Return tokens (B, T, C) of all cameras."""
        tokens: Tensor = self.projection(tokens_BVNW.flatten(1, 2))
        return tokens

    def standardised(self, groups_BGC: Tensor) -> Tensor:
        """Return group tokens without their mean and divided by their deviation."""
        return (groups_BGC.float() - self.mean) / self.std

    @torch.no_grad()
    def set_statistics(self, groups_FGC: Tensor) -> None:
        """Take mean and deviation of each channel from the groups of training frames."""
        rows = groups_FGC.flatten(0, 1).double()
        self.mean.copy_(rows.mean(0))
        self.std.copy_(rows.std(0, correction=min(1, len(rows) - 1)).clamp_min(FLOOR))


def matching(tokens_BTC: Tensor, groups_BGC: Tensor, tau: float) -> Tensor:
    """Return how badly tokens and groups find one another, a scalar that may be below 0.

    Minus the mean over tokens of the log-sum-exp over groups of cosine / tau, and the same of
    groups over tokens, half each: each looks for its best partners, softly, and none is prescribed.
    """
    unit_BGC = F.normalize(groups_BGC, dim=2)

    def part(tokens_RTC: Tensor, rows: slice) -> Tensor:
        near_RTG = tokens_RTC @ unit_BGC[rows].mT / tau
        return -(near_RTG.logsumexp(2).mean(1) + near_RTG.logsumexp(1).mean(1)).sum() / 2

    total = in_blocks(part, F.normalize(tokens_BTC, dim=2), _pairs(tokens_BTC, groups_BGC))
    return total / len(groups_BGC)


def chamfer(tokens_BTC: Tensor, groups_BGC: Tensor) -> Tensor:
    """Return the mean squared distance to the nearest of the other side, half each way.

    Per channel, so that a width does not change its size.
    """

    def part(tokens_RTC: Tensor, rows: slice) -> Tensor:
        groups_RGC = groups_BGC[rows]
        squares = tokens_RTC.square().sum(2)[:, :, None] + groups_RGC.square().sum(2)[:, None]
        far_RTG = (squares - 2 * tokens_RTC @ groups_RGC.mT).clamp_min(0) / tokens_RTC.shape[2]
        return (far_RTG.amin(2).mean(1) + far_RTG.amin(1).mean(1)).sum() / 2

    return in_blocks(part, tokens_BTC, _pairs(tokens_BTC, groups_BGC)) / len(groups_BGC)


def _pairs(tokens_BTC: Tensor, groups_BGC: Tensor) -> int:
    """Return how many pairs a frame has."""
    return tokens_BTC.shape[1] * groups_BGC.shape[1]
