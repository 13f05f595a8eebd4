"""The frames to learn from: their tokens in the store, and which episode each is of.

Shapes: F = frames, B = batch, M = backbones, V = cameras, N = patches, C = channels
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..alignment.aligner import AlignerConfig


import math
from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import Dataset, EpisodeRef
from ..data.sampling import halve, tasks_of
from ..data.windows import window_index
from ..system.devices import free_memory
from ..system.formatting import format_bytes
from ..system.progress import say
from .reader import EpisodeArrays, FrameIndex, StoredFeatures
from .token_grids import TokenSample

SHARE = 0.5  # of the free memory that tokens may take
GATHERED = 2**30  # bytes of tokens that are looked at together besides batches
AT_ONCE = 64  # frames read at once: what is decoded stays in the caches


@attrs.frozen(eq=False, kw_only=True)
class TokenFrames:
    """Hold the features of some episodes, and what pairs with them frame by frame."""

    tokens: Sequence[EpisodeArrays]  # M tables of (V, N, C)
    index: FrameIndex
    sources: Sequence[EpisodeRef]
    device: str
    resident: tuple[Tensor, ...] | None = None  # the tokens again, (F, V, N, C) on the device

    @property
    def bytes(self) -> int:
        """Return the bytes of a frame's tokens of all backbones."""
        return sum(2 * math.prod(table.frame) for table in self.tokens)

    def at_most(self, count: int) -> int:
        """Return a number of frames to gather at once: as many as take 1 GiB, at most ``count``."""
        return max(min(count, GATHERED // self.bytes), 1)

    def spread(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return as many of the rows, evenly, as are gathered at once, at most ``count``."""
        size = min(len(rows), self.at_most(count))
        return rows[np.linspace(0, len(rows) - 1, size).astype(np.int64)]

    @cached_property
    def still(self) -> NDArray[np.bool_]:
        """Tell for each episode whether it is a pack of scenes, which do not follow one another."""
        return np.array([source.open().joints is None for source in self.sources])

    def windows(self, rows: NDArray[np.int64], shape: AlignerConfig) -> NDArray[np.int64]:
        """Return the rows (B, K), oldest first, of the windows that end at rows (B,)."""
        episode = self.index.episode[rows]
        steps_BK = window_index(self.index.step[rows], shape.window, shape.stride)
        rows_BK = self.index.starts[episode][:, None] + steps_BK
        return np.where(self.still[episode][:, None], rows[:, None], rows_BK)

    def made_of(
        self, rows: NDArray[np.int64], shape: AlignerConfig
    ) -> tuple[NDArray[np.int64], Tensor | None]:
        """Return the rows that embeddings at rows (B,) are made of, each once.

        Where they are made of windows: also where in these rows each window's frames are, (B, K).
        """
        if shape.window == 1:
            return rows, None
        every, at = np.unique(self.windows(rows, shape), return_inverse=True)
        return every, torch.from_numpy(at.reshape(len(rows), -1))

    def gather(self, rows: NDArray[np.int64], drawn: TokenSample | None = None) -> list[Tensor]:
        """Return tokens (B, V, N, C) float16 of each backbone on the device.

        With ``drawn`` they are those alone that the drawn places are made of.
        """
        wanted = [None] * len(self.tokens) if drawn is None else [b.needed for b in drawn.blends]
        if self.resident is not None:
            at_B = torch.from_numpy(rows).to(self.device)
            return [
                _some(tokens, at_B, at) for tokens, at in zip(self.resident, wanted, strict=True)
            ]
        return [
            torch.from_numpy(table.gather(rows, None if at is None else at.numpy())).to(self.device)
            for table, at in zip(self.tokens, wanted, strict=True)
        ]


def _some(tokens_FVNC: Tensor, rows_B: Tensor, at_N: Tensor | None) -> Tensor:
    """Return rows of tokens, or of a row's tokens those at some places."""
    if at_N is None:
        return tokens_FVNC.index_select(0, rows_B)
    _, cameras, places, channels = tokens_FVNC.shape
    first_BV = rows_B[:, None] * cameras + torch.arange(cameras, device=rows_B.device)
    at_BVN = first_BV[..., None] * places + at_N.to(rows_B.device)
    some = tokens_FVNC.view(-1, channels).index_select(0, at_BVN.flatten())
    return some.view(*at_BVN.shape, channels)


def load_into_memory(frames: TokenFrames, title: str) -> TokenFrames:
    """Return frames whose tokens lie in memory where they fit, and say where they are read from.

    They fit when they take at most half of the device's free memory. Each is decoded once.
    """
    size = len(frames.tokens[0]) * frames.bytes
    free = free_memory(frames.device)
    if size > free * SHARE:
        say(
            f"{title}: tokens stay in the store, {format_bytes(size)} is too much for"
            f" {format_bytes(free)} of free memory; the next step's are fetched meanwhile"
        )
        return frames
    say(f"{title}: all tokens are kept in memory, {format_bytes(size)}")
    return attrs.evolve(frames, resident=tuple(_read(t, frames.device) for t in frames.tokens))


def _read(table: EpisodeArrays, device: str) -> Tensor:
    whole = torch.empty((len(table), *table.frame), dtype=torch.float16, device=device)
    for first, part in zip(table.starts.tolist(), table.parts, strict=False):
        for offset in range(0, len(part), AT_ONCE):
            some = torch.from_numpy(np.array(part[offset : offset + AT_ONCE]))
            whole[first + offset : first + offset + len(some)] = some.to(device)
    return whole


def open_frames(
    features: Sequence[StoredFeatures], sources: Sequence[EpisodeRef], device: str
) -> TokenFrames:
    """Open the stored tokens of the given episodes, of every given backbone."""
    tables = [each.tokens(sources) for each in features]
    index = FrameIndex.of(tables[0].lengths.tolist())
    return TokenFrames(tokens=tables, index=index, sources=sources, device=device)


def rows_of(
    data: Dataset, index: FrameIndex, holdout: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
    """Return the rows of training frames and of held-out demonstrations' frames, and counts."""
    count = len(data.demonstrations)
    halves = halve(tasks_of(data.demonstrations), holdout, seed)
    scenes = np.arange(count, len(data.sources))
    rows = np.arange(len(index.episode))
    train_rows = rows[np.isin(index.episode, np.concatenate([halves.train, scenes]))]
    held_rows = rows[np.isin(index.episode, halves.measured)]
    counts = {"train": len(halves.train), "held_out": len(halves.held)}
    counts["scenes"] = int(np.isin(index.episode, scenes).sum())  # stored in packs
    return train_rows, held_rows, counts
