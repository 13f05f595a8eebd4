"""A small aligner of two backbones and two cameras, and random tokens for it."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from rgb2act_core.alignment.aligner import Aligner, AlignerConfig
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find

WEIGHTED = find(Kind.FUSION, "weighted")
CONFIG = AlignerConfig(
    backbones=("a", "b"),
    channels=(3, 5),
    grids=((4, 6), (2, 3)),
    cameras=2,
    teacher_dim=7,
    teacher_space="standardised",
    embedding_dim=8,
    token_dim=6,
    pool="keypoints",
    keypoint_maps=4,
    keypoint_values=2,
    mlp_dim=9,
    temperature=None,
)


def build(**changes: Any) -> Aligner:
    """Return a new aligner with weighted fusion, in evaluation mode."""
    torch.manual_seed(0)
    return Aligner(attrs.evolve(CONFIG, **changes), WEIGHTED.build(WEIGHTED.tiny)).eval()


def build_nonzero(**changes: Any) -> Aligner:
    """Return an aligner without zero weights, as after training."""
    aligner = build(**changes)
    with torch.no_grad():
        for parameter in aligner.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return aligner


def tokens(batch: int, seed: int = 0) -> list[torch.Tensor]:
    """Return random tokens (batch, 2, cells, channels) of each backbone."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, 2, rows * columns, channels, generator=generator)
        for (rows, columns), channels in zip(CONFIG.grids, CONFIG.channels, strict=True)
    ]
