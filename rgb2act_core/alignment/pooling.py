"""Pools: one vector of a frame's fused tokens, camera by camera, or of a window's frames.

Any subset of the common grid's places will do, in any order: ``at_K`` names them, None is all.

Shapes: B = frames, V = cameras, N = places of the common grid, K = those that are given (or frames
of each of L windows), W = width of fused tokens, D = embedding, J = maps, U = values of a map
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["mean", "attention", "keypoints"]


def build(
    kind: Kind, cameras: int, width: int, maps: int, values: int, grid: tuple[int, int]
) -> MeanPool | AttentionPool | KeypointPool:
    """Return a pool; its ``out`` is the width of the vector that it makes."""
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

    def forward(self, tokens_BVKW: Tensor, at_K: Tensor | None = None) -> Tensor:
        """Return the means of all cameras side by side."""
        return tokens_BVKW.mean(2).flatten(1)


class AttentionPool(nn.Module):
    """Average the tokens of each camera under J learned maps: (B, V, K, W) -> (B, V * J * W)."""

    def __init__(self, cameras: int, width: int, maps: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, maps) for _ in range(cameras))
        self.out = cameras * maps * width

    def forward(self, tokens_BVKW: Tensor, at_K: Tensor | None = None) -> Tensor:
        """Return the weighted means of all cameras side by side."""
        parts = []
        for head, tokens_BKW in zip(self.heads, tokens_BVKW.unbind(1), strict=True):
            weights_BJK = head(tokens_BKW).mT.softmax(-1)
            parts.append((weights_BJK @ tokens_BKW).flatten(1))
        return torch.cat(parts, 1)


class KeypointPool(nn.Module):
    """Say where each of J learned maps of a camera looks, and what is there.

    Spatial soft-argmax (arXiv 1509.06113): a map's expected place (2 numbers in -1 .. 1), its
    spread, the log of its mass, and the expectation of U values:
    (B, V, K, W) -> (B, V * J * (4 + U)).
    """

    def __init__(
        self, cameras: int, width: int, maps: int, values: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.maps = maps
        self.heads = nn.ModuleList(nn.Linear(width, maps + values) for _ in range(cameras))
        rows, columns = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in grid)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
        squares = places.square().sum(1, keepdim=True)
        self.register_buffer("places", torch.cat([places, squares], 1), persistent=False)
        self.out = cameras * maps * (4 + values)

    def forward(self, tokens_BVKW: Tensor, at_K: Tensor | None = None) -> Tensor:
        """Return the keypoints of all cameras side by side."""
        places_K3 = self.get_buffer("places")
        if at_K is not None:
            places_K3 = places_K3[at_K]
        parts = []
        for head, tokens_BKW in zip(self.heads, tokens_BVKW.unbind(1), strict=True):
            assert isinstance(head, nn.Linear)
            # maps first, places last: softmax and the sums over places read memory in order
            both = head.weight @ tokens_BKW.mT + head.bias[:, None]
            scores_BJK, values_BUK = both.tensor_split([self.maps], dim=1)
            weights_BJK = scores_BJK.softmax(-1)
            place_BJ3 = weights_BJK @ places_K3
            variance = place_BJ3[..., 2:] - place_BJ3[..., :2].square().sum(-1, keepdim=True)
            mass = scores_BJK.logsumexp(-1, keepdim=True) - math.log(len(places_K3))
            spread = variance.clamp_min(1e-6).sqrt()
            point = [place_BJ3[..., :2], spread, mass, weights_BJK @ values_BUK.mT]
            parts.append(torch.cat(point, -1).flatten(1))
        return torch.cat(parts, 1)


class WindowAttention(nn.Module):
    """Average the embeddings of a window's frames by learned weights: (L, K, D) -> (L, D).

    A frame's weight is by what is in it and how old it is; all are equal at first.
    """

    def __init__(self, window: int, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        self.age_K = nn.Parameter(torch.zeros(window))
        nn.init.zeros_(self.score.weight)

    def forward(self, embedding_LKD: Tensor) -> Tensor:
        """Return embeddings of windows, whose frames come oldest first."""
        share_LK = (self.score(embedding_LKD)[..., 0] + self.age_K).softmax(-1)
        return torch.einsum("lkd,lk->ld", embedding_LKD, share_LK)
