"""The aligner: maps tokens of several backbones to one embedding in the teacher's space.

Training, evaluation and inference run the same module. For each frame it standardises the tokens,
maps those of each backbone to a common width with an MLP (the adapter), resamples them to a common
grid, fuses the backbones cell by cell, optionally applies a transformer to the fused tokens
(the context), pools them camera by camera, and projects the result into the teacher's space.
Training may use a random sample of the grid's cells; everything else uses all of them.

Shapes: B = frames, L = windows of K frames, M = backbones, V = cameras, N = cells of the common
grid that are used, C = channels of a backbone, W = token_dim, D = width of the embedding, equal to
the teacher's, X = width of the pooled vector
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from ..data.standardization import Standardization
from ..features import token_grids as grids
from ..features.fingerprint import Fingerprint
from ..features.token_grids import TokenSample, finest
from ..interfaces import FusedTokens, Fusion
from ..spec import Context
from . import pooling
from .context_encoder import ContextEncoder
from .local_loss import LocalHead
from .losses import Temperature
from .teacher_space import Space, TeacherTransform


@attrs.frozen(kw_only=True)
class AlignerConfig:
    """Everything that determines an aligner's network; stored next to its weights."""

    backbones: tuple[str, ...]  # labels of the M backbones
    channels: tuple[int, ...]  # C of each
    grids: tuple[tuple[int, int], ...]  # rows and columns of each
    cameras: int
    teacher_dim: int
    teacher_space: Space
    embedding_dim: int
    token_dim: int
    pool: pooling.Kind
    keypoint_maps: int
    keypoint_values: int
    mlp_dim: int
    temperature: float | None  # initial value of a learned temperature; None without one
    adapter: Literal["narrow", "wide"] = "narrow"
    context: Context = attrs.field(factory=Context)
    window: int = 1  # frames per embedding
    stride: int = 1  # steps between the frames of a window
    aggregate: Literal["mean", "attention"] = "mean"
    group_dim: int = 0  # width of the teacher's group tokens, for the local losses; 0 without

    @property
    def grid(self) -> tuple[int, int]:
        """Return the common grid: the finest of the backbones' grids."""
        return finest(self.grids)

    @property
    def reach(self) -> int:
        """Return how many steps before the newest frame an embedding depends on."""
        return (self.window - 1) * self.stride


@attrs.frozen(eq=False, kw_only=True)
class Aligned:
    """The aligner's outputs for B frames."""

    embedding: Tensor  # (B, D), in the teacher's space
    tokens: Tensor  # (B, V, N, W), fused
    weights: Tensor  # (M,), mean share of each backbone
    fusion_loss: Tensor  # scalar, the fusion's own loss term
    pooled: Tensor | None = None  # (B, M, W), mean adapted token of each backbone, on request
    local: Tensor | None = None  # (B, V * N, C), in the space of the group tokens, on request


class Aligner(nn.Module):
    """Map tokens of M backbones to one embedding per frame.

    ``fingerprints`` identify the backbones whose features the aligner was trained on.
    """

    teacher_mean: Tensor  # (D,)
    teacher_std: Tensor  # (D,)
    teacher_whitening: Tensor | None  # (D, D), for a whitened teacher space

    def __init__(
        self, config: AlignerConfig, fusion: Fusion, fingerprints: Sequence[Fingerprint] = ()
    ) -> None:
        super().__init__()
        self.config, self.fingerprints = config, tuple(fingerprints)
        width, dim = config.token_dim, config.teacher_dim
        self.register_buffer("teacher_mean", torch.zeros(dim))
        self.register_buffer("teacher_std", torch.ones(dim))
        whitening = torch.eye(dim) if config.teacher_space == "whitened" else None
        self.register_buffer("teacher_whitening", whitening)
        wide = config.adapter == "wide"
        self.adapters = nn.ModuleList(Adapter(c, width, wide) for c in config.channels)
        self.fusion = fusion.module(len(config.channels), width)
        self.pool = pooling.build(
            config.pool,
            config.cameras,
            width,
            config.keypoint_maps,
            config.keypoint_values,
            config.grid,
        )
        self.trunk = nn.Sequential(
            nn.Linear(self.pool.out, config.mlp_dim),
            nn.GELU(),
            nn.Linear(config.mlp_dim, config.embedding_dim),
            nn.GELU(),
        )
        self.projector = nn.Linear(config.embedding_dim, dim)
        self.temperature = Temperature(config.temperature) if config.temperature else None
        self.context = None
        if config.context.layers:
            self.context = ContextEncoder(config.context, width, config.cameras, config.grid)
        self.window_attention = None
        if config.window > 1 and config.aggregate == "attention":
            self.window_attention = pooling.WindowAttention(config.window, dim)
        self.local = LocalHead(width, config.group_dim) if config.group_dim else None

    def forward(
        self,
        tokens_BVNC: Sequence[Tensor],
        pooled: bool = False,
        sample: TokenSample | None = None,
        windows_LK: Tensor | None = None,
        local: bool = False,
    ) -> Aligned:
        """Return the embeddings of B frames.

        Args:
            tokens_BVNC: one tensor per backbone, any float dtype. With ``sample`` they hold only
                the tokens that the sampled cells are interpolated from.
            pooled: whether to return each backbone's mean adapted token.
            sample: cells of the common grid; None uses all.
            windows_LK: indices into the B frames, oldest first. The embeddings are then those of L
                windows, and the other outputs those of each window's newest frame.
            local: whether to map the fused tokens into the space of the teacher's group tokens.
        """
        adapted = [
            adapter(self._on_common_grid(tokens.float(), i, sample))
            for i, (adapter, tokens) in enumerate(zip(self.adapters, tokens_BVNC, strict=True))
        ]
        stacked_BVNMW = (
            torch.stack(adapted).movedim(0, 3)  # one contiguous copy
            if len(adapted) > 1
            else adapted[0].unsqueeze(3)
        )
        cameras, cells = stacked_BVNMW.shape[1:3]
        fused: FusedTokens = self.fusion(stacked_BVNMW.flatten(1, 2))
        fused_BVNW = fused.tokens.unflatten(1, (cameras, cells))
        cells_N = None if sample is None else sample.cells.to(fused_BVNW.device)
        if self.context is not None:
            fused_BVNW = self.context(fused_BVNW, cells_N)
        with torch.autocast(fused_BVNW.device.type, enabled=False):  # sums of many terms
            pooled_BX = self.pool(F.gelu(fused_BVNW.float()), cells_N)
            embedding = self.projector(self.trunk(pooled_BX))
        aligned = Aligned(
            embedding=embedding,
            tokens=fused_BVNW,
            weights=fused.weights,
            fusion_loss=fused.loss,
            pooled=stacked_BVNMW.mean((1, 2)) if pooled else None,
            local=self.local(fused_BVNW) if local and self.local is not None else None,
        )
        return aligned if windows_LK is None else self._windows(aligned, windows_LK)

    def _windows(self, aligned: Aligned, windows_LK: Tensor) -> Aligned:
        newest_L = windows_LK[:, -1].to(aligned.embedding.device)
        return attrs.evolve(
            aligned,
            embedding=self.over_windows(aligned.embedding, windows_LK),
            tokens=aligned.tokens[newest_L],
            pooled=None if aligned.pooled is None else aligned.pooled[newest_L],
            local=None if aligned.local is None else aligned.local[newest_L],
        )

    def over_windows(self, embedding_BD: Tensor, windows_LK: Tensor) -> Tensor:
        """Return the embeddings (L, D) of windows, given as indices into B frames, oldest first."""
        frames_LKD = embedding_BD[windows_LK.to(embedding_BD.device)]
        if self.window_attention is None:
            return frames_LKD.mean(1)
        attended: Tensor = self.window_attention(frames_LKD)
        return attended

    def _on_common_grid(self, tokens_BVNC: Tensor, i: int, sample: TokenSample | None) -> Tensor:
        """Resample backbone i's tokens to the common grid, or to the sampled cells of it."""
        if sample is not None:
            return sample.interpolations[i](tokens_BVNC)
        return grids.resample(tokens_BVNC, self.config.grids[i], self.config.grid)

    def sample_cells(
        self, count: int, replacement: bool, generator: torch.Generator
    ) -> TokenSample:
        """Sample cells of the common grid."""
        config = self.config
        return grids.sample_cells(config.grids, config.grid, count, replacement, generator)

    def teacher_space(self, embedding_BD: Tensor) -> Tensor:
        """Map teacher embeddings (B, D) into the space of the aligner's embeddings."""
        transform = TeacherTransform(
            mean=self.teacher_mean, std=self.teacher_std, whitening=self.teacher_whitening
        )
        return transform(embedding_BD)

    @torch.no_grad()
    def set_statistics(self, tokens: Sequence[Tensor], teacher: TeacherTransform) -> None:
        """Set the standardisation of the tokens, given samples (B, V, N, C), and of the teacher."""
        for adapter, tokens_BVNC in zip(self.adapters, tokens, strict=True):
            mean, std = adapter.get_buffer("mean"), adapter.get_buffer("std")
            Standardization.of(tokens_BVNC.flatten(0, 2)).copy_to(mean, std)
        self.teacher_mean.copy_(teacher.mean)
        self.teacher_std.copy_(teacher.std)
        if self.teacher_whitening is not None and teacher.whitening is not None:
            self.teacher_whitening.copy_(teacher.whitening)


class Adapter(nn.Module):
    """Standardise tokens and map them to the common width: (..., C) -> (..., W).

    A wide adapter has a hidden layer of twice the width and normalises each token at the end.
    """

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    def __init__(self, channels: int, width: int, wide: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        hidden = 2 * width if wide else width
        self.first = nn.Linear(channels, hidden)
        self.second = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width) if wide else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return adapted tokens.

        In float32 the standardisation is folded into the first layer. In lower precision it is not,
        because rounding would lose the differences between tokens with a large mean.
        """
        if torch.is_autocast_enabled(tokens.device.type):
            hidden = self.first((tokens - self.mean) / self.std)
        else:
            weight = self.first.weight / self.std
            hidden = F.linear(tokens, weight, self.first.bias - weight @ self.mean)
        adapted: Tensor = self.second(F.gelu(hidden))
        if self.norm is not None:
            adapted = self.norm(adapted)
        return adapted
