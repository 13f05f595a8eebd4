"""The aligner: adapters, fusion, pool, embedding, and the map into the teacher's space.

One module with one code path serves training, export and control. What it computes per frame:
standardise tokens -> one grid for all backbones -> an MLP a backbone -> fusion per place ->
context, if any -> pool per camera -> trunk -> projector into the teacher's space, where the policy
looks too. Training may look at places that were drawn, everything else looks at all of them.

Shapes: B = frames, L = windows of K frames, M = backbones, V = cameras, N = places of the common
grid that are looked at, C = channels of a backbone, W = width of fused tokens, D = embedding, as
wide as the teacher's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from ..features import token_grids as grids
from ..features.fingerprint import Fingerprint
from ..features.token_grids import TokenSample, finest
from ..interfaces import FusedTokens, Fusion
from ..spec import Context
from . import pooling
from .context_encoder import ContextEncoder
from .local_loss import LocalHead
from .losses import Temperature
from .teacher_space import Map, Space

FLOOR = 1e-4  # smallest standard deviation that standardising divides by


@attrs.frozen(kw_only=True)
class AlignerConfig:
    """Say what an aligner is built for: everything but its weights."""

    backbones: tuple[str, ...]  # M labels
    channels: tuple[int, ...]  # C of each
    grids: tuple[tuple[int, int], ...]  # rows and columns of each
    cameras: int
    teacher_dim: int
    teacher_space: Space
    dim: int
    width: int
    pool: pooling.Kind
    maps: int
    values: int
    hidden: int
    tau: float | None  # the temperature it began to learn with, if any
    adapter: Literal["narrow", "wide"] = "narrow"
    context: Context = attrs.field(factory=Context)
    window: int = 1  # frames that an embedding is of
    stride: int = 1  # steps between them
    aggregate: Literal["mean", "attention"] = "mean"
    groups: int = 0  # width of the teacher's group tokens that it was trained with

    @property
    def grid(self) -> tuple[int, int]:
        """Return the common grid: the finest of all."""
        return finest(self.grids)

    @property
    def reach(self) -> int:
        """Return how many steps an embedding looks back on."""
        return (self.window - 1) * self.stride


@attrs.frozen(eq=False, kw_only=True)
class Aligned:
    """Hold what the aligner made of B frames."""

    embedding: Tensor  # (B, D), in the teacher's space
    tokens: Tensor  # (B, V, N, W), fused
    weights: Tensor  # (M,), share of each backbone
    loss: Tensor  # scalar, the fusion's own term
    pooled: Tensor | None = None  # (B, M, W), each backbone's mean adapted token, if asked for
    local: Tensor | None = None  # (B, V * N, C), beside the teacher's group tokens, if asked for


class Aligner(nn.Module):
    """Map tokens of M backbones to one embedding a frame."""

    teacher_mean: Tensor  # (D,)
    teacher_std: Tensor
    teacher_turn: Tensor | None  # (D, D), where the teacher's space is whitened
    fingerprints: tuple[Fingerprint, ...] = ()  # of the backbones that it learned from

    def __init__(self, shape: AlignerConfig, fusion: Fusion) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("teacher_mean", torch.zeros(shape.teacher_dim))
        self.register_buffer("teacher_std", torch.ones(shape.teacher_dim))
        turn = torch.eye(shape.teacher_dim) if shape.teacher_space == "whitened" else None
        self.register_buffer("teacher_turn", turn)
        wide = shape.adapter == "wide"
        self.adapters = nn.ModuleList(Adapter(c, shape.width, wide) for c in shape.channels)
        self.fusion = fusion.module(len(shape.channels), shape.width)
        self.pool = pooling.build(
            shape.pool, shape.cameras, shape.width, shape.maps, shape.values, shape.grid
        )
        self.trunk = nn.Sequential(
            nn.Linear(self.pool.out, shape.hidden),
            nn.GELU(),
            nn.Linear(shape.hidden, shape.dim),
            nn.GELU(),
        )
        self.projector = nn.Linear(shape.dim, shape.teacher_dim)
        self.temperature = Temperature(shape.tau) if shape.tau else None
        self.context = None
        if shape.context.layers:
            self.context = ContextEncoder(shape.context, shape.width, shape.cameras, shape.grid)

        self.ages = None
        if shape.window > 1 and shape.aggregate == "attention":
            self.ages = pooling.WindowAttention(shape.window, shape.teacher_dim)

        self.local = LocalHead(shape.width, shape.groups) if shape.groups else None

    def forward(
        self,
        tokens_BVNC: Sequence[Tensor],
        pooled: bool = False,
        drawn: TokenSample | None = None,
        windows_LK: Tensor | None = None,
        local: bool = False,
    ) -> Aligned:
        """Return embeddings of B frames from one tensor a backbone, any float dtype.

        With ``drawn`` the tokens are those alone that the drawn places are made of. With
        ``windows_LK``, places among the B frames, the embeddings are of L windows, and the rest is
        of the newest frame of each.
        """
        adapted = [
            adapter(self._one_grid(tokens.float(), i, drawn))
            for i, (adapter, tokens) in enumerate(zip(self.adapters, tokens_BVNC, strict=True))
        ]
        stacked_BVNMW = torch.stack(adapted).movedim(0, 3)  # one copy, in order
        cameras, patches = stacked_BVNMW.shape[1:3]
        fused: FusedTokens = self.fusion(stacked_BVNMW.flatten(1, 2))
        fused_BVNW = fused.tokens.unflatten(1, (cameras, patches))
        at_N = None if drawn is None else drawn.at.to(fused_BVNW.device)
        if self.context is not None:
            fused_BVNW = self.context(fused_BVNW, at_N)
        with torch.autocast(fused_BVNW.device.type, enabled=False):  # few sums, of many terms
            pooled_BX = self.pool(F.gelu(fused_BVNW.float()), at_N)
            embedding = self.projector(self.trunk(pooled_BX))
        aligned = Aligned(
            embedding=embedding,
            tokens=fused_BVNW,
            weights=fused.weights,
            loss=fused.loss,
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
        """Return embeddings (L, D) of windows, places among the B frames, oldest first."""
        seen_LKD = embedding_BD[windows_LK.to(embedding_BD.device)]
        made: Tensor = seen_LKD.mean(1) if self.ages is None else self.ages(seen_LKD)
        return made

    def _one_grid(self, tokens_BVNC: Tensor, i: int, drawn: TokenSample | None = None) -> Tensor:
        """Resample tokens to the common grid by place, or to the drawn places of it."""
        if drawn is not None:
            return drawn.blends[i](tokens_BVNC)
        return grids.resample(tokens_BVNC, self.shape.grids[i], self.shape.grid)

    def draw(self, count: int, replacement: bool) -> TokenSample:
        """Draw places of the common grid with torch's global generator."""
        return grids.draw(self.shape.grids, self.shape.grid, count, replacement)

    def teacher_space(self, embedding_BD: Tensor) -> Tensor:
        """Return teacher embeddings in the space that the aligner's embeddings are in."""
        into = Map(mean=self.teacher_mean, std=self.teacher_std, turn=self.teacher_turn)
        return into(embedding_BD)

    @torch.no_grad()
    def set_statistics(self, tokens: Sequence[Tensor], teacher: Map) -> None:
        """Take means and deviations from tokens (F, V, N, C_m), and the map of the teacher's."""
        for adapter, part in zip(self.adapters, tokens, strict=True):
            assert isinstance(adapter, Adapter)
            _take(part.flatten(0, 2), adapter.mean, adapter.std)
        self.teacher_mean.copy_(teacher.mean)
        self.teacher_std.copy_(teacher.std)
        if self.teacher_turn is not None and teacher.turn is not None:
            self.teacher_turn.copy_(teacher.turn)


def _take(values_FC: Tensor, mean: Tensor, std: Tensor) -> None:
    values_FC = values_FC.double()
    mean.copy_(values_FC.mean(0))
    deviation = values_FC.std(0, correction=min(1, len(values_FC) - 1))
    std.copy_(deviation.clamp_min(FLOOR))


class Adapter(nn.Module):
    """Standardise tokens and map them to the common width: (..., C) -> (..., W).

    A wide one is twice as wide between and ends with a normalisation of each token.
    """

    mean: Tensor  # (C,)
    std: Tensor

    def __init__(self, channels: int, width: int, wide: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        between = 2 * width if wide else width
        self.first = nn.Linear(channels, between)
        self.second = nn.Linear(between, width)
        self.norm = nn.LayerNorm(width) if wide else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return adapted tokens; standardising is folded into the first product.

        Not so in lower precision, which would round away how tokens differ from a large mean.
        """
        if torch.is_autocast_enabled(tokens.device.type):
            first = self.first((tokens - self.mean) / self.std)
        else:
            weight = self.first.weight / self.std
            first = F.linear(tokens, weight, self.first.bias - weight @ self.mean)
        adapted: Tensor = self.second(F.gelu(first))
        if self.norm is not None:
            adapted = self.norm(adapted)
        return adapted
