"""Networks that denoise a plan: residual MLP, conditional 1-D UNet, transformer.

A denoiser has three parts, so that sampling repeats only what changes from step to step:
``context`` (observations alone, once a plan), ``clock`` (diffusion steps alone, all of a plan's
steps at once) and ``forward`` (the noisy plan and what the other two returned). Nothing in them
differs between training and eval mode.

Shapes: B = batch, O = n_obs_steps, D = observation width, S = horizon, A = action dims,
K = diffusion steps (B of them, or 1 for all rows), E = step embedding, W = width,
F = what ``context`` and ``clock`` hand on, C = channels, L = length of a level
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..records import HeadShape
from .diffusion_config import Diffusion, Mlp, Transformer, Unet


class StepEmbedding(nn.Module):
    """Embed diffusion steps: sines and cosines, then two layers."""

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


class MlpBlock(nn.Module):
    """Add to x what two layers make of it and of the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x_BW: Tensor, condition_BW: Tensor) -> Tensor:
        """Return x (B, W) with the residual added."""
        inner_BW = F.gelu(self.inner(self.norm(x_BW)) + condition_BW)
        return x_BW + self.outer(inner_BW)  # type: ignore[no-any-return]


class MlpDenoiser(nn.Module):
    """Denoise the flattened plan; every block is told the observations and the step anew."""

    def __init__(self, config: Mlp, shape: HeadShape, step_dim: int) -> None:
        super().__init__()
        flat, width = shape.horizon * shape.action_dim, config.width
        self.step = StepEmbedding(step_dim)
        self.from_step = nn.Linear(step_dim, config.blocks * width, bias=False)
        self.from_obs = nn.Sequential(
            nn.Linear(shape.n_obs_steps * shape.obs_dim, width),
            nn.GELU(),
            nn.Linear(width, config.blocks * width),
        )
        self.inp = nn.Linear(flat, width)
        self.blocks = nn.ModuleList(MlpBlock(width) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, flat)

    def context(self, obs_BOD: Tensor) -> Tensor:
        """Return (B, F), what each block is told of the observations."""
        return self.from_obs(obs_BOD.flatten(1))  # type: ignore[no-any-return]

    def clock(self, steps_K: Tensor) -> Tensor:
        """Return (K, F), what each block is told of the diffusion step."""
        return self.from_step(F.mish(self.step(steps_K)))  # type: ignore[no-any-return]

    def forward(self, x_BSA: Tensor, clock_KF: Tensor, context_BF: Tensor) -> Tensor:
        """Return the prediction (B, S, A)."""
        conditions = (context_BF + clock_KF).chunk(len(self.blocks), dim=-1)
        h_BW = self.inp(x_BSA.flatten(1))
        for block, condition_BW in zip(self.blocks, conditions, strict=True):
            h_BW = block(h_BW, condition_BW)
        return self.out(self.norm(h_BW)).view_as(x_BSA)  # type: ignore[no-any-return]


def _convolve(conv: nn.Conv1d, x_BCL: Tensor) -> Tensor:
    """Convolve; on a CPU as one matrix product over windows, where short rows gain twofold."""
    size = conv.kernel_size[0]
    if not x_BCL.is_cpu or x_BCL.shape[-1] > 32:
        return conv(x_BCL)  # type: ignore[no-any-return]
    pad = int(conv.padding[0])
    windows_BCLT = F.pad(x_BCL, (pad, pad)).unfold(2, size, conv.stride[0])  # T = taps
    rows_BLX = windows_BCLT.transpose(1, 2).flatten(2)  # X = channels and taps
    return F.linear(rows_BLX, conv.weight.flatten(1), conv.bias).transpose(1, 2)


class ConvBlock(nn.Module):
    """Convolve, normalise in groups, apply Mish."""

    def __init__(self, c_in: int, c_out: int, config: Unet) -> None:
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, config.kernel_size, padding=config.kernel_size // 2)
        self.norm = nn.GroupNorm(config.groups, c_out)

    def forward(self, x_BCL: Tensor) -> Tensor:
        """Return (B, C, L)."""
        return F.mish(self.norm(_convolve(self.conv, x_BCL)))


class FilmBlock(nn.Module):
    """Convolve twice, scaled and shifted in between, around a residual."""

    def __init__(self, c_in: int, c_out: int, config: Unet) -> None:
        super().__init__()
        self.first = ConvBlock(c_in, c_out, config)
        self.second = ConvBlock(c_out, c_out, config)
        self.skip = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x_BCL: Tensor, film_BF: Tensor) -> Tensor:
        """Return (B, C, L); film holds C scales, then C shifts."""
        scale_BC1, shift_BC1 = film_BF[:, :, None].chunk(2, dim=1)
        h_BCL = self.second(torch.addcmul(shift_BC1, scale_BC1, self.first(x_BCL)))
        residual_BCL = x_BCL if self.skip is None else _convolve(self.skip, x_BCL)
        return h_BCL + residual_BCL  # type: ignore[no-any-return]


class UnetDenoiser(nn.Module):
    """Denoise with a UNet over the plan's steps (Chi et al. 2023, arXiv 2303.04137).

    Its sizes, wiring and parameter count are those of the paper's conditional 1-D UNet with
    scale and shift. Each block's FiLM is W Mish([step, observations]): Mish acts number by number,
    so W splits by columns and the observations' share is one product a plan. The W of all blocks
    lie in one layer, ``film``, in the order the blocks run.
    """

    def __init__(self, config: Unet, shape: HeadShape, step_dim: int) -> None:
        super().__init__()
        dims = config.down_dims
        downs = [(shape.action_dim, dims[0]), *pairwise(dims)]
        ups = [(2 * c_out, c_in) for c_in, c_out in reversed(downs[1:])]
        blocks = [pair for c_in, c_out in downs for pair in ((c_in, c_out), (c_out, c_out))]
        blocks += [(dims[-1], dims[-1])] * 2
        blocks += [pair for c_in, c_out in ups for pair in ((c_in, c_out), (c_out, c_out))]
        self.blocks = nn.ModuleList(FilmBlock(*pair, config) for pair in blocks)
        self.shrink = nn.ModuleList(nn.Conv1d(c, c, 3, stride=2, padding=1) for c in dims[:-1])
        self.grow = nn.ModuleList(nn.ConvTranspose1d(c, c, 4, stride=2, padding=1) for _, c in ups)
        self.final = ConvBlock(dims[0], dims[0], config)
        self.out = nn.Conv1d(dims[0], shape.action_dim, 1)
        self.step_dim = step_dim
        self.step = StepEmbedding(step_dim)
        self.film_sizes = [2 * c_out for _, c_out in blocks]
        self.film = nn.Linear(step_dim + shape.n_obs_steps * shape.obs_dim, sum(self.film_sizes))

    def context(self, obs_BOD: Tensor) -> Tensor:
        """Return (B, F), the observations' share of every block's scales and shifts."""
        weight = self.film.weight[:, self.step_dim :]
        return F.linear(F.mish(obs_BOD.flatten(1)), weight, self.film.bias)

    def clock(self, steps_K: Tensor) -> Tensor:
        """Return (K, F), the diffusion step's share."""
        return F.linear(F.mish(self.step(steps_K)), self.film.weight[:, : self.step_dim])

    def forward(self, x_BSA: Tensor, clock_KF: Tensor, context_BF: Tensor) -> Tensor:
        """Return the prediction (B, S, A)."""
        films = (context_BF + clock_KF).split(self.film_sizes, dim=-1)
        layers = iter(zip(self.blocks, films, strict=True))

        def twice(h_BCL: Tensor) -> Tensor:
            for _ in range(2):
                block, film_BF = next(layers)
                h_BCL = block(h_BCL, film_BF)
            return h_BCL

        h_BCL, kept = x_BSA.transpose(1, 2), []
        for shrink in self.shrink:
            assert isinstance(shrink, nn.Conv1d)  # ModuleList forgets it
            kept.append(twice(h_BCL))
            h_BCL = _convolve(shrink, kept[-1])
        kept.append(twice(h_BCL))
        h_BCL = twice(kept[-1])
        for grow in self.grow:  # the first level's kept output is never used, as in the paper
            h_BCL = grow(twice(torch.cat([h_BCL, kept.pop()], dim=1)))
        return _convolve(self.out, self.final(h_BCL)).transpose(1, 2)


class TransformerDenoiser(nn.Module):
    """Denoise the plan's steps as tokens that attend to one another and to the observations."""

    def __init__(self, config: Transformer, shape: HeadShape, step_dim: int) -> None:
        super().__init__()
        width, heads, inner = config.width, config.heads, 4 * config.width
        self.step = StepEmbedding(step_dim)
        self.from_step = nn.Linear(step_dim, width)
        self.from_obs = nn.Linear(shape.obs_dim, width)
        self.obs_place = nn.Parameter(0.02 * torch.randn(shape.n_obs_steps, width))
        self.encoder = nn.TransformerEncoderLayer(
            width, heads, inner, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.inp = nn.Linear(shape.action_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(shape.horizon, width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, inner, 0.0, F.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, shape.action_dim)

    def context(self, obs_BOD: Tensor) -> Tensor:
        """Return (B, O, W), the encoded observations."""
        return self.encoder(self.from_obs(obs_BOD) + self.obs_place)  # type: ignore[no-any-return]

    def clock(self, steps_K: Tensor) -> Tensor:
        """Return (K, W), one token a diffusion step."""
        return self.from_step(F.mish(self.step(steps_K)))  # type: ignore[no-any-return]

    def forward(self, x_BSA: Tensor, clock_KW: Tensor, context_BOW: Tensor) -> Tensor:
        """Return the prediction (B, S, A)."""
        clock_B1W = clock_KW[:, None].expand(len(x_BSA), 1, -1)
        memory_BMW = torch.cat([clock_B1W, context_BOW], dim=1)
        h_BSW = self.inp(x_BSA) + self.place
        for layer in self.layers:
            h_BSW = layer(h_BSW, memory_BMW)
        return self.out(self.norm(h_BSW))  # type: ignore[no-any-return]


Denoiser: TypeAlias = MlpDenoiser | UnetDenoiser | TransformerDenoiser


def make(config: Diffusion, shape: HeadShape) -> Denoiser:
    """Return the denoiser that the config chooses, with random weights."""
    match config.net:
        case Mlp() as net:
            return MlpDenoiser(net, shape, config.step_dim)
        case Unet() as net:
            return UnetDenoiser(net, shape, config.step_dim)
        case Transformer() as net:
            return TransformerDenoiser(net, shape, config.step_dim)
