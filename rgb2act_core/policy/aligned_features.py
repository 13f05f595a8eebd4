"""The features that a policy observes of an aligner, for all frames of the demonstrations.

They are computed from stored tokens, or read if they were stored instead of tokens.

Shapes: B = batch, R = rows (frames of all demonstrations), F = features of a frame, N W = tokens of
a frame and their width, S = width of the privileged features
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..alignment.aligner import Aligner
from ..data.dataset import EpisodeRef
from ..features.aligned import StoredAligned
from ..features.frames import TokenFrames
from ..features.reader import FrameIndex
from ..features.token_room import TokenRoom, token_room
from ..spec.conditions import Condition
from ..system.progress import progress_bar
from ..training.ranks import ALONE, Ranks
from .conditioning import Features, FrameEncoder, features_of, over_windows

EMBED_BATCH = 256


def compute_features(
    condition: Condition,
    aligner: FrameEncoder,
    frames: TokenFrames,
    state_RS: Tensor,
    folder: Path,
    ranks: Ranks,
) -> Features:
    """Return the features of all rows from an aligner as it is; tokens as float16.

    Tokens that need more than half of the free memory are stored in a file in ``folder``.
    """
    vectors: list[Tensor] = []
    room: TokenRoom | None = None
    count, device = len(state_RS), str(state_RS.device)
    with progress_bar("aligned features", count, "frames") as advance, torch.no_grad():
        aligner.eval()
        size = frames.gather_limit(EMBED_BATCH)
        for first in range(0, count, size):
            rows = np.arange(first, min(first + size, count))
            state_BS = state_RS[first : first + len(rows)]
            features = features_of(condition, aligner, frames.gather(rows), state_BS)
            vectors.append(features.vector)
            if features.tokens is not None:
                if room is None:
                    shape = (count, *features.tokens.shape[1:])
                    room = token_room("train", shape, folder, device, ranks)
                room.write(first, features.tokens)
            advance(len(rows))
    vector = _over_windows(aligner, torch.cat(vectors), frames)
    return Features(vector=vector, tokens=None if room is None else room.complete())


def read_features(
    condition: Condition,
    aligner: Aligner,
    stored: StoredAligned,
    episodes: Sequence[EpisodeRef],
    state_RS: Tensor,
    folder: Path | None = None,
    ranks: Ranks = ALONE,
) -> Features:
    """Return the features of all rows from what was stored of the aligner; tokens as float16.

    Tokens that need more than half of the free memory are stored in a file in ``folder``, if given.
    """
    device = str(state_RS.device)
    embeddings = [stored.embeddings(episode) for episode in episodes]
    parts = [_rows(embeddings, device)]
    if condition.pooled_tokens:
        parts.append(_rows([stored.camera_means(e) for e in episodes], device).flatten(1))
    index = FrameIndex.of([len(each) for each in embeddings])
    frames = TokenFrames(tokens=(), index=index, episodes=episodes, device=device)
    vector = _over_windows(aligner, torch.cat([*parts, state_RS], 1), frames)
    tokens = _read_tokens(stored, episodes, folder, device, ranks) if condition.tokens else None
    return Features(vector=vector, tokens=tokens)


def _rows(parts: Sequence[NDArray[np.float32]], device: str) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)).to(device)


def _read_tokens(
    stored: StoredAligned,
    episodes: Sequence[EpisodeRef],
    folder: Path | None,
    device: str,
    ranks: Ranks,
) -> Tensor:
    arrays = [stored.tokens(episode) for episode in episodes]
    count = sum(map(len, arrays))
    room = token_room("train", (count, *arrays[0].shape[1:]), folder, device, ranks)
    row = 0
    for array in arrays:
        for first in range(0, len(array), EMBED_BATCH):
            part = torch.from_numpy(np.array(array[first : first + EMBED_BATCH]))
            room.write(row, part)
            row += len(part)
    return room.complete()


def _over_windows(aligner: FrameEncoder, vector: Tensor, frames: TokenFrames) -> Tensor:
    """Return the vectors (R, F) of windows from those of single frames."""
    if aligner.config.window == 1:
        return vector
    windows = torch.from_numpy(frames.windows(np.arange(len(vector)), aligner.config))
    with torch.no_grad():
        return over_windows(aligner, Features(vector=vector), windows).vector
