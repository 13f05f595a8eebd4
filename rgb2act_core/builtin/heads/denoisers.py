"""Networks that denoise a plan: residual MLP, transformer, and the UNet of ``unet.py``.

A denoiser has three parts, so that sampling repeats only what changes from step to step:
``context`` encodes observations and their tokens, once per plan; ``clock`` encodes diffusion steps,
all steps of a plan at once; ``forward`` takes the noisy plan and the results of the other two.
Training and eval mode do not differ.

Shapes: B = batch, O = n_obs_steps, D = observation width, N = tokens of an observation step,
C = width of a token, S = horizon, A = action dims, K = diffusion steps (B of them, or 1 for all
rows), W = width, M = memory tokens of the transformer, F = width of ``context`` and ``clock``
"""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ...interfaces import HeadShape
from .denoiser_config import Mlp, Transformer, Unet
from .observation_encoder import ObservationEncoder, StepEmbedding, TokenEmbedding, attend
from .unet import UnetDenoiser


class MlpBlock(nn.Module):
    """A residual block of two layers, conditioned by addition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x_BW: Tensor, condition_BW: Tensor) -> Tensor:
        """Return (B, W)."""
        inner_BW = F.gelu(self.inner(self.norm(x_BW)) + condition_BW)
        return x_BW + self.outer(inner_BW)  # type: ignore[no-any-return]


class MlpDenoiser(nn.Module):
    """A residual MLP over the flattened plan; observations and step condition every block."""

    def __init__(self, config: Mlp, shape: HeadShape, step_dim: int) -> None:
        super().__init__()
        flat, width = shape.horizon * shape.action_dim, config.width
        self.step = StepEmbedding(step_dim)
        self.from_step = nn.Linear(step_dim, config.blocks * width, bias=False)
        self.observed = ObservationEncoder(shape)
        self.from_obs = nn.Sequential(
            nn.Linear(self.observed.width, width),
            nn.GELU(),
            nn.Linear(width, config.blocks * width),
        )
        self.inp = nn.Linear(flat, width)
        self.blocks = nn.ModuleList(MlpBlock(width) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, flat)

    def context(self, obs_BOD: Tensor, tokens_BONC: Tensor | None = None) -> Tensor:
        """Return the observations' part of every block's condition, (B, F)."""
        return self.from_obs(self.observed(obs_BOD, tokens_BONC))  # type: ignore[no-any-return]

    def clock(self, steps_K: Tensor) -> Tensor:
        """Return the diffusion step's part of every block's condition, (K, F)."""
        return self.from_step(F.mish(self.step(steps_K)))  # type: ignore[no-any-return]

    def forward(self, x_BSA: Tensor, clock_KF: Tensor, context_BF: Tensor) -> Tensor:
        """Return the prediction (B, S, A)."""
        conditions = (context_BF + clock_KF).chunk(len(self.blocks), dim=-1)
        h_BW = self.inp(x_BSA.flatten(1))
        for block, condition_BW in zip(self.blocks, conditions, strict=True):
            h_BW = block(h_BW, condition_BW)
        return self.out(self.norm(h_BW)).view_as(x_BSA)  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Self-attention over a plan's steps, then cross-attention to given keys and values."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.query_out = nn.Linear(width, width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(self, h_BSW: Tensor, kv_BMX: Tensor) -> Tensor:
        """Return the plan's tokens (B, S, W)."""
        own, cross, deep = self.norms
        q_BSW, kv_BSX = self.own(own(h_BSW)).split([h_BSW.shape[-1], 2 * h_BSW.shape[-1]], dim=-1)
        h_BSW = h_BSW + self.own_out(attend(q_BSW, kv_BSX, self.heads))
        h_BSW = h_BSW + self.query_out(attend(self.query(cross(h_BSW)), kv_BMX, self.heads))
        return h_BSW + self.outer(F.gelu(self.inner(deep(h_BSW))))  # type: ignore[no-any-return]


class TransformerDenoiser(nn.Module):
    """A transformer over the plan's steps with cross-attention to the observations.

    One layer computes the keys and values of all decoder layers, so those of the observations are
    computed once per plan.
    """

    def __init__(self, config: Transformer, shape: HeadShape, step_dim: int) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.step = StepEmbedding(step_dim)
        self.from_step = nn.Linear(step_dim, width)
        self.from_obs = nn.Linear(shape.obs_dim, width)
        self.obs_place = nn.Parameter(0.02 * torch.randn(shape.n_obs_steps, width))
        self.encoder = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.tokens = None
        if shape.tokens is not None:
            self.tokens = TokenEmbedding(shape.n_obs_steps, shape.tokens, width)
        self.keys_values = nn.Linear(width, 2 * width * config.layers)
        self.inp = nn.Linear(shape.action_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(shape.horizon, width))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, shape.action_dim)

    def context(self, obs_BOD: Tensor, tokens_BONC: Tensor | None = None) -> Tensor:
        """Return keys and values of the encoded observations and of the tokens, (B, M, F)."""
        memory_BMW = self.encoder(self.from_obs(obs_BOD) + self.obs_place)
        if self.tokens is not None:
            memory_BMW = torch.cat([memory_BMW, self.tokens(tokens_BONC)], dim=1)
        return self.keys_values(memory_BMW)  # type: ignore[no-any-return]

    def clock(self, steps_K: Tensor) -> Tensor:
        """Return keys and values of the diffusion steps, (K, F)."""
        return self.keys_values(self.from_step(F.mish(self.step(steps_K))))  # type: ignore[no-any-return]

    def forward(self, x_BSA: Tensor, clock_KF: Tensor, context_BMF: Tensor) -> Tensor:
        """Return the prediction (B, S, A)."""
        clock_B1F = clock_KF[:, None].expand(len(x_BSA), 1, -1)
        memories = torch.cat([clock_B1F, context_BMF], dim=1).chunk(len(self.layers), dim=-1)
        h_BSW = self.inp(x_BSA) + self.place
        for layer, kv_BMX in zip(self.layers, memories, strict=True):
            h_BSW = layer(h_BSW, kv_BMX)
        return self.out(self.norm(h_BSW))  # type: ignore[no-any-return]


Denoiser: TypeAlias = MlpDenoiser | UnetDenoiser | TransformerDenoiser


def build_denoiser(net: Mlp | Unet | Transformer, shape: HeadShape, step_dim: int) -> Denoiser:
    """Return a denoiser of these sizes with random weights."""
    match net:
        case Mlp():
            return MlpDenoiser(net, shape, step_dim)
        case Unet():
            return UnetDenoiser(net, shape, step_dim)
        case Transformer():
            return TransformerDenoiser(net, shape, step_dim)
