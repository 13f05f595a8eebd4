"""Checks of the training data before alignment starts.

Data that cannot be learned from raises UserError; data that carries no information is reported.

Shapes: F = frames, B = some of them, T = frames of an episode, M = backbones, V = cameras,
N = patches, C = channels, D = embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import EpisodeRef
from ..errors import UserError
from ..features.frames import TokenFrames
from ..system.progress import say
from ..training.sampler import Rows

SAMPLED_FRAMES = 256  # largest number of training frames that are compared
ROUNDING = 1e-6  # standard deviations up to this share of the largest value are rounding errors


def check_finite(
    what: str, parts: Sequence[NDArray[np.float32]], sources: Sequence[EpisodeRef], folder: Path
) -> None:
    """Raise UserError if stored values, an array (T, ...) per episode, are not all finite.

    ``what`` describes the values and ``folder`` holds them, one subfolder per episode.
    """
    for part, source in zip(parts, sources, strict=True):
        values = np.asarray(part)
        finite_T = np.isfinite(values.reshape(len(values), -1)).all(1)
        if not finite_T.all():
            raise UserError(
                f"align: {what}: episode {source.name}, frame {int(finite_T.argmin())} contains NaN"
                f" or infinity; delete {folder / source.digest} and run again"
            )


def check_distinct_embeddings(
    teacher: str, embedding_FD: NDArray[np.float32], train_rows: Rows
) -> None:
    """Raise UserError if all training embeddings are equal; report if more than half are repeated.

    ``teacher`` is the component's name.
    """
    train_BD = embedding_FD[train_rows]
    if len(train_BD) < 2:
        return
    if float(train_BD.std(0).max()) <= ROUNDING * float(np.abs(train_BD).max()):
        raise UserError(
            f"align: teacher {teacher}: the embeddings of all {len(train_BD)} training frames are"
            " equal, so there is nothing to align with; check the point clouds or choose another"
            " teacher"
        )
    distinct = len(np.unique(train_BD, axis=0))
    if distinct <= len(train_BD) // 2:
        say(
            f"align: teacher {teacher}: only {distinct} distinct embeddings in {len(train_BD)}"
            " training frames; frames with equal embeddings cannot be distinguished"
        )


def report_constant_features(
    labels: Sequence[str], frames: TokenFrames, train_rows: Rows, cameras: Sequence[str]
) -> None:
    """Report backbones, or cameras of a backbone, whose features are the same in every frame.

    Raises UserError if this is true of all backbones.
    """
    rows = frames.evenly_spaced(train_rows, SAMPLED_FRAMES)
    if len(rows) < 2:
        return
    constant = 0
    for label, tokens_BVNC in zip(labels, frames.gather(rows), strict=True):
        varies_V = (tokens_BVNC != tokens_BVNC[:1]).flatten(2).any(2).any(0)
        constant += not varies_V.any()
        state = "identical" if tokens_BVNC[:1].any() else "zero"
        for camera in _constant(varies_V, cameras):
            say(
                f"align: backbone {label}{camera}: its features are {state} in all {len(rows)}"
                " sampled frames, so it carries no information"
            )
    if constant == len(labels):
        raise UserError(
            "align: no backbone's features change between frames, so nothing can be learned from"
            " them; check the images and the backbones' weights"
        )


def _constant(varies_V: Tensor, cameras: Sequence[str]) -> list[str]:
    """Return a suffix for the message of each constant camera; one empty suffix if all are."""
    if not varies_V.any():
        return [""]
    return [f", camera {cameras[i]}" for i in torch.nonzero(~varies_V).flatten().tolist()]
