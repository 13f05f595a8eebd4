"""Look at what alignment is to learn from before it begins.

What cannot be learned from is an error that names it; what is merely of no use is said.

Shapes: F = frames, B = some of them, M = backbones, V = cameras, N = patches, C = channels,
D = embedding
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
from ..features.reader import EpisodeArrays, StoredEmbeddings, StoredFeatures
from ..system.progress import say

LOOKED_AT = 256  # training frames, at most
SAME = 1e-6  # of the largest value: deviations up to here are rounding


def check_pooled(
    features: Sequence[StoredFeatures],
    pooled: Sequence[EpisodeArrays],
    sources: Sequence[EpisodeRef],
) -> None:
    """Raise UserError when a backbone's means (V, C) over patches are not finite in some frame."""
    for each, table in zip(features, pooled, strict=True):
        for source, part in zip(sources, table.parts, strict=True):
            _prove(f"features of backbone {each.label}", part, source, each.folder)


def check_teacher(
    stored: StoredEmbeddings,
    frames: TokenFrames,
    teacher_FD: Tensor,
    train_rows: NDArray[np.int64],
) -> None:
    """Raise UserError when embeddings are not finite or all the same; say it when few differ."""
    name, starts = stored.label, frames.index.starts.tolist()
    embeddings = teacher_FD.cpu().numpy()
    for source, first, end in zip(frames.sources, starts, starts[1:], strict=False):
        _prove(f"embeddings of teacher {name}", embeddings[first:end], source, stored.folder)
    seen_FD = embeddings[train_rows]
    if len(seen_FD) < 2:
        return
    if float(seen_FD.std(0).max()) <= SAME * float(np.abs(seen_FD).max()):
        raise UserError(
            f"align: teacher {name}: its embeddings of all {len(seen_FD)} training frames are the"
            " same, there is nothing to align with; look at the point clouds or choose another"
            " teacher"
        )
    distinct = len(np.unique(seen_FD, axis=0))
    if distinct <= len(seen_FD) // 2:
        say(
            f"align: teacher {name}: only {distinct} of its embeddings of {len(seen_FD)} training"
            " frames differ; frames that share one cannot be told apart"
        )


def _prove(what: str, values: NDArray[np.float32], source: EpisodeRef, folder: Path) -> None:
    whole = np.isfinite(values.reshape(len(values), -1)).all(1)
    if not whole.all():
        raise UserError(
            f"align: {what}: episode {source.name}, frame {int(whole.argmin())} holds NaN or"
            f" infinity; delete {folder / source.digest} and run again"
        )


def report_constant_features(
    names: Sequence[str], frames: TokenFrames, train_rows: NDArray[np.int64], cameras: Sequence[str]
) -> None:
    """Say which backbones, or cameras of one, show the same in every frame.

    Raises UserError when all backbones do.
    """
    rows = frames.spread(train_rows, LOOKED_AT)
    if len(rows) < 2:
        return
    dead = 0
    for name, tokens in zip(names, frames.gather(rows), strict=True):
        alive_V = (tokens != tokens[:1]).flatten(2).any(2).any(0)
        if alive_V.all():
            continue
        dead += not alive_V.any()
        for camera in _silent(alive_V, cameras):
            all_zero = "all zero" if not tokens[:1].any() else "the same"
            say(
                f"align: backbone {name}{camera}: its features are {all_zero} in each of"
                f" {len(rows)} frames; it says nothing"
            )
    if dead == len(names):
        raise UserError(
            "align: no backbone's features change from frame to frame, nothing can be learned from"
            " them; look at the images and the backbones' weights"
        )


def _silent(alive_V: Tensor, cameras: Sequence[str]) -> list[str]:
    if not alive_V.any():
        return [""]
    return [f", camera {cameras[i]}" for i in torch.nonzero(~alive_V).flatten().tolist()]
