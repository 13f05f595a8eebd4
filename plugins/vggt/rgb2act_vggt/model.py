"""VGGT's aggregator: alternating attention within one frame and over all frames of a window.

Paper: Wang et al., "VGGT: Visual Geometry Grounded Transformer", arXiv:2503.11651. Upstream:
https://github.com/facebookresearch/vggt, VGGT License; no code is copied. Inner network:
timm's ``VisionTransformer`` (Apache-2.0), which is DINOv2's. Weights: CC BY-NC 4.0, of the
commercial file the VGGT License. Left out: camera, depth, point and track heads, training.

The first frame of a window, here the oldest, has its own camera and register tokens. The others
share theirs, and their order does not matter.

Shapes: B = windows, K = frames of a window, V = cameras, W = B * V, F = images, H W = pixels, N =
patches, M = special tokens and patches of a frame, S = key tokens, Q = query tokens, C = channels,
A = attention heads, D = channels of a head
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from .config import Sizes

ROPE_BASE = 100.0

Turn = tuple[Tensor, Tensor]  # cosine and sine of rotary embeddings, (tokens, 2, D / 4)


class Attention(nn.Module):
    """Attention with normalised and rotated queries and keys."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.dim, 3 * sizes.dim)
        self.query_norm = nn.LayerNorm(sizes.dim // sizes.heads, eps=1e-5)
        self.key_norm = nn.LayerNorm(sizes.dim // sizes.heads, eps=1e-5)
        self.out = nn.Linear(sizes.dim, sizes.dim)

    def forward(self, x_WSC: Tensor, turn: Turn, newest: int | None) -> Tensor:
        """Return the output (W, Q, C) of the last ``newest`` tokens, or of all if None."""
        if newest is None or newest == x_WSC.shape[1]:
            q_WAQD, k_WASD, v_WASD = self._heads(self.qkv(x_WSC), 3)
        else:
            c = x_WSC.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            asking_WQC = functional.linear(x_WSC[:, -newest:], weight[:c], bias[:c])
            (q_WAQD,) = self._heads(asking_WQC, 1)
            k_WASD, v_WASD = self._heads(functional.linear(x_WSC, weight[c:], bias[c:]), 2)
        asking = turn if newest is None else (turn[0][-newest:], turn[1][-newest:])
        q_WAQD = rotate(self.query_norm(q_WAQD.float()), asking).to(v_WASD.dtype)
        k_WASD = rotate(self.key_norm(k_WASD.float()), turn).to(v_WASD.dtype)
        y_WAQD = functional.scaled_dot_product_attention(q_WAQD, k_WASD, v_WASD)
        y_WQC: Tensor = self.out(y_WAQD.transpose(1, 2).flatten(2))
        return y_WQC

    def _heads(self, x_WSC: Tensor, parts: int) -> tuple[Tensor, ...]:
        x_WSPAD: Tensor = x_WSC.unflatten(-1, (parts, self.heads, -1))
        return x_WSPAD.permute(2, 0, 3, 1, 4).unbind(0)


class Block(nn.Module):
    """One pre-norm transformer block; norms and the residual stream use float32."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.attention = Attention(sizes)
        self.attention_scale = nn.Parameter(torch.ones(sizes.dim))
        self.mlp_norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.up = nn.Linear(sizes.dim, 4 * sizes.dim)
        self.down = nn.Linear(4 * sizes.dim, sizes.dim)
        self.mlp_scale = nn.Parameter(torch.ones(sizes.dim))

    def forward(self, x_WSC: Tensor, turn: Turn, newest: int | None = None) -> Tensor:
        """Return the last ``newest`` tokens (W, Q, C) after the block, or all if None."""
        dtype = self.up.weight.dtype
        y_WQC: Tensor = self.attention(self.attention_norm(x_WSC).to(dtype), turn, newest)
        x_WQC = x_WSC if newest is None else x_WSC[:, -newest:]
        x_WQC = x_WQC + self.attention_scale * y_WQC
        y_WQC = self.down(functional.gelu(self.up(self.mlp_norm(x_WQC).to(dtype))))
        return x_WQC + self.mlp_scale * y_WQC


class Network(nn.Module):
    """The aggregator, in two parts: encoding of single frames, and of windows."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.inner = VisionTransformer(
            img_size=sizes.side * sizes.patch,
            patch_size=sizes.patch,
            num_classes=0,
            global_pool="token",
            embed_dim=sizes.dim,
            depth=sizes.inner,
            num_heads=sizes.heads,
            init_values=1e-5,
            reg_tokens=sizes.inner_registers,
            no_embed_class=True,
            dynamic_img_size=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        self.camera_tokens = nn.Parameter(torch.zeros(1, 2, 1, sizes.dim))  # first frame, others
        self.register_tokens = nn.Parameter(torch.zeros(1, 2, sizes.registers, sizes.dim))
        self.frame_blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.global_blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))

    @property
    def special(self) -> int:
        """Return the number of special tokens of a frame."""
        return 1 + self.sizes.registers

    def describe(self, images_F3HW: Tensor) -> Tensor:
        """Return patch tokens (F, N, C) float32 of the inner network, for single frames."""
        weight = self.inner.patch_embed.proj.weight
        cast = weight.dtype != torch.float32
        with torch.autocast(images_F3HW.device.type, weight.dtype) if cast else nullcontext():
            x_FTC: Tensor = self.inner.forward_features(images_F3HW)
        return x_FTC[:, self.inner.num_prefix_tokens :].float()

    def begin(self, patches_FNC: Tensor, role: int, turn: Turn) -> Tensor:
        """Return tokens (F, M, C) after frame block 0 of first (0) or other (1) frames."""
        given = (self.camera_tokens[:, role], self.register_tokens[:, role])
        tokens = [token.expand(len(patches_FNC), -1, -1) for token in given]
        x_FMC: Tensor = self.frame_blocks[0](torch.cat([*tokens, patches_FNC], 1), turn)
        return x_FMC

    def windows(
        self, first_WMC: Tensor, others: Tensor | None, layers: Sequence[int], turn: Turn
    ) -> Tensor:
        """Return features (W, N, C') of the newest frames from tokens after frame block 0.

        ``others`` are those of all but the first frame (W, K - 1, M, C), None in windows of one.
        A layer's features are the outputs of its frame and global blocks, concatenated.
        """
        x_WKMC = first_WMC[:, None]
        x_WKMC = x_WKMC if others is None else torch.cat([x_WKMC, others], 1)
        w, k, m, _ = x_WKMC.shape
        all_frames, last = (turn[0].repeat(k, 1, 1), turn[1].repeat(k, 1, 1)), max(layers)
        found = {}
        for i in range(last + 1):
            if i:
                x_WKMC = self.frame_blocks[i](x_WKMC.flatten(0, 1), turn).unflatten(0, (w, k))
            mine_WMC = x_WKMC[:, -1]
            newest = m if i == last else None
            x_WSC = self.global_blocks[i](x_WKMC.flatten(1, 2), all_frames, newest)
            x_WKMC = x_WSC.unflatten(1, (-1, m))
            if i in layers:
                found[i] = torch.cat([mine_WMC, x_WKMC[:, -1]], -1)[:, self.special :]
        return torch.cat([found[layer] for layer in layers], -1)


def turns(grid: tuple[int, int], sizes: Sizes, device: torch.device) -> Turn:
    """Return the rotary embedding of a frame: special tokens at 0, 0, patches from 1, 1 on."""
    rows, columns = torch.arange(1, grid[0] + 1), torch.arange(1, grid[1] + 1)
    special = torch.zeros(1 + sizes.registers, 2)
    places_M2 = torch.cat([special, torch.cartesian_prod(rows, columns)]).to(device)
    quarter = sizes.dim // sizes.heads // 4
    speeds = ROPE_BASE ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = places_M2[..., None] * speeds.to(device)
    return angles.cos(), angles.sin()


def rotate(x_WASD: Tensor, turn: Turn) -> Tensor:
    """Return queries or keys rotated, one half of the channels by row, the other by column."""
    a, b = x_WASD.unflatten(-1, (2, 2, -1)).unbind(-2)
    cosine, sine = turn
    return torch.stack([a * cosine - b * sine, b * cosine + a * sine], -2).flatten(-3)
