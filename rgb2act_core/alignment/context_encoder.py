"""A transformer over the fused tokens of a frame, all cameras together.

Pre-norm transformer layers (arXiv 1706.03762, 2002.04745). The embeddings of a token's grid cell
and camera are added to the input of the attention in each layer and not to the tokens, so the order
of the tokens does not matter. The last linear map of each residual branch starts at zero: an
untrained encoder returns its input.

Shapes: B = frames, V = cameras, N = cells of the common grid, K = those in use, T = V * K
tokens of a frame, W = width, H = heads
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from ..spec import Context

POSITION_STD = 0.02  # initial standard deviation of learned positions, as in ViT


class ContextEncoder(nn.Module):
    """Transform fused tokens with attention among them: (B, V, K, W) -> (B, V, K, W)."""

    def __init__(self, config: Context, width: int, cameras: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(config, width) for _ in range(config.layers))
        self.camera_VW = nn.Parameter(POSITION_STD * torch.randn(cameras, width))
        if config.position == "learned":
            self.position_NW = nn.Parameter(POSITION_STD * torch.randn(grid[0] * grid[1], width))
        else:
            self.register_buffer("position_NW", sincos(grid, width), persistent=False)

    def forward(self, tokens_BVKW: Tensor, cells_K: Tensor | None = None) -> Tensor:
        """Return the tokens; ``cells_K`` are their cells, None is all cells in row order."""
        position_KW = self.position_NW if cells_K is None else self.position_NW[cells_K]
        position_TW = (self.camera_VW[:, None] + position_KW).flatten(0, 1)
        tokens: Tensor = tokens_BVKW.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens, position_TW)
        return tokens.view(tokens_BVKW.shape)


class _Block(nn.Module):
    """One pre-norm transformer layer."""

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

    def forward(self, x_BTW: Tensor, position_TW: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x_BTW) + position_TW).unflatten(-1, (3, self.heads, -1))
        q_BHTW, k_BHTW, v_BHTW = qkv.permute(2, 0, 3, 1, 4)
        attended_BHTW = F.scaled_dot_product_attention(q_BHTW, k_BHTW, v_BHTW)
        x_BTW = x_BTW + self.dropout(self.out(attended_BHTW.transpose(1, 2).flatten(2)))
        hidden = F.gelu(self.up(self.mlp_norm(x_BTW)))
        y_BTW: Tensor = x_BTW + self.dropout(self.down(hidden))
        return y_BTW


def sincos(grid: tuple[int, int], width: int) -> Tensor:
    """Return 2D sinusoidal position embeddings (N, W).

    A quarter of the width each for the sines and cosines of the row and of the column, with the
    wavelengths of arXiv 1706.03762. The rest, if W is not a multiple of 4, is zero.
    """
    quarter = width // 4
    waves = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / max(quarter, 1))
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in grid)
    positions_N2 = torch.cartesian_prod(rows, columns)
    angles = [positions_N2[:, i : i + 1] * waves for i in (0, 1)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
    return F.pad(table, (0, width - 4 * quarter)).to(torch.get_default_dtype())
