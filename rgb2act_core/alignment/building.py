"""Build an untrained aligner that fits the spec and the stored features.

Shapes: F = frames, K = frames of a window, D = embedding, equal to the teacher's width
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.splits import evenly_spaced
from ..features.frames import TokenFrames
from ..features.reader import EpisodeArrays
from ..spec import Align
from .aligner import Aligner, AlignerConfig
from .inputs import AlignerInputs
from .teacher_space import TeacherTransform

TOKEN_FRAMES = 2000  # largest number of frames for the statistics of tokens
GROUP_FRAMES = 100  # largest number of frames for the statistics of group tokens


def aligner_config(
    align: Align,
    *,
    backbones: Sequence[str],
    channels: Sequence[int],
    grids: Sequence[tuple[int, int]],
    cameras: int,
    teacher_dim: int,
    group_dim: int = 0,
) -> AlignerConfig:
    """Return the configuration of the aligner for the shapes of its inputs.

    ``channels`` and ``grids`` are those of each backbone's stored tokens. ``group_dim`` is the
    width of the teacher's group tokens, 0 if no loss uses them.
    """
    return AlignerConfig(
        backbones=tuple(backbones),
        channels=tuple(channels),
        grids=tuple(grids),
        cameras=cameras,
        teacher_dim=teacher_dim,
        teacher_space=align.teacher_space,
        embedding_dim=align.embedding_dim,
        token_dim=align.token_dim,
        pool=align.pool,
        keypoint_maps=align.keypoint_maps,
        keypoint_values=align.keypoint_values,
        mlp_dim=align.mlp_dim,
        temperature=align.loss.temperature if align.loss.learns_temperature else None,
        adapter=align.adapter,
        context=align.context,
        window=align.window if align.sample == "window" else 1,
        stride=align.stride,
        aggregate=align.aggregate,
        group_dim=group_dim,
    )


def new_aligner(
    align: Align,
    inputs: AlignerInputs,
    transform: TeacherTransform,
    seed: int,
    groups: EpisodeArrays | None = None,
) -> Aligner:
    """Return an untrained aligner with the statistics of the training frames.

    Its embedding is as wide as the transform's. ``groups`` are the teacher's group tokens, if a
    loss needs them.
    """
    torch.manual_seed(seed)
    frames = inputs.frames
    config = aligner_config(
        align,
        backbones=inputs.labels,
        channels=[table.row_shape[2] for table in frames.tokens],
        grids=inputs.grids,
        cameras=frames.tokens[0].row_shape[0],
        teacher_dim=len(transform.mean),
        group_dim=0 if groups is None else groups.row_shape[1],
    )
    aligner = Aligner(config, align.fusion.build(), inputs.fingerprints).to(frames.device)
    sample = frames.gather(frames.evenly_spaced(inputs.train_rows, TOKEN_FRAMES))
    aligner.set_statistics(sample, transform)
    if groups is not None and aligner.local is not None:
        last = len(inputs.train_rows) - 1
        at = evenly_spaced(last + 1, GROUP_FRAMES)
        sampled = torch.from_numpy(groups.gather(inputs.train_rows[at]))
        aligner.local.set_statistics(sampled.to(frames.device))
    return aligner


def targets_of(aligner: Aligner, frames: TokenFrames, teacher_FD: Tensor) -> Tensor:
    """Return the target (F, D) of each frame: the mean teacher embedding of its window."""
    target_FD = aligner.teacher_space(teacher_FD)
    config = aligner.config
    if config.window == 1:
        return target_FD
    rows_FK = torch.from_numpy(frames.windows(np.arange(len(target_FD)), config))
    total_FD = torch.zeros_like(target_FD)
    for rows_F in rows_FK.unbind(1):  # one age at a time, as (F, K, D) may not fit into memory
        total_FD += target_FD[rows_F]
    return total_FD / config.window
