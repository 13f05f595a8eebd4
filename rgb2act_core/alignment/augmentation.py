"""Feature augmentation during alignment, so that the aligner relies on no single feature.

Shapes: B = frames, V = cameras, N = patches, C = channels of a backbone, M = backbones
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from ..spec import Augment

# Noise is taken from this many normal numbers, unless a frame needs more. Raise NOISE_VERSION in
# stages/keys.py if the numbers change.
TABLE = 2**22
TABLE_SEED = 0


def augment(
    tokens_BVNC: Sequence[Tensor],
    means_C: Sequence[Tensor],
    stds_C: Sequence[Tensor],
    config: Augment,
    generator: torch.Generator,
) -> list[Tensor]:
    """Return augmented tokens as float32, one tensor per backbone.

    Dropped tokens are replaced by the backbone's mean token; noise is scaled by each channel's
    standard deviation. Every frame keeps at least one backbone. ``generator`` is a CPU generator.
    """
    frames, backbones = len(tokens_BVNC[0]), len(tokens_BVNC)
    dropped_BM = _dropped_backbones(frames, backbones, config.backbone_dropout, generator)
    augmented = []
    for i, (stored, mean, std) in enumerate(zip(tokens_BVNC, means_C, stds_C, strict=True)):
        if config.noise:
            tokens = _noise(stored, generator).mul_(config.noise * std).add_(stored)
        else:
            tokens = stored.float()
        dropped = dropped_BM[:, i, None, None, None]
        if config.token_dropout:
            uniform = torch.rand(*tokens.shape[:3], 1, generator=generator)
            dropped = dropped | (uniform < config.token_dropout)
        if config.backbone_dropout or config.token_dropout:
            tokens = torch.where(dropped.to(tokens.device), mean, tokens)
        augmented.append(tokens)
    return augmented


def _noise(tokens_BVNC: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers in the tokens' shape, as float32.

    Drawing this many numbers takes a large part of a training step. Each frame therefore gets a
    slice of a fixed table that starts at a random position.
    """
    frames, size = len(tokens_BVNC), tokens_BVNC[0].numel()
    table = _normal_numbers(max(TABLE, 2 * size), str(tokens_BVNC.device))
    starts = torch.randint(len(table) - size + 1, (frames,), generator=generator).numpy()
    parts = [table[start : start + size] for start in starts]
    return torch.stack(parts).view(tokens_BVNC.shape)


@cache
def _normal_numbers(count: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(TABLE_SEED)
    return torch.randn(count, generator=generator).to(device)


def _dropped_backbones(
    frames: int, backbones: int, probability: float, generator: torch.Generator
) -> Tensor:
    """Return which backbones (B, M) are dropped in each frame."""
    if not probability:
        return torch.zeros(frames, backbones, dtype=torch.bool)
    uniform_BM = torch.rand(frames, backbones, generator=generator)
    dropped_BM = uniform_BM < probability
    dropped_BM[torch.arange(frames), uniform_BM.argmax(1)] = False
    return dropped_BM
