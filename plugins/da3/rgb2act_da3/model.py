"""The backbone of Depth Anything 3: a ViT whose later blocks attend to one frame and to all frames.

Paper: Lin et al., "Depth Anything 3: Recovering the Visual Space from Any Views", arXiv:2511.10647.
Upstream: https://github.com/ByteDance-Seed/Depth-Anything-3 at 2c21ea8, Apache-2.0; no code is
copied. Weights: Apache-2.0 (small, base, mono, metric), CC BY-NC 4.0 (large, giant). Left out:
depth, ray, camera and Gaussian heads, known camera poses, training.

The order of a window's frames does not matter except for the reference view, which has its own
token instead of the class token. Frames are therefore not reordered as in the official code; only
this token is assigned to another frame.

Shapes: B = windows, K = frames of a window, V = cameras, W = B * V, F = images, H W = pixels,
N = patches, M = 1 + N tokens of a frame, Q = query tokens, S = key tokens,
C = channels, P = 3 for queries, keys, values, A = attention heads, D = channels of a head
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import PATCH, Reference, Sizes

ROPE_BASE = 100.0
CHOICE_FROM = 3  # with fewer frames, the reference is always the first
OFFSET = 0.1  # in the scale of the position embedding, as in DINOv2

Turn = tuple[Tensor, Tensor]  # cosine and sine of rotary embeddings, (tokens, 2, D / 4)


class Attention(nn.Module):
    """Attention; in multi-view blocks, queries and keys are normalised and rotated."""

    def __init__(self, sizes: Sizes, views: bool) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.dim, 3 * sizes.dim)
        self.out = nn.Linear(sizes.dim, sizes.dim)
        if views:
            self.query_norm = nn.LayerNorm(sizes.dim // sizes.heads, eps=1e-5)
            self.key_norm = nn.LayerNorm(sizes.dim // sizes.heads, eps=1e-5)
        self.views = views

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
        if self.views:
            asking = turn if newest is None else (turn[0][-newest:], turn[1][-newest:])
            q_WAQD = rotate(self.query_norm(q_WAQD.float()), asking).to(v_WASD.dtype)
            k_WASD = rotate(self.key_norm(k_WASD.float()), turn).to(v_WASD.dtype)
        y_WAQD = functional.scaled_dot_product_attention(q_WAQD, k_WASD, v_WASD)
        y_WQC: Tensor = self.out(y_WAQD.transpose(1, 2).flatten(2))
        return y_WQC

    def _heads(self, x_WSC: Tensor, parts: int) -> tuple[Tensor, ...]:
        x_WSPAD: Tensor = x_WSC.unflatten(-1, (parts, self.heads, -1))
        return x_WSPAD.permute(2, 0, 3, 1, 4).unbind(0)


class MLP(nn.Module):
    """Two layers with GELU between them, or SwiGLU."""

    def __init__(self, dim: int, gated: bool) -> None:
        super().__init__()
        # SwiGLU has a third matrix, so its width is two thirds, rounded up to a multiple of 8
        width = (4 * dim * 2 // 3 + 7) // 8 * 8 if gated else 4 * dim
        self.gated = gated
        self.up = nn.Linear(dim, 2 * width if gated else width)
        self.down = nn.Linear(width, dim)

    def forward(self, x_WQC: Tensor) -> Tensor:
        """Return (W, Q, C)."""
        x = self.up(x_WQC)
        if self.gated:
            gate, value = x.chunk(2, -1)
            x = functional.silu(gate) * value
        else:
            x = functional.gelu(x)
        y_WQC: Tensor = self.down(x)
        return y_WQC


class Block(nn.Module):
    """One pre-norm transformer block; norms and the residual stream use float32."""

    def __init__(self, sizes: Sizes, views: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.dim, eps=1e-6)
        self.attention = Attention(sizes, views)
        self.attention_scale = nn.Parameter(torch.ones(sizes.dim))
        self.mlp_norm = nn.LayerNorm(sizes.dim, eps=1e-6)
        self.mlp = MLP(sizes.dim, sizes.gated)
        self.mlp_scale = nn.Parameter(torch.ones(sizes.dim))

    def forward(self, x_WSC: Tensor, turn: Turn, newest: int | None = None) -> Tensor:
        """Return the last ``newest`` tokens (W, Q, C) after the block, or all if None."""
        dtype = self.mlp.up.weight.dtype
        y_WQC: Tensor = self.attention(self.attention_norm(x_WSC).to(dtype), turn, newest)
        x_WQC = x_WSC if newest is None else x_WSC[:, -newest:]
        x_WQC = x_WQC + self.attention_scale * y_WQC
        y_WQC = self.mlp(self.mlp_norm(x_WQC).to(dtype))
        return x_WQC + self.mlp_scale * y_WQC


class Network(nn.Module):
    """The transformer, in two parts: encoding of single frames, and of windows."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patches = nn.Conv2d(3, sizes.dim, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + sizes.side**2, sizes.dim))
        if sizes.views_from is not None:
            self.camera_tokens = nn.Parameter(torch.zeros(1, 2, sizes.dim))  # reference, others
        self.views_from = sizes.depth if sizes.views_from is None else sizes.views_from
        self.blocks = nn.ModuleList(Block(sizes, i >= self.views_from) for i in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.dim, eps=1e-5)

    def frames(
        self, images_F3HW: Tensor, layers: Sequence[int], roles: bool, clue: bool
    ) -> dict[str, Tensor]:
        """Return the features of single images, each tensor (F, ...).

        ``layer<i>``: features of requested layers before the first multi-view block. ``entry``:
        tokens before it. With ``roles`` also ``other``: tokens before the first shared block for a
        frame that is not the reference. With ``clue`` also ``clue``: input of the reference rules.
        """
        grid = (images_F3HW.shape[2] // PATCH, images_F3HW.shape[3] // PATCH)
        x_FMC = self.embed(images_F3HW)
        turn = turns(grid, self.sizes, x_FMC.device)
        parts = {}
        for i in range(min(self.views_from, max(layers) + 1)):
            if clue and i == self.views_from - 1:
                parts["clue"] = x_FMC[:, 0]
            x_FMC = self.blocks[i](x_FMC, turn)
            if i in layers:
                parts[f"layer{i}"] = self.features(x_FMC, x_FMC)
        if max(layers) < self.views_from:
            return parts
        parts["entry"] = x_FMC
        if roles and self.views_from < self.sizes.first_shared:
            others_FC = self.camera_tokens[:, 1].expand(len(x_FMC), -1)
            parts["other"] = self.told_apart(x_FMC, others_FC, turn)
        return parts

    def windows(
        self,
        parts: Mapping[str, Tensor],
        grid: tuple[int, int],
        layers: Sequence[int],
        rule: Reference,
        newest: bool = True,
    ) -> list[Tensor]:
        """Return features (W, 1 or K, N, C) of each layer from tensors (W, K, ...)."""
        found = {i: parts[f"layer{i}"] for i in layers if f"layer{i}" in parts}
        if newest:
            found = {i: features[:, -1:] for i, features in found.items()}
        if "entry" in parts:
            found |= self.shared(parts, grid, layers, rule, newest)
        return [found[i] for i in layers]

    def shared(
        self,
        parts: Mapping[str, Tensor],
        grid: tuple[int, int],
        layers: Sequence[int],
        rule: Reference,
        newest: bool,
    ) -> dict[int, Tensor]:
        """Return features (W, 1 or K, N, C) of each layer from the first multi-view block on."""
        own = turns(grid, self.sizes, parts["entry"].device)
        x_WKMC = self.enter(parts, own, choose_reference(rule, parts))
        w, k, m, _ = x_WKMC.shape
        level = alike(grid, k, self.sizes, x_WKMC.device)
        local_WKMC, found = x_WKMC, {}
        for i in range(self.views_from, max(layers) + 1):
            last = newest and i == max(layers)
            if i >= self.sizes.first_shared and i % 2 == 1:
                x_WSC = self.blocks[i](x_WKMC.flatten(1, 2), level, m if last else None)
                x_WKMC = x_WSC.unflatten(1, (-1, m))
            elif i >= self.sizes.first_shared:
                x_WKMC = x_WKMC[:, -1:] if last else x_WKMC
                x_WKMC = self.blocks[i](x_WKMC.flatten(0, 1), own).unflatten(0, (w, -1))
                local_WKMC = x_WKMC
            if i in layers:
                taken = slice(-1, None) if newest else slice(None)
                found[i] = self.features(local_WKMC[:, taken], x_WKMC[:, taken])
        return found

    def enter(self, parts: Mapping[str, Tensor], turn: Turn, reference_W: Tensor) -> Tensor:
        """Return tokens (W, K, M, C) before the first shared block."""
        entry_WKMC = parts["entry"]
        w, k, _, c = entry_WKMC.shape
        rows_W = torch.arange(w, device=reference_W.device)
        if "other" in parts:
            mine_WC = self.camera_tokens[:, 0].expand(w, -1)
            x_WKMC = parts["other"].clone()
            mine_WMC = self.told_apart(entry_WKMC[rows_W, reference_W], mine_WC, turn)
            x_WKMC[rows_W, reference_W] = mine_WMC
            return x_WKMC
        tokens_WKC = self.camera_tokens[:, 1].expand(w, k, c).clone()
        tokens_WKC[rows_W, reference_W] = self.camera_tokens[0, 0]
        x_FMC = self.told_apart(entry_WKMC.flatten(0, 1), tokens_WKC.flatten(0, 1), turn)
        return x_FMC.view(w, k, *x_FMC.shape[1:])

    def told_apart(self, x_FMC: Tensor, tokens_FC: Tensor, turn: Turn) -> Tensor:
        """Return tokens before the first shared block, for frames as the reference or as others."""
        x_FMC = torch.cat([tokens_FC[:, None].to(x_FMC.dtype), x_FMC[:, 1:]], 1)
        for i in range(self.views_from, self.sizes.first_shared):
            x_FMC = self.blocks[i](x_FMC, turn)
        return x_FMC

    def embed(self, images_F3HW: Tensor) -> Tensor:
        """Return tokens (F, M, C) before the first block, class token first."""
        x_FCGJ = self.patches(images_F3HW.to(self.patches.weight.dtype)).float()
        cls_F1C = self.class_token.expand(len(x_FCGJ), -1, -1)
        x_FMC = torch.cat([cls_F1C, x_FCGJ.flatten(2).mT], 1)
        return x_FMC + self.table(x_FCGJ.shape[2], x_FCGJ.shape[3])

    def table(self, rows: int, columns: int) -> Tensor:
        """Return position embeddings (1, M, C) for a grid."""
        side = self.sizes.side
        if (rows, columns) == (side, side):
            return self.positions
        places_1CGJ = self.positions[:, 1:].mT.unflatten(2, (side, side))
        scale = ((rows + OFFSET) / side, (columns + OFFSET) / side)
        # the factor instead of the size, so that sampling positions are those of training
        places_1CGJ = functional.interpolate(places_1CGJ, scale_factor=scale, mode="bicubic")
        return torch.cat([self.positions[:, :1], places_1CGJ.flatten(2).mT], 1)

    def features(self, local_XMC: Tensor, x_XMC: Tensor) -> Tensor:
        """Return patch features (..., N, C) of a layer: the last per-frame output and the norm."""
        normed_XNC: Tensor = self.norm(x_XMC[..., 1:, :])
        if not self.sizes.paired:
            return normed_XNC
        return torch.cat([local_XMC[..., 1:, :], normed_XNC], -1)


def turns(grid: tuple[int, int], sizes: Sizes, device: torch.device) -> Turn:
    """Return the rotary embedding of one frame: class token at 0, 0, patches from 1, 1 on."""
    rows, columns = torch.arange(1, grid[0] + 1), torch.arange(1, grid[1] + 1)
    places_N2 = torch.cartesian_prod(rows, columns)
    return _turn(torch.cat([torch.zeros(1, 2), places_N2]), sizes, device)


def alike(grid: tuple[int, int], frames: int, sizes: Sizes, device: torch.device) -> Turn:
    """Return the rotary embedding of a window: class tokens at 0, 0, all patches at 1, 1."""
    places_N2 = torch.ones(grid[0] * grid[1], 2)
    places_M2 = torch.cat([torch.zeros(1, 2), places_N2])
    return _turn(places_M2.repeat(frames, 1), sizes, device)


def _turn(places_S2: Tensor, sizes: Sizes, device: torch.device) -> Turn:
    quarter = sizes.dim // sizes.heads // 4
    speeds = ROPE_BASE ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = places_S2.to(device)[..., None] * speeds.to(device)
    return angles.cos(), angles.sin()


def rotate(x_WASD: Tensor, turn: Turn) -> Tensor:
    """Return queries or keys rotated, one half of the channels by row, the other by column."""
    a, b = x_WASD.unflatten(-1, (2, 2, -1)).unbind(-2)
    cosine, sine = turn
    return torch.stack([a * cosine - b * sine, b * cosine + a * sine], -2).flatten(-3)


def choose_reference(rule: Reference, parts: Mapping[str, Tensor]) -> Tensor:
    """Return which frame of each window is the reference (W,)."""
    w, k = parts["entry"].shape[:2]
    device = parts["entry"].device
    if k < CHOICE_FROM or rule == "first":
        return torch.zeros(w, dtype=torch.long, device=device)
    if rule == "middle":
        return torch.full((w,), k // 2, device=device)
    clue_WKC = parts["clue"]
    unit_WKC = functional.normalize(clue_WKC, dim=-1)
    # cosines with the other frames; the frame itself counts as 0
    cosine_WKK = unit_WKC @ unit_WKC.mT - torch.eye(k, device=device)
    if rule == "saddle_sim_range":
        return _widest(cosine_WKK)
    measures = (cosine_WKK.mean(-1), clue_WKC.norm(dim=-1), unit_WKC.var(-1))
    return torch.stack([_off_centre(m_WK) for m_WK in measures]).sum(0).argmin(1)


def _widest(cosine_WKK: Tensor) -> Tensor:
    """Return the frame whose cosines have the largest range in each window, the first of several.

    Often these are the two most alike frames: their ranges run from the 0 of the frame itself to
    the cosine they share. Rounding must not choose between them.
    """
    exact_WKK = (cosine_WKK + cosine_WKK.mT) / 2
    exact_WKK.diagonal(dim1=-2, dim2=-1).zero_()
    return (exact_WKK.amax(-1) - exact_WKK.amin(-1)).argmax(1)


def _off_centre(measure_WK: Tensor) -> Tensor:
    """Return the distance of each frame's value from the middle of its window's range."""
    low, high = measure_WK.amin(1, keepdim=True), measure_WK.amax(1, keepdim=True)
    return ((measure_WK - low) / (high - low + 1e-8) - 0.5).abs()
