"""Pooling: one vector from a frame's fused tokens, or one embedding from those of a window.

Pools accept any subset of the common grid's cells in any order. ``cells_K`` are their indices; None
is all cells in row order.

Shapes: B = frames, V = cameras, N = cells of the common grid, K = those in use (or the frames
of each of L windows), W = width of fused tokens, D = embedding, J = maps, U = values of a map
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

Kind = Literal["mean", "attention", "keypoints"]


def build(
    kind: Kind, cameras: int, width: int, maps: int, values: int, grid: tuple[int, int]
) -> MeanPool | AttentionPool | KeypointPool:
    """Return a pool; its ``out`` is the width of the pooled vector."""
    if kind == "mean":
        return MeanPool(cameras, width)
    if kind == "attention":
        return AttentionPool(cameras, width, maps)
    return KeypointPool(cameras, width, maps, values, grid)


class MeanPool(nn.Module):
    """Average the tokens of each camera: (B, V, K, W) -> (B, V * W)."""

    def __init__(self, cameras: int, width: int) -> None:
        super().__init__()
        self.out = cameras * width

    def forward(self, tokens_BVKW: Tensor, cells_K: Tensor | None = None) -> Tensor:
        """Return the concatenated means of all cameras."""
        return tokens_BVKW.mean(2).flatten(1)


class AttentionPool(nn.Module):
    """Average the tokens of each camera under J attention maps: (B, V, K, W) -> (B, V * J * W)."""

    def __init__(self, cameras: int, width: int, maps: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, maps) for _ in range(cameras))
        self.out = cameras * maps * width

    def forward(self, tokens_BVKW: Tensor, cells_K: Tensor | None = None) -> Tensor:
        """Return the concatenated weighted means of all cameras."""
        parts = []
        for head, tokens_BKW in zip(self.heads, tokens_BVKW.unbind(1), strict=True):
            weights_BJK = head(tokens_BKW).mT.softmax(-1)
            parts.append((weights_BJK @ tokens_BKW).flatten(1))
        return torch.cat(parts, 1)


class KeypointPool(nn.Module):
    """Spatial soft-argmax (arXiv 1509.06113) with values: (B, V, K, W) -> (B, V * J * (4 + U)).

    Each of J attention maps per camera gives its expected position (two coordinates in -1 .. 1),
    the spread around it, the log of its mean unnormalised weight, and the expectation of U values.
    """

    def __init__(
        self, cameras: int, width: int, maps: int, values: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.maps = maps
        self.heads = nn.ModuleList(nn.Linear(width, maps + values) for _ in range(cameras))
        rows, columns = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in grid)
        positions = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
        squares = positions.square().sum(1, keepdim=True)
        self.register_buffer("positions", torch.cat([positions, squares], 1), persistent=False)
        self.out = cameras * maps * (4 + values)

    def forward(self, tokens_BVKW: Tensor, cells_K: Tensor | None = None) -> Tensor:
        """Return the concatenated keypoints of all cameras."""
        positions_K3 = self.get_buffer("positions")
        if cells_K is not None:
            positions_K3 = positions_K3[cells_K]
        parts = []
        for head, tokens_BKW in zip(self.heads, tokens_BVKW.unbind(1), strict=True):
            linear = cast(nn.Linear, head)
            # maps first, cells last: softmax and the sums over cells read memory in order
            both = linear.weight @ tokens_BKW.mT + linear.bias[:, None]
            scores_BJK, values_BUK = both.tensor_split([self.maps], dim=1)
            weights_BJK = scores_BJK.softmax(-1)
            mean_BJ3 = weights_BJK @ positions_K3
            variance = mean_BJ3[..., 2:] - mean_BJ3[..., :2].square().sum(-1, keepdim=True)
            mass = scores_BJK.logsumexp(-1, keepdim=True) - math.log(len(positions_K3))
            spread = variance.clamp_min(1e-6).sqrt()
            keypoints = [mean_BJ3[..., :2], spread, mass, weights_BJK @ values_BUK.mT]
            parts.append(torch.cat(keypoints, -1).flatten(1))
        return torch.cat(parts, 1)


class WindowAttention(nn.Module):
    """Average the embeddings of a window's frames with learned weights: (L, K, D) -> (L, D).

    The weight of a frame depends on its embedding and its age. All weights are equal at first.
    """

    def __init__(self, window: int, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        self.age_K = nn.Parameter(torch.zeros(window))
        nn.init.zeros_(self.score.weight)

    def forward(self, embedding_LKD: Tensor) -> Tensor:
        """Return the embeddings of windows whose frames are given oldest first."""
        share_LK = (self.score(embedding_LKD)[..., 0] + self.age_K).softmax(-1)
        return torch.einsum("lkd,lk->ld", embedding_LKD, share_LK)
