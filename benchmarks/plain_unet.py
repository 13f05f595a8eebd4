"""Unoptimised UNet of Diffusion Policy, built from torch layers, as a reference for comparison.

Each call embeds the diffusion step and the observations and runs ``nn.Conv1d``. The network and its
parameter names are those of ConditionalUnet1D in real-stanford/diffusion_policy with
``cond_predict_scale=True``.

Shapes: B = batch, O = n_obs_steps, D = observation width, S = horizon, A = action dims, G = width
of the condition, C = channels, L = length of a level
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Sinusoidal embedding of diffusion steps."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, steps_B: Tensor) -> Tensor:
        half = self.dim // 2
        frequencies = torch.exp(torch.arange(half) * -(math.log(10_000) / (half - 1)))
        angles = steps_B[:, None] * frequencies[None]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ConvBlock(nn.Module):
    """Convolution, group norm and Mish."""

    def __init__(self, c_in: int, c_out: int, size: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(c_in, c_out, size, padding=size // 2)
        self.block = nn.Sequential(conv, nn.GroupNorm(groups, c_out), nn.Mish())

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.block(x_BCL)


class Residual(nn.Module):
    """Two convolution blocks with FiLM conditioning between them and a residual connection."""

    def __init__(self, c_in: int, c_out: int, width: int, size: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [ConvBlock(c_in, c_out, size, groups), ConvBlock(c_out, c_out, size, groups)]
        )
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(width, 2 * c_out))
        self.residual_conv = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x_BCL: Tensor, condition_BG: Tensor) -> Tensor:
        out = self.blocks[0](x_BCL)
        scale, shift = self.cond_encoder(condition_BG).unsqueeze(-1).chunk(2, dim=1)
        return self.blocks[1](scale * out + shift) + self.residual_conv(x_BCL)


class Resample(nn.Module):
    """Convolution that changes the temporal resolution."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.conv(x_BCL)


class PlainUnet(nn.Module):
    """Conditional 1D UNet: noisy actions (B, S, A) to predictions of the same shape."""

    def __init__(
        self,
        action_dim: int,
        obs_width: int,
        step_dim: int = 128,
        down_dims: tuple[int, ...] = (256, 512, 1024),
        size: int = 5,
        groups: int = 8,
    ) -> None:
        super().__init__()
        width = step_dim + obs_width

        def residual(c_in: int, c_out: int) -> Residual:
            return Residual(c_in, c_out, width, size, groups)

        self.diffusion_step_encoder = nn.Sequential(
            SinusoidalEmbedding(step_dim),
            nn.Linear(step_dim, 4 * step_dim),
            nn.Mish(),
            nn.Linear(4 * step_dim, step_dim),
        )
        pairs = list(pairwise((action_dim, *down_dims)))
        last = down_dims[-1]
        self.mid_modules = nn.ModuleList([residual(last, last), residual(last, last)])
        self.down_modules, self.up_modules = nn.ModuleList(), nn.ModuleList()
        for i, (c_in, c_out) in enumerate(pairs):
            shrink = Resample(nn.Conv1d(c_out, c_out, 3, 2, 1))
            parts = [residual(c_in, c_out), residual(c_out, c_out)]
            is_last = i == len(pairs) - 1
            self.down_modules.append(nn.ModuleList([*parts, nn.Identity() if is_last else shrink]))
        for c_in, c_out in reversed(pairs[1:]):
            grow = Resample(nn.ConvTranspose1d(c_in, c_in, 4, 2, 1))
            parts = [residual(2 * c_out, c_in), residual(c_in, c_in)]
            self.up_modules.append(nn.ModuleList([*parts, grow]))
        first = down_dims[0]
        self.final_conv = nn.Sequential(
            ConvBlock(first, first, size, groups), nn.Conv1d(first, action_dim, 1)
        )

    def forward(self, x_BSA: Tensor, steps_B: Tensor, obs_BOD: Tensor) -> Tensor:
        x = x_BSA.transpose(1, 2)
        step = self.diffusion_step_encoder(steps_B.expand(len(x)))
        condition_BG = torch.cat([step, obs_BOD.flatten(1)], dim=-1)
        skips = []
        for first, second, shrink in self.down_modules:
            x = second(first(x, condition_BG), condition_BG)
            skips.append(x)
            x = shrink(x)
        for block in self.mid_modules:
            x = block(x, condition_BG)
        for first, second, grow in self.up_modules:
            x = torch.cat((x, skips.pop()), dim=1)
            x = grow(second(first(x, condition_BG), condition_BG))
        return self.final_conv(x).transpose(1, 2)
