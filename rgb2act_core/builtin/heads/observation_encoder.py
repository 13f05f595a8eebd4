"""Encode the conditions of a denoiser: observations, their tokens and the diffusion step.

Shapes: B = batch, O = n_obs_steps, D = observation width, N = tokens of an observation step,
C = width of a token, G = width of the encoded observation, K = diffusion steps, E = step embedding,
Q = queries, M = keys, W = width, H = heads
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ...interfaces import HeadShape

QUERIES, READ_WIDTH, READ_HEADS = 8, 64, 4


class StepEmbedding(nn.Module):
    """Embedding of diffusion steps: sines and cosines, then two layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.inner = nn.Linear(dim, 4 * dim)
        self.outer = nn.Linear(4 * dim, dim)

    def forward(self, steps_K: Tensor) -> Tensor:
        """Return embeddings (K, E)."""
        half = self.dim // 2
        scale = -math.log(10_000) / (half - 1)
        waves = torch.exp(scale * torch.arange(half, device=steps_K.device))
        angles_KH = steps_K[:, None].float() * waves
        waves_KE = torch.cat([angles_KH.sin(), angles_KH.cos()], dim=-1)
        embedded_KE: Tensor = self.outer(F.mish(self.inner(waves_KE)))
        return embedded_KE


def attend(q_BQW: Tensor, kv_BMX: Tensor, heads: int) -> Tensor:
    """Return attention (B, Q, W) to concatenated keys and values (B, M, 2 W)."""
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in (q_BQW, *kv_BMX.chunk(2, dim=-1))
    )
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class TokenEmbedding(nn.Module):
    """Project tokens to a width and add an embedding of their step and position.

    ``tokens`` is the number of tokens of an observation step and their width.
    """

    def __init__(self, n_obs_steps: int, tokens: tuple[int, int], width: int) -> None:
        super().__init__()
        number, token_width = tokens
        self.inp = nn.Linear(token_width, width)
        self.place = nn.Parameter(0.02 * torch.randn(n_obs_steps, number, width))

    def forward(self, tokens_BONC: Tensor) -> Tensor:
        """Return the tokens of all observation steps, (B, M, W)."""
        return (self.inp(tokens_BONC) + self.place).flatten(1, 2)  # type: ignore[no-any-return]


class TokenReader(nn.Module):
    """Summarise tokens in one vector with learned queries that attend to them."""

    def __init__(self, n_obs_steps: int, tokens: tuple[int, int]) -> None:
        super().__init__()
        self.tokens = TokenEmbedding(n_obs_steps, tokens, READ_WIDTH)
        self.norm = nn.LayerNorm(READ_WIDTH)
        self.queries = nn.Parameter(torch.randn(QUERIES, READ_WIDTH))
        self.keys_values = nn.Linear(READ_WIDTH, 2 * READ_WIDTH)
        self.out = nn.Linear(READ_WIDTH, READ_WIDTH)

    def forward(self, tokens_BONC: Tensor) -> Tensor:
        """Return (B, Q * W)."""
        kv_BMX = self.keys_values(self.norm(self.tokens(tokens_BONC)))
        queries_BQW = self.queries.expand(len(kv_BMX), -1, -1)
        return self.out(attend(queries_BQW, kv_BMX, READ_HEADS)).flatten(1)  # type: ignore[no-any-return]


class ObservationEncoder(nn.Module):
    """Concatenate observations and a summary of their tokens; no parameters without tokens."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.reader = None
        self.width = shape.n_obs_steps * shape.obs_dim
        if shape.tokens is not None:
            self.reader = TokenReader(shape.n_obs_steps, shape.tokens)
            self.width += QUERIES * READ_WIDTH

    def forward(self, obs_BOD: Tensor, tokens_BONC: Tensor | None) -> Tensor:
        """Return (B, G)."""
        if self.reader is None:
            return obs_BOD.flatten(1)
        return torch.cat([obs_BOD.flatten(1), self.reader(tokens_BONC)], dim=-1)
