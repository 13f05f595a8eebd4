"""Bring the tokens of all backbones to one common grid, and sample cells of it.

A cell is sampled for all backbones together, so that a fused token describes one image region. One
sample serves all frames of a batch: otherwise a contrastive loss could tell frames apart by their
sampled cells. It also lets each backbone's tokens be gathered with one list of indices.

Shapes: B = frames, V = cameras, N = tokens of a backbone, K = sampled cells, U = tokens of a
backbone that they are interpolated from, C = channels
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
    """Interpolation of a backbone's tokens at sampled cells of the common grid."""

    needed: Tensor  # (U,) int64, cells of the backbone's own grid
    corners: Tensor | None = None  # (4, K) int64, indices into needed; None: no interpolation
    weights: Tensor | None = None  # (4, K), of the corners

    def __call__(self, tokens_BVUC: Tensor) -> Tensor:
        """Return tokens (B, V, K, C) interpolated from the needed tokens."""
        if self.corners is None or self.weights is None:
            return tokens_BVUC
        total = torch.zeros((), dtype=tokens_BVUC.dtype, device=tokens_BVUC.device)
        weights_4K1 = self.weights.to(total)[..., None]
        for corner_K, weight_K1 in zip(self.corners.to(total.device), weights_4K1, strict=True):
            total = total + tokens_BVUC.index_select(2, corner_K) * weight_K1
        return total


@attrs.frozen(eq=False, kw_only=True)
class TokenSample:
    """Sampled cells of the common grid, and each backbone's interpolation at them."""

    cells: Tensor  # (K,) int64 in reading order, on the CPU
    interpolations: tuple[Interpolation, ...]  # one per backbone


def sample_cells(
    grids: Sequence[Grid],
    target: Grid,
    count: int,
    replacement: bool,
    generator: torch.Generator,
) -> TokenSample:
    """Sample cells of the target grid; without replacement at most all cells are returned."""
    total = math.prod(target)
    if replacement:
        cells_K = torch.randint(total, (count,), generator=generator)
    else:
        cells_K = torch.randperm(total, generator=generator)[:count]
    cells_K = cells_K.sort().values  # stored neighbours are read together
    interpolations = tuple(interpolation_at(cells_K, grid, target) for grid in grids)
    return TokenSample(cells=cells_K, interpolations=interpolations)


def interpolation_at(cells_K: Tensor, grid: Grid, target: Grid) -> Interpolation:
    """Return the interpolation of tokens on ``grid`` at cells of ``target``, as ``resample``'s."""
    if grid == target:
        return Interpolation(needed=cells_K)
    rows, columns = (
        _neighbours(index, size, wanted)
        for index, size, wanted in zip(
            (cells_K // target[1], cells_K % target[1]), grid, target, strict=True
        )
    )
    pairs = [(row, column) for row in rows for column in columns]
    corners_4K = torch.stack([row[0] * grid[1] + column[0] for row, column in pairs])
    needed_U, corners_4K = corners_4K.unique(return_inverse=True)
    weights_4K = torch.stack([row[1] * column[1] for row, column in pairs])
    return Interpolation(needed=needed_U, corners=corners_4K, weights=weights_4K)


def _neighbours(index_K: Tensor, size: int, target: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return index and weight of the two lines of a grid around each line of the target grid."""
    line_K = ((index_K.double() + 0.5) * size / target - 0.5).clamp_min(0)
    below_K = line_K.long().clamp_max(size - 1)
    above_K = (below_K + 1).clamp_max(size - 1)
    weight_K = line_K - below_K
    return (below_K, 1 - weight_K), (above_K, weight_K)


def resample(tokens_BVNC: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Resample tokens (B, V, N, C) bilinearly from one grid to another."""
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
