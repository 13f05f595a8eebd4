"""What a condition lets a policy look at, made of backbones' tokens by the aligner.

Shapes: B = batch, L = windows of K frames, O = n_obs_steps, F = features of a frame, N = tokens of
a frame, W = width of a token, D = observation, V = cameras, C = channels of a backbone
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from ..alignment.aligner import Aligned, Aligner


@attrs.frozen(eq=False, kw_only=True)
class Features:
    """Hold what a policy looks at of some frames, before it is normalised."""

    vector: Tensor  # (..., F)
    tokens: Tensor | None = None  # (..., N, W)

    def __getitem__(self, at: Any) -> Features:
        return Features(
            vector=self.vector[at], tokens=None if self.tokens is None else self.tokens[at]
        )


@attrs.frozen(eq=False, kw_only=True)
class Observation:
    """Hold what a head is told, normalised."""

    vector: Tensor  # (B, O, D)
    tokens: Tensor | None = None  # (B, O, N, W)
    task: Tensor | None = None  # (B,) places, where there are several

    def __len__(self) -> int:
        return len(self.vector)

    @property
    def token_args(self) -> tuple[Tensor, ...]:
        """Return the last argument of ``PolicyModule.loss`` and ``plan``, if there are tokens."""
        return () if self.tokens is None else (self.tokens,)


def features_of(
    condition: str, aligner: Aligner | None, tokens_BVNC: Sequence[Tensor]
) -> tuple[Features, Aligned | None]:
    """Return what a condition looks at of B frames' tokens, one tensor a backbone.

    Where the aligner is of windows, these are their frames, which ``over_windows`` puts together.
    """
    if aligner is None:
        return Features(vector=tokens_BVNC[0].float().mean(2).flatten(1)), None
    aligned: Aligned = aligner(tokens_BVNC)
    if condition == "dual":
        pooled = aligned.tokens.mean(2).flatten(1)
        return Features(vector=torch.cat([aligned.embedding, pooled], 1)), aligned
    tokens = aligned.tokens.flatten(1, 2) if condition == "tokens" else None
    return Features(vector=aligned.embedding, tokens=tokens), aligned


def over_windows(aligner: Aligner, frames: Features, windows_LK: Tensor) -> Features:
    """Return features of windows from features of frames: embeddings together, the rest newest."""
    width, newest_L = aligner.config.teacher_dim, windows_LK[:, -1]
    embedding = aligner.over_windows(frames.vector[:, :width], windows_LK)
    return Features(
        vector=torch.cat([embedding, frames.vector[newest_L, width:]], 1),
        tokens=None if frames.tokens is None else frames.tokens[newest_L],
    )


def parts_of(condition: str, aligner: Aligner | None, pooled: int, states: int) -> tuple[int, ...]:
    """Return the widths of the parts of a condition's features.

    ``pooled`` is the width of one backbone's pooled tokens, ``states`` that of the true state.
    """
    if condition in ("proprio_only", "oracle", "single_backbone"):
        width = {"proprio_only": 0, "oracle": states, "single_backbone": pooled}[condition]
        return (width,) if width else ()
    assert aligner is not None
    config = aligner.config
    dual = [config.cameras * config.token_dim] if condition == "dual" else []
    return (config.teacher_dim, *dual)
