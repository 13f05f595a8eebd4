"""Make tokens poorer while an aligner learns, so that it leans on none of them.

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
) -> list[Tensor]:
    """Return tokens, one tensor a backbone, some of them lost or noisy, as float32.

    What is lost is replaced by the backbone's mean token. At least one backbone of each frame is
    kept. Everything is drawn from torch's global generator.
    """
    whole = [tokens.float() for tokens in tokens_BVNC]
    lost_BM = _lost_backbones(len(whole[0]), len(whole), config.backbone_dropout)
    parts = []
    for i, (tokens, mean, std) in enumerate(zip(whole, means_C, stds_C, strict=True)):
        if config.noise:
            tokens = tokens + config.noise * std * torch.randn(tokens.shape).to(tokens)
        lost = lost_BM[:, i, None, None, None]
        if config.token_dropout:
            lost = lost | (torch.rand(*tokens.shape[:3], 1) < config.token_dropout)
        parts.append(torch.where(lost.to(tokens.device), mean, tokens) if lost.any() else tokens)
    return parts


def _lost_backbones(frames: int, backbones: int, share: float) -> Tensor:
    """Return which backbones (B, M) each frame loses."""
    if not share:
        return torch.zeros(frames, backbones, dtype=torch.bool)
    draw_BM = torch.rand(frames, backbones)
    lost_BM = draw_BM < share
    kept_B = draw_BM.argmax(1)
    lost_BM[torch.arange(frames), kept_B] = False
    return lost_BM
