"""Let the fused tokens of a frame look at one another, whatever their order.

A transformer (arXiv 1706.03762) normalised before each step (arXiv 2002.04745). Where a token is,
by place and camera, is added to what attention looks at in each layer, and not to the tokens. The
last map of each step begins at zero: at first the tokens pass as they are.

Shapes: B = frames, V = cameras, N = places of the common grid, K = those that are given, T = V * K
tokens of a frame, W = width, H = heads
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from ..spec import Context

SMALL = 0.02  # standard deviation that learned positions begin with


class ContextEncoder(nn.Module):
    """Map fused tokens (B, V, K, W) to tokens of the same shape that know of one another."""

    def __init__(self, config: Context, width: int, cameras: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(config, width) for _ in range(config.layers))
        self.camera_VW = nn.Parameter(SMALL * torch.randn(cameras, width))
        if config.position == "learned":
            self.place_NW = nn.Parameter(SMALL * torch.randn(grid[0] * grid[1], width))
        else:
            self.register_buffer("place_NW", sincos(grid, width), persistent=False)

    def forward(self, tokens_BVKW: Tensor, at_K: Tensor | None = None) -> Tensor:
        """Return tokens; ``at_K`` says at which places they are, None is all in reading order."""
        place_KW = self.place_NW if at_K is None else self.place_NW[at_K]
        where_TW = (self.camera_VW[:, None] + place_KW).flatten(0, 1)
        tokens: Tensor = tokens_BVKW.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens, where_TW)
        return tokens.view(tokens_BVKW.shape)


class _Block(nn.Module):
    """Attend and transform, each with its norm before and added to what came in."""

    def __init__(self, config: Context, width: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.hidden * width)
        self.down = nn.Linear(config.hidden * width, width)
        self.dropout = nn.Dropout(config.dropout)
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x_BTW: Tensor, where_TW: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x_BTW) + where_TW).unflatten(-1, (3, self.heads, -1))
        q_BHTW, k_BHTW, v_BHTW = qkv.permute(2, 0, 3, 1, 4)
        seen_BHTW = F.scaled_dot_product_attention(q_BHTW, k_BHTW, v_BHTW)
        x_BTW = x_BTW + self.dropout(self.out(seen_BHTW.transpose(1, 2).flatten(2)))
        hidden = F.gelu(self.up(self.mlp_norm(x_BTW)))
        y_BTW: Tensor = x_BTW + self.dropout(self.down(hidden))
        return y_BTW


def sincos(grid: tuple[int, int], width: int) -> Tensor:
    """Return (N, W): sines and cosines of rows, then of columns; zeros where W is no multiple of 4.

    The wave lengths are those of arXiv 1706.03762, a quarter of the width for each of the four.
    """
    quarter = width // 4
    waves = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / max(quarter, 1))
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in grid)
    at_NS = torch.cartesian_prod(rows, columns)
    angles = [at_NS[:, i : i + 1] * waves for i in (0, 1)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
    return F.pad(table, (0, width - 4 * quarter)).to(torch.get_default_dtype())
