"""Feature augmentation during alignment, so that the aligner relies on no single feature.

Shapes: B = frames, V = cameras, N = patches, C = channels of a backbone, M = backbones
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..spec import Augment


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
    inputs = [tokens.float() for tokens in tokens_BVNC]
    dropped_BM = _dropped_backbones(len(inputs[0]), len(inputs), config.backbone_dropout, generator)
    augmented = []
    for i, (tokens, mean, std) in enumerate(zip(inputs, means_C, stds_C, strict=True)):
        if config.noise:
            noise = torch.randn(tokens.shape, generator=generator).to(tokens)
            tokens = noise.mul_(config.noise * std).add_(tokens)  # in place: these are large
        dropped = dropped_BM[:, i, None, None, None]
        if config.token_dropout:
            uniform = torch.rand(*tokens.shape[:3], 1, generator=generator)
            dropped = dropped | (uniform < config.token_dropout)
        if config.backbone_dropout or config.token_dropout:
            tokens = torch.where(dropped.to(tokens.device), mean, tokens)
        augmented.append(tokens)
    return augmented


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
