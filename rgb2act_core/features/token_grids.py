"""One grid of places for all backbones: resampling tokens to it by place, and drawing from it.

A place is drawn once for all backbones, so a fused token is of one place. One draw serves all
frames of a batch: then no frame differs from another by what was drawn of it, which a contrastive
loss would learn to see through, and each backbone's tokens are gathered with one list of indices.

Shapes: B = frames, V = cameras, N = tokens of a backbone, K = places drawn, U = tokens of a
backbone that they are made of, C = channels
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor

from ..errors import UserError
from ..spec import Align

Grid = tuple[int, int]  # rows, columns


@attrs.frozen(eq=False, kw_only=True)
class Interpolation:
    """Make tokens at drawn places of those tokens of a backbone that lie around them."""

    needed: Tensor  # (U,) int64, places in the backbone's own grid
    corners: Tensor | None = None  # (4, K) int64, which of them; None: each place is one of them
    shares: Tensor | None = None  # (4, K), how much of each

    def __call__(self, tokens_BVUC: Tensor) -> Tensor:
        """Return tokens (B, V, K, C) from the needed ones."""
        if self.corners is None or self.shares is None:
            return tokens_BVUC
        made = torch.zeros((), dtype=tokens_BVUC.dtype, device=tokens_BVUC.device)
        shares_4K1 = self.shares.to(made)[..., None]
        for corner_K, share_K1 in zip(self.corners.to(made.device), shares_4K1, strict=True):
            made = made + tokens_BVUC.index_select(2, corner_K) * share_K1
        return made


@attrs.frozen(eq=False, kw_only=True)
class TokenSample:
    """Hold places of the common grid, and how each backbone's tokens get there."""

    at: Tensor  # (K,) int64, on the CPU
    blends: tuple[Interpolation, ...]  # one a backbone


def draw(
    grids: Sequence[Grid],
    target: Grid,
    count: int,
    replacement: bool,
    generator: torch.Generator,
) -> TokenSample:
    """Draw places of the common grid, in reading order.

    Without replacement each comes at most once, so there are no more than the grid has.
    """
    places = math.prod(target)
    if replacement:
        at = torch.randint(places, (count,), generator=generator)
    else:
        at = torch.randperm(places, generator=generator)[:count]
    at = at.sort().values  # neighbours lie side by side in the store
    return TokenSample(at=at, blends=tuple(blend(at, grid, target) for grid in grids))


def blend(at_K: Tensor, grid: Grid, target: Grid) -> Interpolation:
    """Return how tokens on ``grid`` get to places of ``target``: as in ``resample``."""
    if grid == target:
        return Interpolation(needed=at_K)
    rows, columns = (
        _between(at, size, wanted)
        for at, size, wanted in zip(
            (at_K // target[1], at_K % target[1]), grid, target, strict=True
        )
    )
    pairs = [(row, column) for row in rows for column in columns]
    corners_4K = torch.stack([row[0] * grid[1] + column[0] for row, column in pairs])
    needed_U, corners_4K = corners_4K.unique(return_inverse=True)
    shares_4K = torch.stack([row[1] * column[1] for row, column in pairs])
    return Interpolation(needed=needed_U, corners=corners_4K, shares=shares_4K)


def _between(at_K: Tensor, size: int, target: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the two lines of a grid that lie around lines of another, and the share of each."""
    line_K = ((at_K.double() + 0.5) * size / target - 0.5).clamp_min(0)
    below_K = line_K.long().clamp_max(size - 1)
    above_K = (below_K + 1).clamp_max(size - 1)
    share_K = line_K - below_K
    return (below_K, 1 - share_K), (above_K, share_K)


def resample(tokens_BVNC: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Resample tokens from one grid to another by place, bilinearly."""
    if grid == target:
        return tokens_BVNC
    maps = tokens_BVNC.flatten(0, 1).mT.unflatten(2, grid)
    maps = F.interpolate(maps, target, mode="bilinear", align_corners=False)
    tokens: Tensor = maps.flatten(2).mT.unflatten(0, tokens_BVNC.shape[:2])
    return tokens


def finest(grids: Sequence[Grid]) -> Grid:
    """Return the grid with the most cells, to which all backbones' tokens are resampled."""
    return max(grids, key=math.prod)


def check_token_count(align: Align, grid: Grid) -> None:
    """Raise UserError if more tokens are to be sampled without replacement than a grid has."""
    cells = math.prod(grid)
    if align.tokens > cells and not align.replacement:
        raise UserError(
            f"align.tokens: {align.tokens} is more than the {cells} tokens of the common grid"
            f" {grid[0]} x {grid[1]}; sample fewer, set replacement = true, or 0 for all tokens"
        )
