"""Keep tokens in less space: a coarser grid, or int8 with a scale a token.

Encoding ends here, offline and online alike: what is stored is ``pack``, and training and control
both look at ``unpack`` of it. Pooling is by area: each new token is the mean of the old ones under
it, each weighted by the share of it that lies there. int8 is symmetric: a token's scale is its
largest magnitude over 127, so a value is off by half a scale at most.

Shapes: B = frames, V = cameras, N = patches, R S = rows and columns of the map, I J = of the grid
asked for, C = channels
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ..errors import UserError
from ..spec import Tokens

SCALE = 4  # bytes of a float32 scale, laid behind a token's int8 channels while it is packed


def stored_grid(form: Tokens, own: tuple[int, int]) -> tuple[int, int]:
    """Return the grid that tokens are stored on; UserError when it is finer than theirs."""
    if form.grid is None:
        return own
    if form.grid[0] > own[0] or form.grid[1] > own[1]:
        raise UserError(
            f"extract.tokens.grid: {list(form.grid)} is finer than the backbone's own"
            f" {list(own)}; ask for at most that many rows and columns"
        )
    return form.grid


def bytes_of(form: Tokens, cameras: int, own: tuple[int, int], dim: int) -> int:
    """Return the bytes of a frame's tokens, with their scales."""
    rows, columns = stored_grid(form, own)
    return cameras * rows * columns * (2 * dim if form.dtype == "float16" else dim + SCALE)


def encode_tokens(form: Tokens, tokens_BVNC: Tensor, own: tuple[int, int]) -> Tensor:
    """Return what is stored of tokens: float16 (B, V, N, C), or int8 (B, V, N, C + 4) with scales.

    ``own`` is the grid of the tokens that are given.
    """
    grid = stored_grid(form, own)
    if grid != own:
        tokens_BVNC = _pool(tokens_BVNC.float(), own, grid)
    if form.dtype == "float16":
        return tokens_BVNC.half()
    tokens_BVNC = tokens_BVNC.float()
    largest_BVN1 = tokens_BVNC.abs().amax(-1, keepdim=True)
    scale_BVN1 = torch.where(largest_BVN1 == 0, 1.0, largest_BVN1 / 127)
    whole_BVNC = (tokens_BVNC / scale_BVN1).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([whole_BVNC, scale_BVN1.contiguous().view(torch.int8)], -1)


def decode_tokens(form: Tokens, packed: Tensor) -> Tensor:
    """Return tokens (B, V, N, C) float16 of what ``pack`` returned."""
    if form.dtype == "float16":
        return packed
    whole_BVNC, scale_BVN = split_scales(packed)
    return (whole_BVNC.float() * scale_BVN[..., None]).half()


def split_scales(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return packed int8 tokens (B, V, N, C) and scales (B, V, N) float32 as they are stored."""
    scale_BVN1 = packed[..., -SCALE:].contiguous().view(torch.float32)
    return packed[..., :-SCALE].contiguous(), scale_BVN1[..., 0].contiguous()


def _pool(tokens_BVNC: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    map_BVRSC = tokens_BVNC.unflatten(2, own)
    rows_IR = _shares(own[0], grid[0]).to(tokens_BVNC)
    columns_JS = _shares(own[1], grid[1]).to(tokens_BVNC)
    map_BVISC = torch.einsum("ir,bvrsc->bvisc", rows_IR, map_BVRSC)
    return torch.einsum("js,bvisc->bvijc", columns_JS, map_BVISC).flatten(2, 3)


@functools.cache
def _shares(old: int, new: int) -> Tensor:
    """Return (new, old): the share of each old row or column in each new one."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    low, high = edges[:-1, None], edges[1:, None]
    begin = torch.arange(old, dtype=torch.float64)
    overlap = (torch.minimum(high, begin + 1) - torch.maximum(low, begin)).clamp_min(0)
    return (overlap / (high - low)).float()
